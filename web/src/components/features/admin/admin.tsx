// For whoever runs the service: what runs where and why the rest waits, who there is, what was done.
"use client";

import "@/lib/i18n/desk";
import "@/lib/i18n/shelf";

import { ShieldX } from "lucide-react";
import { lazy, Suspense } from "react";

import { Audit } from "@/components/features/admin/audit";
import { ClusterMap } from "@/components/features/admin/cluster-map";
import { Lanes } from "@/components/features/admin/lanes";
import { ModelList } from "@/components/features/admin/model-list";
import { People } from "@/components/features/admin/people";
import { SignedIn } from "@/components/features/signed-in";
import { PageHead } from "@/components/ui/page-head";
import { Segmented } from "@/components/ui/segmented";
import { Empty, Skeleton } from "@/components/ui/states";
import { type Key, useT } from "@/lib/i18n";
import { useQueryState } from "@/lib/use-query-state";

const Drawn = lazy(async () => ({ default: (await import("./charts")).Charts }));

/** Fetched by who comes to it. */
function Charts() {
  return (
    <Suspense fallback={<Skeleton className="h-72 rounded-lg" />}>
      <Drawn />
    </Suspense>
  );
}

const PARTS = {
  cluster: { label: "admin.cluster", Part: ClusterMap },
  charts: { label: "admin.charts", Part: Charts },
  people: { label: "admin.people", Part: People },
  models: { label: "admin.models", Part: ModelList },
  lanes: { label: "admin.lanes", Part: Lanes },
  audit: { label: "admin.audit", Part: Audit },
} as const satisfies Record<string, { label: Key; Part: () => React.ReactNode }>;

type Name = keyof typeof PARTS;
const NAMES = Object.keys(PARTS) as Name[];

export function Admin() {
  const t = useT();
  return (
    <SignedIn>
      {(me) =>
        !me ? (
          <Skeleton className="h-64 rounded-lg" />
        ) : me.user?.admin ? (
          <Parts />
        ) : (
          <Empty
            alone
            className="mx-auto mt-12 max-w-xl border-none"
            icon={<ShieldX aria-hidden />}
            title={t("admin.no")}
          >
            {t("admin.no.words")}
          </Empty>
        )
      }
    </SignedIn>
  );
}

function Parts() {
  const t = useT();
  const [params, change] = useQueryState();
  const shown = NAMES.find((name) => name === params.get("part")) ?? "cluster";
  const { Part } = PARTS[shown];
  return (
    <>
      <PageHead title={t("nav.admin")} words={t("admin.words")} />
      <div className="-mx-4 mb-6 overflow-x-auto px-4">
        <Segmented
          className="w-max whitespace-nowrap"
          label={t("nav.admin")}
          value={shown}
          choices={NAMES.map((name) => ({ value: name, label: t(PARTS[name].label) }))}
          onChange={(part) => change({ part })}
        />
      </div>
      <Part />
    </>
  );
}
