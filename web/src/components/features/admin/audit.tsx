// What was done on this server, by whom, newest first.
"use client";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useAudit } from "@/lib/api/admin";
import { dateTime } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";

const ACTORS: Record<string, Key> = {
  person: "admin.audit.person",
  key: "admin.audit.key",
  admin: "admin.audit.admin",
  provider: "admin.audit.provider",
};

export function Audit() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const audit = useAudit();
  const deeds = audit.data?.pages.flatMap(({ data }) => data) ?? [];
  return (
    <Card title={t("admin.audit")} words={t("admin.audit.words")}>
      <Unread of={audit} />
      {audit.isPending && <Skeleton className="h-64" />}
      {deeds.length > 0 && (
        <Table
          label={t("admin.audit")}
          heads={[t("money.when"), t("admin.audit.what"), t("admin.audit.who"), t("admin.audit.target")]}
        >
          {deeds.map(({ id, atMs, action, actorKind, actor, target }) => {
            const kind = ACTORS[actorKind];
            return (
              <tr key={id} data-deed={action}>
                <td translate="no" className="whitespace-nowrap text-muted-foreground tabular-nums">
                  {dateTime(atMs, language)}
                </td>
                <td>
                  <code translate="no" className="font-mono text-xs">
                    {action}
                  </code>
                </td>
                <td>
                  {kind ? t(kind) : actorKind}
                  {actor && (
                    <code translate="no" className="block font-mono text-xs text-muted-foreground">
                      {actor}
                    </code>
                  )}
                </td>
                <td>
                  <code translate="no" className="font-mono text-xs break-all">
                    {target ?? "–"}
                  </code>
                </td>
              </tr>
            );
          })}
        </Table>
      )}
      {audit.hasNextPage && (
        <Button look="outline" size="small" className="mt-4" onClick={() => void audit.fetchNextPage()}>
          {t("ui.more")}
        </Button>
      )}
    </Card>
  );
}
