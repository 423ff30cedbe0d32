// Filters that are wanted now and then: shape, seed, and when a picture was made. Days are those of the grid, in UTC.
"use client";

import { Field, Input, Select } from "@/components/ui/field";
import type { Filter } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";
import { RATIOS } from "@/lib/shape";
import { useQueryState } from "@/lib/use-query-state";

const DAY_MS = 86_400_000;
/** Shapes there are names for, lying and standing. */
const SHAPES = [
  ...RATIOS,
  ...RATIOS.filter((ratio) => ratio !== "1:1").map((ratio) => ratio.split(":").reverse().join(":")),
];

/** What these filters ask for. What is no shape, seed or day is left out: anybody may write an address. */
export function moreOf(params: URLSearchParams): Filter {
  const [ratio, seed] = [params.get("ratio"), params.get("seed")];
  const [from, to] = [dayOf(params.get("from")), dayOf(params.get("to"))];
  return {
    ...(ratio && SHAPES.includes(ratio) && { ratio }),
    ...(seed && /^\d{1,16}$/.test(seed) && Number.isSafeInteger(Number(seed)) && { seed: Number(seed) }),
    ...(from !== null && { from }),
    ...(to !== null && { to: to + DAY_MS }),
  };
}

/** The first moment of a day: `2026-11-27`. */
function dayOf(text: string | null): number | null {
  if (!text || !/^\d{4}-\d\d-\d\d$/.test(text)) return null;
  const at = Date.parse(`${text}T00:00:00Z`);
  return at >= 0 ? at : null;
}

export function MoreFilters() {
  const t = useT();
  const [params, change] = useQueryState();
  const day = (name: "from" | "to") => (
    <Field label={t(`gallery.${name}`)} className="min-w-36 flex-1 sm:flex-none">
      {(ids) => (
        <Input
          {...ids}
          type="date"
          max="9999-12-31"
          value={params.get(name) ?? ""}
          onChange={(event) => change({ [name]: event.target.value })}
        />
      )}
    </Field>
  );
  return (
    <div className="flex flex-wrap gap-3 rounded-lg border bg-card p-3 shadow-raised">
      {day("from")}
      {day("to")}
      <Field label={t("create.shape")} className="min-w-28 flex-1 sm:flex-none">
        {(ids) => (
          <Select
            {...ids}
            value={params.get("ratio") ?? ""}
            onChange={(event) => change({ ratio: event.target.value })}
          >
            <option value="">{t("gallery.anyRatio")}</option>
            {SHAPES.map((ratio) => (
              <option key={ratio}>{ratio}</option>
            ))}
          </Select>
        )}
      </Field>
      <Field label={t("create.seed")} className="min-w-28 flex-1 sm:max-w-44">
        {(ids) => (
          <Input
            {...ids}
            inputMode="numeric"
            maxLength={16}
            value={params.get("seed") ?? ""}
            onChange={(event) => change({ seed: event.target.value.replace(/\D/g, "") })}
          />
        )}
      </Field>
    </div>
  );
}
