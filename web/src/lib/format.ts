// Numbers as people read them.

/** Milli-credits as credits: at most three places, none that say nothing. */
export function credits(millis: number, locale = "en"): string {
  return (millis / 1000).toLocaleString(locale, { maximumFractionDigits: 3 });
}

/** A short time, such as `0.8 s`, `12 s`, `3 min`. */
export function duration(ms: number, locale = "en"): string {
  if (ms < 9_950) return `${(ms / 1000).toLocaleString(locale, { maximumFractionDigits: 1 })} s`;
  if (ms < 90_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 90 * 60_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** How long ago, in words; the date after a week. */
export function ago(then: number, now: number, locale = "en"): string {
  const passed = now - then;
  if (passed > 7 * 86_400_000) return new Date(then).toLocaleDateString(locale, { dateStyle: "medium" });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const found = UNITS.find(([, length]) => passed >= length);
  return found ? relative.format(-Math.floor(passed / found[1]), found[0]) : relative.format(0, "second");
}

export function bytes(count: number, locale = "en"): string {
  const step = count >= 1 << 30 ? [1 << 30, "GB"] : count >= 1 << 20 ? [1 << 20, "MB"] : [1 << 10, "kB"];
  return `${(count / (step[0] as number)).toLocaleString(locale, { maximumFractionDigits: 1 })} ${step[1]}`;
}

export function dateTime(ms: number, locale = "en"): string {
  return new Date(ms).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}

/** Money from the currency's smallest unit. */
export function money(minor: number, currency: string, locale = "en"): string {
  const format = new Intl.NumberFormat(locale, { style: "currency", currency: currency.toUpperCase() });
  return format.format(minor / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}
