// A picture as whoever has its link sees it; where its owner shows how it was made, a way to make one's own.
"use client";

import { Shuffle } from "lucide-react";
import type { ReactNode } from "react";

import { PictureFacts } from "@/components/features/picture/picture-facts";
import { SharedCollection } from "@/components/features/picture/shared-collection";
import { Stage } from "@/components/features/picture/stage";
import { Button } from "@/components/ui/button";
import { Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import { ApiFailure } from "@/lib/api/client";
import { useSharedPicture } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";
import { useRouter } from "@/lib/navigation";
import { draftOfSettings, useDraft } from "@/stores/draft";

interface SharedPageProps {
  token: string | null;
  /** What is shown where nothing is shared. */
  otherwise: ReactNode;
}

export function SharedPage({ token, otherwise }: SharedPageProps) {
  const t = useT();
  const router = useRouter();
  const setDraft = useDraft((store) => store.change);
  const picture = useSharedPicture(token);
  if (picture.error instanceof ApiFailure && picture.error.status === 404) {
    return <SharedCollection token={token} otherwise={otherwise} />;
  }
  if (picture.error) return <Unread of={picture} />;
  if (!picture.data) return <Skeleton className="h-[60vh] rounded-lg" />;
  const { settings, ...shown } = picture.data;
  const remix = (of: NonNullable<typeof settings>) => {
    setDraft(draftOfSettings(of, null));
    router.push("/");
  };
  return (
    <div className="grid items-start gap-6 lg:grid-cols-[minmax(0,1fr)_22rem]">
      <Stage picture={{ ...shown, id: shown.token, prompt: settings?.prompt ?? t("share.picture") }} />
      <aside className="grid gap-5">
        {settings ? (
          <>
            <p className="text-sm text-muted-foreground">{t("share.seen")}</p>
            <Button size="large" title={t("job.remix.hint")} onClick={() => remix(settings)}>
              <Shuffle aria-hidden /> {t("share.remix")}
            </Button>
            <PictureFacts picture={{ ...shown, settings }} />
          </>
        ) : (
          <h1 className="text-[15px] font-medium">{t("share.seen")}</h1>
        )}
      </aside>
    </div>
  );
}
