// The form of a new webhook, and its secret once it is made.
"use client";

import { type FormEvent, useState } from "react";

import { ShownOnce } from "@/components/features/developers/shown-once";
import { EVENTS } from "@/components/features/developers/webhook-events";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { useMakeWebhook, type WebhookEvent } from "@/lib/api/webhooks";
import { useT } from "@/lib/i18n";

export function MakeWebhook({ onClose }: { onClose: () => void }) {
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
