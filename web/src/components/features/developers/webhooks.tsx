// Webhooks: where programs are told what became of a job, and how telling went.
"use client";

import { MoreHorizontal, Plus, Power, RefreshCw, Send, Trash2 } from "lucide-react";
import { lazy, Suspense, useState } from "react";

import { DeliveryLog } from "@/components/features/developers/delivery-log";
import { ShownOnce } from "@/components/features/developers/shown-once";
import { EVENTS } from "@/components/features/developers/webhook-events";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Menu } from "@/components/ui/menu";
import { NoneYet, Skeleton } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { Unread } from "@/components/ui/unread";
import {
  useChangeWebhook,
  useDropWebhook,
  useRotateWebhook,
  useTryWebhook,
  useWebhooks,
  type Webhook,
} from "@/lib/api/webhooks";
import { useT } from "@/lib/i18n";

const Make = lazy(async () => ({ default: (await import("./make-webhook")).MakeWebhook }));

export function Webhooks() {
  const t = useT();
  const webhooks = useWebhooks();
  const [making, setMaking] = useState(false);
  return (
    <Card
      title={t("hooks.title")}
      words={t("hooks.words")}
      aside={
        <Button size="small" onClick={() => setMaking(true)}>
          <Plus aria-hidden /> {t("hooks.make")}
        </Button>
      }
    >
      <Unread of={webhooks} />
      {webhooks.isPending && <Skeleton className="h-24" />}
      {webhooks.data?.length === 0 && <NoneYet>{t("hooks.none")}</NoneYet>}
      <ul className="grid grid-cols-1 gap-3">
        {webhooks.data?.map((webhook) => (
          <Endpoint key={webhook.id} webhook={webhook} />
        ))}
      </ul>
      {making && (
        <Suspense fallback={null}>
          <Make onClose={() => setMaking(false)} />
        </Suspense>
      )}
    </Card>
  );
}

function Endpoint({ webhook }: { webhook: Webhook }) {
  const t = useT();
  const { id, url, description, events, enabled, disabledReason } = webhook;
  const change = useChangeWebhook();
  const drop = useDropWebhook();
  const rotate = useRotateWebhook();
  const attempt = useTryWebhook();
  const failed = (error: Error) => say({ text: error.message });
  const names = EVENTS.filter(([event]) => events.includes(event)).map(([, key]) => t(key));
  return (
    <li data-webhook={id} className="min-w-0 rounded-md border">
      <div className="flex flex-wrap items-start justify-between gap-3 p-3">
        <div className="grid min-w-0 gap-1">
          <code translate="no" className="font-mono text-[13px] break-all">
            {url}
          </code>
          <p className="flex flex-wrap items-center gap-2 text-xs text-muted-foreground">
            <Badge look={enabled ? "good" : "bad"}>{t(enabled ? "hooks.on" : "hooks.off")}</Badge>
            {description && <span translate="no">{description}</span>}
            <span>{names.length > 0 ? names.join(", ") : t("hooks.everything")}</span>
          </p>
          {disabledReason && (
            <p translate="no" className="text-xs text-destructive">
              {disabledReason}
            </p>
          )}
        </div>
        <div className="flex gap-1.5">
          <Button
            look="outline"
            size="small"
            disabled={!enabled || attempt.isPending}
            onClick={() => attempt.mutate(id, { onSuccess: () => say({ text: t("hooks.trying") }), onError: failed })}
          >
            <Send aria-hidden /> {t("hooks.try")}
          </Button>
          <Menu
            trigger={
              <Button look="ghost" size="icon" aria-label={t("hooks.more", { url })}>
                <MoreHorizontal aria-hidden />
              </Button>
            }
            items={[
              {
                label: t(enabled ? "hooks.turnOff" : "hooks.turnOn"),
                icon: Power,
                run: () => change.mutate({ id, enabled: !enabled }, { onError: failed }),
              },
              { label: t("hooks.rotate"), icon: RefreshCw, run: () => rotate.mutate(id, { onError: failed }) },
              { label: t("ui.delete"), icon: Trash2, danger: true, run: () => drop.mutate(id, { onError: failed }) },
            ]}
          />
        </div>
      </div>
      <DeliveryLog id={id} />
      {rotate.data && (
        <ShownOnce
          title={t("hooks.secret")}
          words={t("hooks.secret.rotated")}
          secret={rotate.data.secret}
          onClose={() => rotate.reset()}
        />
      )}
    </li>
  );
}
