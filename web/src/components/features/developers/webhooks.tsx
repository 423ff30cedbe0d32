// Webhooks: where programs are told what became of a job, and how telling went.
"use client";

import { MoreHorizontal, Plus, Power, RefreshCw, Send, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";

import { DeliveryLog } from "@/components/features/developers/delivery-log";
import { ShownOnce } from "@/components/features/developers/shown-once";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Menu } from "@/components/ui/menu";
import { NoneYet, Skeleton } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { Unread } from "@/components/ui/unread";
import {
  useChangeWebhook,
  useDropWebhook,
  useMakeWebhook,
  useRotateWebhook,
  useTryWebhook,
  useWebhooks,
  type Webhook,
  type WebhookEvent,
} from "@/lib/api/webhooks";
import { type Key, useT } from "@/lib/i18n";

/** What can be chosen; a try is heard by every endpoint. */
const EVENTS = [
  ["job.started", "hooks.event.started"],
  ["job.completed", "hooks.event.completed"],
  ["job.failed", "hooks.event.failed"],
] as const satisfies readonly (readonly [WebhookEvent, Key])[];

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
      {making && <Make onClose={() => setMaking(false)} />}
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

function Make({ onClose }: { onClose: () => void }) {
  const t = useT();
  const make = useMakeWebhook();
  const [url, setUrl] = useState("");
  const [description, setDescription] = useState("");
  const [events, setEvents] = useState<ReadonlySet<WebhookEvent>>(new Set());
  if (make.data)
    return (
      <ShownOnce
        title={t("hooks.secret")}
        words={t("hooks.secret.words")}
        secret={make.data.secret}
        onClose={onClose}
      />
    );
  const toggle = (event: WebhookEvent) => {
    const next = new Set(events);
    if (!next.delete(event)) next.add(event);
    setEvents(next);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({ url: url.trim(), description: description.trim(), events: [...events] });
  };
  return (
    <Dialog open onOpenChange={onClose} title={t("hooks.make")}>
      <form onSubmit={submit} className="grid gap-4">
        <Field label={t("hooks.url")} hint={t("hooks.url.hint")} error={make.error?.message}>
          {(ids) => (
            <Input
              {...ids}
              type="url"
              inputMode="url"
              placeholder="https://"
              maxLength={2000}
              value={url}
              onChange={(event) => setUrl(event.target.value)}
            />
          )}
        </Field>
        <Field label={t("hooks.description")}>
          {(ids) => (
            <Input
              {...ids}
              maxLength={200}
              value={description}
              onChange={(event) => setDescription(event.target.value)}
            />
          )}
        </Field>
        <fieldset className="grid gap-2">
          <legend className="mb-1.5 text-sm font-medium">{t("hooks.events")}</legend>
          {EVENTS.map(([event, key]) => (
            <label key={event} className="flex items-center gap-2.5 text-sm">
              <input
                type="checkbox"
                className="size-4 accent-primary"
                checked={events.has(event)}
                onChange={() => toggle(event)}
              />
              {t(key)}
            </label>
          ))}
          <p className="text-xs text-muted-foreground">{t("hooks.events.hint")}</p>
        </fieldset>
        <Button type="submit" className="justify-self-end" disabled={url.trim() === "" || make.isPending}>
          {t("hooks.make")}
        </Button>
      </form>
    </Dialog>
  );
}
