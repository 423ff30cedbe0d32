// Every route, read from the server's own description of itself: searched, or by what it is about.
"use client";

import { useState } from "react";

import {
  groupOf,
  type OpenApi,
  type Operation,
  operationsOf,
  type Property,
} from "@/components/features/developers/operations";
import { Badge } from "@/components/ui/badge";
import { Input } from "@/components/ui/field";
import { useT } from "@/lib/i18n";

export function Routes({ document }: { document: OpenApi }) {
  const t = useT();
  const [wanted, setWanted] = useState("");
  const operations = operationsOf(document);
  const words = wanted.toLowerCase();
  const found = operations.filter(({ path, summary }) => `${path} ${summary}`.toLowerCase().includes(words));
  return (
    <>
      <Input
        type="search"
        aria-label={t("dev.api.search")}
        placeholder={t("dev.api.search")}
        className="mb-4 max-w-sm"
        value={wanted}
        onChange={(event) => setWanted(event.target.value)}
      />
      {words ? <Rows operations={found} /> : <Groups operations={operations} />}
    </>
  );
}

function Rows({ operations }: { operations: readonly Operation[] }) {
  return (
    <ul className="grid gap-1.5">
      {operations.map((operation) => (
        <li key={`${operation.method} ${operation.path}`}>
          <OperationRow operation={operation} />
        </li>
      ))}
    </ul>
  );
}

/** Routes by what they are about, each group drawn when it is opened: there are more than a hundred. */
function Groups({ operations }: { operations: readonly Operation[] }) {
  const t = useT();
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) {
    const name = groupOf(operation.path);
    groups.set(name, [...(groups.get(name) ?? []), operation]);
  }
  const toggle = (name: string) => {
    const next = new Set(open);
    if (!next.delete(name)) next.add(name);
    setOpen(next);
  };
  return (
    <ul className="grid gap-1.5">
      {[...groups].map(([name, routes]) => (
        <li key={name}>
          <button
            type="button"
            aria-expanded={open.has(name)}
            onClick={() => toggle(name)}
            className="flex w-full items-center gap-3 rounded-md border px-3 py-2 text-left text-sm transition-colors hover:bg-muted"
          >
            <code translate="no" className="font-mono text-[13px] font-medium">
              {name}
            </code>
            <span className="ml-auto text-xs text-muted-foreground">{t("dev.api.routes", { n: routes.length })}</span>
          </button>
          {open.has(name) && (
            <div className="mt-1.5 ml-4">
              <Rows operations={routes} />
            </div>
          )}
        </li>
      ))}
    </ul>
  );
}

function OperationRow({ operation }: { operation: Operation }) {
  const t = useT();
  const { method, path, summary, parameters, body, answer } = operation;
  return (
    <details className="rounded-md border">
      <summary className="flex cursor-pointer flex-wrap items-center gap-x-3 gap-y-1 rounded-md px-3 py-2 text-sm">
        <Badge look={method === "GET" ? "plain" : "warm"} className="font-mono">
          {method}
        </Badge>
        <code className="font-mono text-[13px] break-all">{path}</code>
        <span className="text-muted-foreground">{summary}</span>
      </summary>
      <div className="grid gap-4 border-t p-3">
        {parameters.length > 0 && <Properties title={t("dev.api.parameters")} properties={parameters} />}
        {body.length > 0 && <Properties title={t("dev.api.body")} properties={body} />}
        {answer.length > 0 && <Properties title={t("dev.api.answer")} properties={answer} />}
      </div>
    </details>
  );
}

function Properties({ title, properties }: { title: string; properties: readonly Property[] }) {
  const t = useT();
  return (
    <div className="grid gap-1.5">
      <h3 className="text-xs font-semibold">{title}</h3>
      <dl className="grid gap-1.5 text-[13px]">
        {properties.map(({ name, type, required, description }) => (
          <div key={name} className="grid gap-x-4 sm:grid-cols-[14rem_minmax(0,1fr)]">
            <dt className="font-mono">
              {name} <span className="text-muted-foreground">{type}</span>
              {required && <span className="ml-1 text-xs text-primary">{t("dev.api.required")}</span>}
            </dt>
            <dd className="text-muted-foreground">{description}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
