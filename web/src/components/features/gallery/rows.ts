// The rows of the grid: a head for every month, then its pictures. Pure.
import type { Day } from "./strip";

export type Row =
  { kind: "head"; month: string; atMs: number; images: number } | { kind: "pictures"; from: number; to: number };

/** A month's name in an address and a list: `2026-11`. */
export const monthOf = (ms: number) => new Date(ms).toISOString().slice(0, 7);

export function rowsOf(days: readonly Day[], columns: number): Row[] {
  const rows: Row[] = [];
  let at = 0;
  let n = 0;
  while (n < days.length) {
    const first = days[n];
    if (!first) break;
    const month = monthOf(first.fromMs);
    let images = 0;
    while (n < days.length && monthOf(days[n]?.fromMs ?? 0) === month) images += days[n++]?.images ?? 0;
    rows.push({ kind: "head", month, atMs: first.fromMs, images });
    for (let from = at; from < at + images; from += columns)
      rows.push({ kind: "pictures", from, to: Math.min(from + columns, at + images) });
    at += images;
  }
  return rows;
}

/** Where to jump to: months while they are few, else years; each the first row of it. */
export function landmarks(rows: readonly Row[]): { name: string; row: number }[] {
  const heads = rows.flatMap((row, index) => (row.kind === "head" ? [{ name: row.month, row: index }] : []));
  if (heads.length <= MONTHS_MAX) return heads;
  const years = new Map<string, number>();
  heads.forEach(({ name, row }) => {
    if (!years.has(name.slice(0, 4))) years.set(name.slice(0, 4), row);
  });
  return [...years].map(([name, row]) => ({ name, row }));
}

/** More months than these do not fit beside the grid. */
const MONTHS_MAX = 12;
