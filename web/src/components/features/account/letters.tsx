// Which letters one wants. Shown where the server sends any.
"use client";

import "@/lib/i18n/desk";

import { Card } from "@/components/ui/card";
import { Notice } from "@/components/ui/states";
import { Switch } from "@/components/ui/switch";
import { useChoose } from "@/lib/api/account";
import type { Me } from "@/lib/api/client";
import { useProviders } from "@/lib/api/session";
import { useT } from "@/lib/i18n";

const LETTERS = ["notifyReady", "digest"] as const;

export function Letters({ me }: { me: Me }) {
  const t = useT();
  const choose = useChoose();
  const sent = useProviders().data?.magicLink;
  const user = me.user;
  if (!sent || !user?.email) return null;
  return (
    <Card title={t("account.letters")} words={t("account.letters.words")}>
      <div className="grid gap-4">
        {choose.error && <Notice title={choose.error.message} />}
        {!user.emailVerified && <p className="text-sm text-muted-foreground">{t("account.letters.unsure")}</p>}
        {LETTERS.map((letter) => (
          <label key={letter} className="flex items-center justify-between gap-4">
            <span className="grid gap-0.5">
              <span className="text-sm font-medium">{t(`account.letters.${letter}`)}</span>
              <span className="text-xs text-muted-foreground">{t(`account.letters.${letter}.words`)}</span>
            </span>
            <Switch
              checked={user[letter]}
              disabled={choose.isPending}
              onCheckedChange={(on) => choose.mutate({ [letter]: on })}
              aria-label={t(`account.letters.${letter}`)}
            />
          </label>
        ))}
      </div>
    </Card>
  );
}
