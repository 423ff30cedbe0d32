// API keys: made here, shown once, revoked here.
"use client";

import { Plus } from "lucide-react";
import { type FormEvent, useState } from "react";

import { ShownOnce } from "@/components/features/developers/shown-once";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { NoneYet, Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useKeys, useMakeKey, useRevokeKey } from "@/lib/api/account";
import { ago } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { useNow } from "@/lib/use-now";

export function Keys() {
  const t = useT();
  const keys = useKeys();
  const [making, setMaking] = useState(false);
  const live = keys.data?.filter(({ revokedMs }) => !revokedMs) ?? [];
  return (
    <Card
      title={t("dev.keys")}
      words={t("dev.keys.words")}
      aside={
        <Button size="small" onClick={() => setMaking(true)}>
          <Plus aria-hidden /> {t("dev.keys.make")}
        </Button>
      }
    >
      <Unread of={keys} />
      {keys.isPending && <Skeleton className="h-24" />}
      {keys.data && live.length === 0 && <NoneYet>{t("dev.keys.none")}</NoneYet>}
      {live.length > 0 && (
        <Table label={t("dev.keys")} heads={[t("dev.keys.name"), t("dev.keys.made"), t("dev.keys.used"), ""]}>
          {live.map((key) => (
            <KeyRow key={key.id} {...key} />
          ))}
        </Table>
      )}
      <MakeKey open={making} onOpenChange={setMaking} />
    </Card>
  );
}

interface KeyRowProps {
  id: string;
  name: string;
  createdMs: number;
  lastUsedMs?: number | null;
}

function KeyRow({ id, name, createdMs, lastUsedMs }: KeyRowProps) {
  const t = useT();
  const locale = useLocale();
  const now = useNow();
  const revoke = useRevokeKey();
  const language = locale === "pseudo" ? "en" : locale;
  return (
    <tr>
      <td>
        <span className="font-medium">{name}</span>
        <span className="block font-mono text-xs text-muted-foreground">{id}</span>
      </td>
      <td className="whitespace-nowrap">{ago(createdMs, now, language)}</td>
      <td className="whitespace-nowrap">{lastUsedMs ? ago(lastUsedMs, now, language) : t("dev.keys.never")}</td>
      <td>
        <Button
          look="outline"
          size="small"
          className="text-destructive"
          aria-label={t("dev.keys.revokeOne", { name })}
          disabled={revoke.isPending}
          onClick={() => revoke.mutate(id)}
        >
          {t("dev.keys.revoke")}
        </Button>
      </td>
    </tr>
  );
}

function MakeKey({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const t = useT();
  const make = useMakeKey();
  const [name, setName] = useState("");
  const close = () => {
    onOpenChange(false);
    make.reset();
    setName("");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate(name.trim());
  };
  if (make.data) {
    const { apiKey } = make.data;
    return <ShownOnce title={t("dev.keys.done")} words={t("dev.keys.once")} secret={apiKey} onClose={close} />;
  }
  return (
    <Dialog open={open} onOpenChange={close} title={t("dev.keys.make")}>
      <form onSubmit={submit} className="grid gap-4">
        <Field label={t("dev.keys.name")} hint={t("dev.keys.name.hint")} error={make.error?.message}>
          {(ids) => <Input {...ids} maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
        <Button type="submit" className="justify-self-end" disabled={name.trim() === "" || make.isPending}>
          {t("dev.keys.make")}
        </Button>
      </form>
    </Dialog>
  );
}
