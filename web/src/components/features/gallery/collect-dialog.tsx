// Into which collection: one there is, or a new one.
"use client";

import { Folder, Plus } from "lucide-react";
import { type FormEvent, useState } from "react";

import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Input } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { useBulk, useCollections, useMakeCollection } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";

interface CollectDialogProps {
  ids: string[];
  open: boolean;
  onOpenChange: (open: boolean) => void;
  onDone?: () => void;
}

export function CollectDialog({ ids, open, onOpenChange, onDone }: CollectDialogProps) {
  const t = useT();
  const collections = useCollections(open);
  const make = useMakeCollection();
  const bulk = useBulk();
  const [name, setName] = useState("");
  const collect = async (collection: string) => {
    await bulk.mutateAsync({ ids, action: "collect", collection });
    say({ text: t("gallery.collected", { n: ids.length }) });
    onOpenChange(false);
    onDone?.();
  };
  const create = async (event: FormEvent) => {
    event.preventDefault();
    const made = await make.mutateAsync(name.trim());
    setName("");
    await collect(made.id);
  };
  const failed = make.error ?? bulk.error;
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={t("gallery.collect")}>
      {failed && <Notice title={failed.message} />}
      <ul className="grid gap-1">
        {collections.data?.map(({ id, name: called, images }) => (
          <li key={id}>
            <Button look="ghost" className="w-full justify-start text-foreground" onClick={() => void collect(id)}>
              <Folder aria-hidden /> <span className="truncate">{called}</span>
              <span className="ml-auto text-xs text-muted-foreground">{t("job.images", { n: images })}</span>
            </Button>
          </li>
        ))}
      </ul>
      <form onSubmit={(event) => void create(event)} className="flex gap-2">
        <Input
          aria-label={t("collections.name")}
          placeholder={t("collections.name")}
          maxLength={200}
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
        <Button type="submit" disabled={name.trim() === "" || make.isPending}>
          <Plus aria-hidden /> {t("collections.make")}
        </Button>
      </form>
    </Dialog>
  );
}
