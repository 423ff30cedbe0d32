// Collections: pictures in groups, each the gallery narrowed to it.
"use client";

import "@/lib/i18n/shelf";

import { Folder, FolderPlus, Link2, MoreHorizontal, Pencil, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";

import { ShareLink } from "@/components/features/picture/share-link";
import { SignedIn } from "@/components/features/signed-in";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Link } from "@/components/ui/link";
import { Menu } from "@/components/ui/menu";
import { PageHead } from "@/components/ui/page-head";
import { Empty, Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import {
  askRun,
  type Collection,
  fileOf,
  useCollections,
  useDeleteCollection,
  useMakeCollection,
  useRenameCollection,
  useShareCollection,
} from "@/lib/api/gallery";
import { useQuery } from "@tanstack/react-query";
import { useT } from "@/lib/i18n";

export function Collections() {
  return <SignedIn>{() => <Shelf />}</SignedIn>;
}

function Shelf() {
  const t = useT();
  const collections = useCollections(true);
  const [naming, setNaming] = useState<Collection | "new" | null>(null);
  const [sharing, setSharing] = useState<string | null>(null);
  const shared = collections.data?.find(({ id }) => id === sharing);
  return (
    <>
      <PageHead title={t("nav.collections")} words={t("collections.words")}>
        <Button onClick={() => setNaming("new")}>
          <FolderPlus aria-hidden /> {t("collections.make")}
        </Button>
      </PageHead>
      <Unread of={collections} />
      {collections.isPending && <Skeleton className="h-56 rounded-lg" />}
      {collections.data?.length === 0 && (
        <Empty icon={<Folder aria-hidden />} title={t("collections.empty.title")}>
          {t("collections.empty.words")}
        </Empty>
      )}
      <ul className="grid grid-cols-2 gap-4 md:grid-cols-3 xl:grid-cols-5">
        {collections.data?.map((collection) => (
          <Cover
            key={collection.id}
            collection={collection}
            onRename={() => setNaming(collection)}
            onShare={() => setSharing(collection.id)}
          />
        ))}
      </ul>
      {shared && <ShareCollection collection={shared} onClose={() => setSharing(null)} />}
      {naming && <NameDialog of={naming} onClose={() => setNaming(null)} />}
    </>
  );
}

interface CoverProps {
  collection: Collection;
  onRename: () => void;
  onShare: () => void;
}

function Cover({ collection, onRename, onShare }: CoverProps) {
  const t = useT();
  const drop = useDeleteCollection();
  const newest = useQuery({
    queryKey: ["collections", collection.id, "cover", collection.images],
    queryFn: async () => (await askRun({ collection: collection.id }, { to: Date.now() + 86_400_000 })).data[0] ?? null,
    enabled: collection.images > 0,
  });
  return (
    <li className="group relative overflow-hidden rounded-lg border bg-card shadow-raised">
      <Link href={`/gallery/?collection=${collection.id}`} className="grid focus-visible:-outline-offset-2">
        <span className="grid aspect-[4/3] place-items-center overflow-hidden bg-muted text-muted-foreground">
          {newest.data ? (
            <img src={fileOf(newest.data)} alt="" className="size-full object-cover" />
          ) : (
            <Folder aria-hidden className="size-8" />
          )}
        </span>
        <span className="grid gap-0.5 p-3 pr-12">
          <span className="truncate text-sm font-medium">{collection.name}</span>
          <span className="flex flex-wrap gap-x-2 text-xs whitespace-nowrap text-muted-foreground">
            {t("job.images", { n: collection.images })}{" "}
            {collection.shared && (
              <span className="flex items-center gap-1 text-success">
                <Link2 aria-hidden className="size-3.5" /> {t("collections.shared")}
              </span>
            )}
          </span>
        </span>
      </Link>
      <div className="absolute right-2 bottom-3">
        <Menu
          trigger={
            <Button look="ghost" size="icon" aria-label={t("collections.more", { name: collection.name })}>
              <MoreHorizontal aria-hidden />
            </Button>
          }
          items={[
            { label: t("collections.share"), icon: Link2, run: onShare },
            { label: t("collections.rename"), icon: Pencil, run: onRename },
            { label: t("collections.delete"), icon: Trash2, danger: true, run: () => drop.mutate(collection.id) },
          ]}
        />
      </div>
    </li>
  );
}

function ShareCollection({ collection, onClose }: { collection: Collection; onClose: () => void }) {
  const t = useT();
  const share = useShareCollection(collection.id);
  return (
    <Dialog open onOpenChange={onClose} title={t("collections.share.title")} description={t("collections.share.words")}>
      <ShareLink
        token={collection.shared ?? null}
        busy={share.isPending}
        error={share.error}
        onShare={(on) => share.mutate(on)}
      />
    </Dialog>
  );
}

function NameDialog({ of, onClose }: { of: Collection | "new"; onClose: () => void }) {
  const t = useT();
  const make = useMakeCollection();
  const rename = useRenameCollection();
  const [name, setName] = useState(of === "new" ? "" : of.name);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const done = { onSuccess: onClose };
    if (of === "new") make.mutate(name.trim(), done);
    else rename.mutate({ id: of.id, name: name.trim() }, done);
  };
  const failed = make.error ?? rename.error;
  return (
    <Dialog open onOpenChange={onClose} title={t(of === "new" ? "collections.make" : "collections.rename")}>
      <form onSubmit={submit} className="grid gap-4">
        <Field label={t("collections.name")} error={failed?.message}>
          {(ids) => <Input {...ids} maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
        <Button type="submit" className="justify-self-end" disabled={name.trim() === ""}>
          {t("ui.save")}
        </Button>
      </form>
    </Dialog>
  );
}
