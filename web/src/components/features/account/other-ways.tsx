// Ways in beside a password: a link by mail, and accounts people have elsewhere. What this server offers is asked of it.
"use client";

import { MailCheck } from "lucide-react";
import { useCallback, useSyncExternalStore } from "react";

import { ClerkWindow } from "@/components/features/account/clerk-window";
import { Button } from "@/components/ui/button";
import { Empty, Notice } from "@/components/ui/states";
import type { Providers } from "@/lib/api/schema.gen";
import { oauthStart, useSendLink, useStudioSettings } from "@/lib/api/session";
import { useT } from "@/lib/i18n";
import { useRouter } from "@/lib/navigation";

const NAMES: Record<string, string> = { google: "Google", github: "GitHub" };
const looksLikeMail = (text: string) => /^\S+@\S+$/.test(text);

interface OtherWaysProps {
  kind: "login" | "signup";
  providers: Providers;
  emailOf: () => string;
  next: () => string;
}

export function OtherWays({ kind, providers, emailOf, next }: OtherWaysProps) {
  const t = useT();
  const send = useSendLink();
  const to = useSyncExternalStore(
    () => () => undefined,
    next,
    () => "/",
  );
  const { oauth, magicLink } = providers;
  const router = useRouter();
  const clerk = useStudioSettings().data?.clerk;
  const entered = useCallback(() => router.push(next()), [router, next]);
  const byMail = magicLink && kind === "login";
  if (oauth.length === 0 && !byMail && !clerk) return null;
  const sent = send.isSuccess ? send.variables.email : null;
  return (
    <>
      <p className="flex items-center gap-3 text-xs text-muted-foreground before:h-px before:flex-1 before:bg-border after:h-px after:flex-1 after:bg-border">
        {t("login.or")}
      </p>
      <div className="grid gap-2">
        {clerk && <ClerkWindow settings={clerk} onEntered={entered} />}
        {oauth.map((provider) => (
          <Button key={provider} asChild look="outline">
            <a href={oauthStart(provider, to)}>{t("login.with", { name: NAMES[provider] ?? provider })}</a>
          </Button>
        ))}
        {byMail && (
          <>
            <Button
              look="outline"
              disabled={send.isPending}
              onClick={() => send.mutate({ email: emailOf().trim(), what: "sign-in" })}
            >
              {t("login.link")}
            </Button>
            <Button
              look="link"
              className="justify-self-center text-[13px] font-normal"
              disabled={send.isPending}
              onClick={() => send.mutate({ email: emailOf().trim(), what: "reset" })}
            >
              {t("login.forgot")}
            </Button>
          </>
        )}
      </div>
      {send.error && (
        <Notice title={looksLikeMail(send.variables.email) ? send.error.message : t("login.link.address")} />
      )}
      {sent && (
        <p role="status" className="text-sm">
          {t("login.link.sent", { email: sent })}
        </p>
      )}
    </>
  );
}

/** A link is on its way; nothing more can be done here. */
export function Sent({ email }: { email: string }) {
  const t = useT();
  return (
    <Empty
      alone
      className="mx-auto mt-16 max-w-xl border-none"
      icon={<MailCheck aria-hidden />}
      title={t("signup.sent")}
    >
      {t("login.link.sent", { email })}
    </Empty>
  );
}
