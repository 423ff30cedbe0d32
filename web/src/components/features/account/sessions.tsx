// Where one is signed in, and the way out of each.
"use client";

import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useEndSession, useSessions } from "@/lib/api/account";
import { ago } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { useNow } from "@/lib/use-now";

export function Sessions({ className }: { className?: string }) {
  const t = useT();
  const locale = useLocale();
  const now = useNow();
  const sessions = useSessions();
  const end = useEndSession();
  const language = locale === "pseudo" ? "en" : locale;
  return (
    <Card title={t("account.sessions")} words={t("account.sessions.words")} className={className}>
      <Unread of={sessions} />
      {sessions.isPending && <Skeleton className="h-24" />}
      {sessions.data && (
        <Table
          label={t("account.sessions")}
          heads={[t("account.sessions.browser"), t("account.sessions.from"), t("account.sessions.seen"), ""]}
        >
          {sessions.data.map(({ id, userAgent, address, seenMs, current }) => (
            <tr key={id}>
              <td className="max-w-80">
                <span translate="no" className="block truncate" title={userAgent}>
                  {browserOf(userAgent)}
                </span>
                {current && <Badge look="good">{t("account.sessions.current")}</Badge>}
              </td>
              <td className="whitespace-nowrap tabular-nums">{address}</td>
              <td translate="no" className="whitespace-nowrap">
                {ago(seenMs, now, language)}
              </td>
              <td>
                {!current && (
                  <Button look="outline" size="small" disabled={end.isPending} onClick={() => end.mutate(id)}>
                    {t("nav.signOut")}
                  </Button>
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

/** A browser's name for itself, short. Order matters: most call themselves by several. */
export function browserOf(userAgent: string): string {
  const browser = /(Edg|OPR|Firefox|HeadlessChrome|Chrome|Safari)\/(\d+)/.exec(userAgent);
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux|CrOS)/.exec(userAgent);
  if (!browser) return userAgent || "–";
  const names: Record<string, string> = { Edg: "Edge", OPR: "Opera", HeadlessChrome: "Chrome" };
  const found = ["Edg", "OPR", "Firefox", "HeadlessChrome", "Chrome"].find((name) => userAgent.includes(`${name}/`));
  const name = found ?? browser[1] ?? "";
  return [names[name] ?? name, system?.[1]?.replace("Mac OS X", "macOS")].filter(Boolean).join(", ");
}
