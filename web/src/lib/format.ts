// Amounts as people read them.
import { day, decimal, minute } from "@/lib/numbers";

/** Milli-credits as credits: at most three places, none that say nothing. */
export function credits(millis: number, locale = "en"): string {
  return decimal(millis / 1000, locale);
}

/** A short time, such as `0.8 s`, `12 s`, `3 min`. */
export function duration(ms: number, locale = "en"): string {
  if (ms < 9_950) return `${decimal(ms / 1000, locale, 1)} s`;
  if (ms < 90_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 90 * 60_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;
const IN_GERMAN = { day: ["Tag", "Tagen"], hour: ["Stunde", "Stunden"], minute: ["Minute", "Minuten"] } as const;

/** How long ago, in words; the date after a week. */
export function ago(then: number, now: number, locale = "en"): string {
  const passed = now - then;
  if (passed > 7 * 86_400_000) return day(then, locale);
  const [unit, length] = UNITS.find(([, length]) => passed >= length) ?? [];
  if (!unit || !length) return locale === "de" ? "jetzt" : "now";
  const n = Math.floor(passed / length);
  if (locale === "de") {
    const yesterday = unit === "day" ? [, "gestern", "vorgestern"][n] : undefined;
    return yesterday ?? `vor ${n} ${IN_GERMAN[unit][n === 1 ? 0 : 1]}`;
  }
  return unit === "day" && n === 1 ? "yesterday" : `${n} ${unit}${n === 1 ? "" : "s"} ago`;
}

export function bytes(count: number, locale = "en"): string {
  const step = count >= 1 << 30 ? [1 << 30, "GB"] : count >= 1 << 20 ? [1 << 20, "MB"] : [1 << 10, "kB"];
  return `${decimal(count / (step[0] as number), locale, 1)} ${step[1]}`;
}

export const dateTime = minute;

/** Currencies of a hundred parts, and their signs. */
const SIGNS: Readonly<Record<string, string>> = { USD: "$", EUR: "€", GBP: "£" };

/** Money from the currency's smallest unit. */
export function money(minor: number, currency: string, locale = "en"): string {
  const sign = SIGNS[currency.toUpperCase()];
  if (sign && minor >= 0) {
    const parts = String(minor % 100).padStart(2, "0");
    const whole = decimal(Math.floor(minor / 100), locale);
    return locale === "de" ? `${whole},${parts}\u00a0${sign}` : `${sign}${whole}.${parts}`;
  }
  const format = new Intl.NumberFormat(locale, { style: "currency", currency: currency.toUpperCase() });
  return format.format(minor / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}
