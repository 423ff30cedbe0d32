// One picture: large, with everything that made it and everything that can be done with it.
"use client";

import "@/lib/i18n/shelf";

import { useSyncExternalStore } from "react";

import { PictureFacts } from "@/components/features/picture/picture-facts";
import { PictureActions } from "@/components/features/picture/picture-actions";
import { Stage } from "@/components/features/picture/stage";
import { useGallery } from "@/components/features/gallery/store";
import { Lost } from "@/components/features/lost";
import { SharedPage } from "@/components/features/picture/shared-page";
import { Door, SignedIn } from "@/components/features/signed-in";
import { Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import { ApiFailure } from "@/lib/api/client";
import { usePicture } from "@/lib/api/gallery";
import { usePathname } from "@/lib/navigation";
import { subscribeToAddress } from "@/lib/address";

/** The page is exported once, for the id `_`; which picture is meant is read from the address. */
const idOf = (path: string) => {
  const id = path.split("/")[2] ?? "_";
  return id === "_" ? null : id;
};

export function PicturePage() {
  // Not read: it says when to look at the address again.
  usePathname();
  const id = useSyncExternalStore(
    subscribeToAddress,
    () => idOf(window.location.pathname),
    () => null,
  );
  return (
    <SignedIn others={<SharedPage key={id} token={id} otherwise={<Door />} />}>
      {() => <Shown key={id} id={id} />}
    </SignedIn>
  );
}

function Shown({ id }: { id: string | null }) {
  // The gallery knows it already: walking from one to the next waits for nothing.
  const { strip } = useGallery.getState();
  const picture = usePicture(id, id ? strip?.at(strip.find(id)) : undefined);
  if (picture.error instanceof ApiFailure && picture.error.status === 404) {
    return <SharedPage token={id} otherwise={<Lost />} />;
  }
  // Nobody is signed in: said in a moment.
  if (picture.error instanceof ApiFailure && picture.error.status === 401) return <Waiting />;
  if (picture.error) return <Unread of={picture} />;
  if (!picture.data) return <Waiting />;
  return (
    <div className="grid items-start gap-6 lg:grid-cols-[minmax(0,1fr)_22rem]">
      <Stage picture={picture.data} />
      <aside className="grid gap-5">
        <PictureActions picture={picture.data} />
        <PictureFacts picture={picture.data} />
      </aside>
    </div>
  );
}

const Waiting = () => <Skeleton className="h-[60vh] rounded-lg" />;
