// A word in time: when much was spent this month, or few credits are left.
"use client";

import { type FormEvent, useState } from "react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Field, Input } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { useSetAlarm, useWallet } from "@/lib/api/wallet";
import { credits } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

/** Milli-credits of what was written; null for nothing, undefined for what is no amount. */
function millisOf(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  const millis = Math.round(Number(text.replace(",", ".")) * 1000);
  return Number.isSafeInteger(millis) && millis >= 1 ? millis : undefined;
}

const written = (millis: number | null | undefined) => (millis ? String(millis / 1000) : "");

export function Alarm() {
  const t = useT();
  const locale = useLocale();
  const wallet = useWallet().data;
  const alarm = wallet?.alarm;
  const set = useSetAlarm();
  const [spent, setSpent] = useState<string | null>(null);
  const [below, setBelow] = useState<string | null>(null);
  const now = { spent: spent ?? written(alarm?.spentMillis), below: below ?? written(alarm?.belowMillis) };
  const [spentMillis, belowMillis] = [millisOf(now.spent), millisOf(now.below)];
  const sound = spentMillis !== undefined && belowMillis !== undefined && (spentMillis ?? belowMillis) !== null;
  const done = () => {
    setSpent(null);
    setBelow(null);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!sound) return;
    set.mutate(
      { spentMillis, belowMillis },
      {
        onSuccess: () => {
          done();
          say({ text: t("alarm.saved") });
        },
      },
    );
  };
  const left = wallet ? wallet.availableMillis + wallet.heldMillis : 0;
  const much = alarm?.spentMillis != null && alarm.monthMillis >= alarm.spentMillis;
  const few = alarm?.belowMillis != null && left < alarm.belowMillis;
  return (
    <Card title={t("alarm.title")} words={t("alarm.words")}>
      {much && <Notice className="mb-3" title={t("alarm.much", { n: credits(alarm.spentMillis ?? 0, locale) })} />}
      {few && <Notice className="mb-3" title={t("alarm.few", { n: credits(alarm.belowMillis ?? 0, locale) })} />}
      {set.error && <Notice className="mb-3" title={set.error.message} />}
      <form onSubmit={submit} className="grid gap-4">
        <div className="grid grid-cols-2 items-end gap-4">
          <Limit label={t("alarm.spent")} text={now.spent} onChange={setSpent} />
          <Limit label={t("alarm.below")} text={now.below} onChange={setBelow} />
        </div>
        {alarm && (
          <p className="text-xs text-muted-foreground">
            {t("alarm.month", { n: credits(alarm.monthMillis, locale) })}{" "}
            {t(alarm.letters ? "alarm.letters" : "alarm.noLetters")}
          </p>
        )}
        <div className="flex gap-2">
          <Button type="submit" look="secondary" size="small" disabled={!sound || set.isPending}>
            {t("ui.save")}
          </Button>
          {alarm && (
            <Button
              look="outline"
              size="small"
              disabled={set.isPending}
              onClick={() => set.mutate(null, { onSuccess: done })}
            >
              {t("alarm.remove")}
            </Button>
          )}
        </div>
      </form>
    </Card>
  );
}

/** Credits, or nothing. */
function Limit({ label, text, onChange }: { label: string; text: string; onChange: (text: string) => void }) {
  const t = useT();
  return (
    <Field label={label} error={millisOf(text) === undefined ? t("alarm.misfit") : undefined}>
      {(ids) => <Input {...ids} inputMode="decimal" value={text} onChange={(event) => onChange(event.target.value)} />}
    </Field>
  );
}
