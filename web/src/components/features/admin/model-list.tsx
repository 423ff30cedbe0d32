// What requests may name: every model there is, and which are in some worker's memory now.
"use client";

import { Badge } from "@/components/ui/badge";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useModels } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";

export function ModelList() {
  const t = useT();
  const models = useModels(true);
  return (
    <Card title={t("admin.models")} words={t("admin.models.words")}>
      <Unread of={models} />
      {models.isPending && <Skeleton className="h-32" />}
      {models.data && (
        <Table
          label={t("admin.models")}
          heads={[t("create.model"), t("admin.models.kind"), t("admin.models.family"), t("create.size"), ""]}
        >
          {models.data.data.map(({ name, kind = "checkpoint", family, description, defaults }) => (
            <tr key={name} data-model={name}>
              <td translate="no">
                <span className="font-medium">{name}</span>
                {description && <span className="block max-w-xl text-xs text-muted-foreground">{description}</span>}
              </td>
              <td translate="no">{kind}</td>
              <td translate="no">{family}</td>
              <td translate="no" className="whitespace-nowrap tabular-nums">
                {defaults.width} × {defaults.height}
              </td>
              <td>
                {kind === "checkpoint" && (
                  <Badge look={models.data.warm.includes(name) ? "warm" : "plain"}>
                    {t(models.data.warm.includes(name) ? "create.model.warm" : "create.model.cold")}
                  </Badge>
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}
