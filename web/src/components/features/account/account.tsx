// Oneself: how the studio looks and behaves here, where one is signed in, the password.
"use client";

import "@/lib/i18n/desk";
import "@/lib/i18n/shelf";

import { type FormEvent, useState } from "react";

import { SignedIn } from "@/components/features/signed-in";
import { Leaving } from "@/components/features/account/leaving";
import { Letters } from "@/components/features/account/letters";
import { Sessions } from "@/components/features/account/sessions";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Field, Input, Select } from "@/components/ui/field";
import { PageHead } from "@/components/ui/page-head";
import { Notice, Skeleton } from "@/components/ui/states";
import { Switch } from "@/components/ui/switch";
import { say } from "@/components/ui/toast";
import { useChangePassword } from "@/lib/api/account";
import { LIMITS } from "@/lib/api/limits.gen";
import { useStudioSettings } from "@/lib/api/session";
import { randomId } from "@/lib/browser";
import { LOCALE_NAMES, LOCALES, setLocale, useLocale, useT } from "@/lib/i18n";
import { type Theme, useUi } from "@/stores/ui";

const THEMES: readonly Theme[] = ["system", "light", "dark"];

export function Account() {
  const t = useT();
  return (
    <SignedIn>
      {(me) => (
        <>
          <PageHead
            title={t("nav.account")}
            words={
              me ? <span translate="no">{me.user?.email ?? me.account.name}</span> : <Skeleton className="h-5 w-48" />
            }
          />
          <div className="grid grid-cols-1 items-start gap-6 lg:grid-cols-2">
            <Here />
            {(!me || me.user?.hasPassword) && <Password />}
            {me && <Letters me={me} />}
            <Sessions className="lg:col-span-2" />
            {me && <Leaving me={me} className="lg:col-span-2" />}
          </div>
        </>
      )}
    </SignedIn>
  );
}

/** What this browser remembers. */
function Here() {
  const t = useT();
  const locale = useLocale();
  const { theme, setTheme, shortcuts, setShortcuts, consent, setConsent } = useUi();
  const told = useStudioSettings().data;
  return (
    <Card title={t("account.here")} words={t("account.here.words")}>
      <div className="grid gap-4">
        <Field label={t("nav.theme")}>
          {(ids) => (
            <Select {...ids} value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>
              {THEMES.map((one) => (
                <option key={one} value={one}>
                  {t(`theme.${one}`)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label={t("nav.language")}>
          {(ids) => (
            <Select
              {...ids}
              value={locale}
              onChange={(event) => void setLocale(event.target.value as (typeof LOCALES)[number])}
            >
              {LOCALES.map((one) => (
                <option key={one} value={one} lang={one}>
                  {LOCALE_NAMES[one]}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <label className="flex items-center justify-between gap-4">
          <span className="grid gap-0.5">
            <span className="text-sm font-medium">{t("account.shortcuts")}</span>
            <span className="text-xs text-muted-foreground">{t("account.shortcuts.words")}</span>
          </span>
          <Switch checked={shortcuts} onCheckedChange={setShortcuts} aria-label={t("account.shortcuts")} />
        </label>
        {(told?.posthog || told?.sentryDsn) && (
          <label className="flex items-center justify-between gap-4">
            <span className="grid gap-0.5">
              <span className="text-sm font-medium">{t("account.consent")}</span>
              <span className="text-xs text-muted-foreground">{t("consent.words")}</span>
            </span>
            <Switch
              checked={Boolean(consent)}
              onCheckedChange={(on) => setConsent(on && randomId())}
              aria-label={t("account.consent")}
            />
          </label>
        )}
      </div>
    </Card>
  );
}

function Password() {
  const t = useT();
  const change = useChangePassword();
  const [currentPassword, setCurrent] = useState("");
  const [newPassword, setNew] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(
      { currentPassword, newPassword },
      {
        onSuccess: () => {
          setCurrent("");
          setNew("");
          say({ text: t("account.password.done") });
        },
      },
    );
  };
  const { min } = LIMITS.password;
  return (
    <Card title={t("account.password")} words={t("account.password.words")}>
      <form onSubmit={submit} className="grid gap-4">
        {change.error && <Notice title={change.error.message} />}
        <Field label={t("account.password.now")}>
          {(ids) => (
            <Input
              {...ids}
              type="password"
              autoComplete="current-password"
              value={currentPassword}
              onChange={(event) => setCurrent(event.target.value)}
            />
          )}
        </Field>
        <Field label={t("account.password.new")} hint={t("signup.password.hint", { n: min })}>
          {(ids) => (
            <Input
              {...ids}
              type="password"
              autoComplete="new-password"
              value={newPassword}
              onChange={(event) => setNew(event.target.value)}
            />
          )}
        </Field>
        <Button
          type="submit"
          className="justify-self-start"
          disabled={currentPassword === "" || newPassword.length < min || change.isPending}
        >
          {t("account.password.submit")}
        </Button>
      </form>
    </Card>
  );
}
