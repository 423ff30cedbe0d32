// Credits without thinking of them: a rule that buys a pack when few are left, and codes that bring some.
"use client";

import { type FormEvent, useState } from "react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Field, Input, Select } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { usePlans, useRedeem, useSetTopUp, useWallet } from "@/lib/api/wallet";
import { credits } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

/** What the form begins with: few enough not to surprise anybody. */
const BELOW = 5;
const MONTHLY = 2;
/** The most the API takes. */
const MONTHLY_MAX = 100;

export function TopUp() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const plans = usePlans();
  const rule = useWallet().data?.topUp;
  const set = useSetTopUp();
  const [pack, setPack] = useState<string | null>(null);
  const [below, setBelow] = useState<string | null>(null);
  const [monthly, setMonthly] = useState<string | null>(null);
  if (!plans.data?.selling) return null;
  const { packs } = plans.data;
  const now = {
    pack: pack ?? rule?.pack ?? packs[0]?.id ?? "",
    below: below ?? String(rule ? rule.belowMillis / 1000 : BELOW),
    monthly: monthly ?? String(rule?.monthlyMax ?? MONTHLY),
  };
  const belowMillis = Math.round(Number(now.below) * 1000);
  const monthlyMax = Number(now.monthly);
  const sound = belowMillis >= 1 && Number.isInteger(monthlyMax) && monthlyMax >= 1 && monthlyMax <= MONTHLY_MAX;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    set.mutate({ pack: now.pack, belowMillis, monthlyMax }, { onSuccess: () => say({ text: t("money.topUp.saved") }) });
  };
  return (
    <Card title={t("money.topUp")} words={t(rule ? "money.topUp.on" : "money.topUp.words")}>
      {rule?.paused && <Notice className="mb-3" title={t("money.topUp.paused", { why: rule.paused })} />}
      {set.error && <Notice className="mb-3" title={set.error.message} />}
      <form onSubmit={submit} className="grid gap-4">
        <Field label={t("money.topUp.pack")}>
          {(ids) => (
            <Select {...ids} value={now.pack} onChange={(event) => setPack(event.target.value)}>
              {packs.map(({ id, creditsMillis }) => (
                <option key={id} value={id}>
                  {t("credits.amount", { n: credits(creditsMillis, language) })}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <div className="grid grid-cols-2 gap-4">
          <Field label={t("money.topUp.below")}>
            {(ids) => (
              <Input
                {...ids}
                inputMode="decimal"
                value={now.below}
                onChange={(event) => setBelow(event.target.value.replace(",", "."))}
              />
            )}
          </Field>
          <Field label={t("money.topUp.monthly")}>
            {(ids) => (
              <Input
                {...ids}
                inputMode="numeric"
                value={now.monthly}
                onChange={(event) => setMonthly(event.target.value)}
              />
            )}
          </Field>
        </div>
        <div className="flex gap-2">
          <Button type="submit" look="secondary" size="small" disabled={!sound || set.isPending}>
            {t(rule ? "ui.save" : "money.topUp.set")}
          </Button>
          {rule && (
            <Button look="outline" size="small" disabled={set.isPending} onClick={() => set.mutate(null)}>
              {t("money.topUp.remove")}
            </Button>
          )}
        </div>
      </form>
    </Card>
  );
}

export function Redeem() {
  const t = useT();
  const redeem = useRedeem();
  const [code, setCode] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    redeem.mutate(code.trim(), {
      onSuccess: () => {
        setCode("");
        say({ text: t("money.code.done") });
      },
    });
  };
  return (
    <Card title={t("money.code")} words={t("money.code.words")}>
      <form onSubmit={submit} className="flex items-end gap-2">
        <Field label={t("money.code.label")} className="flex-1" error={redeem.error?.message}>
          {(ids) => (
            <Input
              {...ids}
              autoComplete="off"
              autoCapitalize="characters"
              maxLength={64}
              value={code}
              onChange={(event) => setCode(event.target.value)}
            />
          )}
        </Field>
        <Button type="submit" look="secondary" disabled={code.trim() === "" || redeem.isPending}>
          {t("money.code.submit")}
        </Button>
      </form>
    </Card>
  );
}
