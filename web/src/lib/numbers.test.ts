// What is written without `Intl` is what `Intl` would write.
import { expect, test } from "vitest";

import { ago, money } from "./format";
import { LOCALES } from "./i18n";
import { day, dayInUtc, decimal, minute, month, plural, shortMonth } from "./numbers";

const SOME = [
  0, 0.04, 0.05, 1, 1.5, 9.6, 9.999, 12, 100, 999, 1000, 1234.5, 99_999, 100_001, 1_234_567.891, -3, -1234.5,
];

test.each(LOCALES)("numbers in %s", (locale) => {
  for (const value of SOME) {
    for (const places of [0, 1, 3]) {
      const said = value.toLocaleString(locale, { maximumFractionDigits: places });
      expect(decimal(value, locale, places), `${value}, ${places} places`).toBe(said);
    }
  }
});

test.each(LOCALES)("plurals in %s", (locale) => {
  const rules = new Intl.PluralRules(locale);
  for (const value of [...Array(200).keys(), 1.5, 1001]) expect(plural(value), String(value)).toBe(rules.select(value));
});

test.each(LOCALES)("dates in %s", (locale) => {
  const by = (options: Intl.DateTimeFormatOptions) => (ms: number) =>
    new Intl.DateTimeFormat(locale, options).format(ms).replaceAll("\u202f", " ");
  const ways: [(ms: number, locale: string) => string, (ms: number) => string][] = [
    [day, by({ dateStyle: "medium" })],
    [dayInUtc, by({ dateStyle: "medium", timeZone: "UTC" })],
    [minute, by({ dateStyle: "medium", timeStyle: "short" })],
    [month, by({ month: "long", year: "numeric", timeZone: "UTC" })],
    [shortMonth, by({ month: "short", year: "2-digit", timeZone: "UTC" })],
  ];
  for (let n = 0; n < 24; n++) {
    // Every month, and every hour.
    const ms = Date.UTC(2025, n, 1 + n, n, 7 * (n % 9));
    for (const [ours, theirs] of ways) expect(ours(ms, locale), ours.name).toBe(theirs(ms));
  }
});

test.each(LOCALES)("how long ago in %s", (locale) => {
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const passed: [number, number, Intl.RelativeTimeFormatUnit][] = [
    [59_000, 0, "second"],
    [60_000, 1, "minute"],
    [59 * 60_000, 59, "minute"],
    [3_600_000, 1, "hour"],
    [23 * 3_600_000, 23, "hour"],
    ...[1, 2, 3, 6].map((days): [number, number, "day"] => [days * 86_400_000, days, "day"]),
  ];
  for (const [ms, n, unit] of passed) expect(ago(0, ms, locale)).toBe(relative.format(-n, unit));
});

test.each(LOCALES)("money in %s", (locale) => {
  for (const currency of ["usd", "eur", "gbp", "jpy", "chf"]) {
    const format = new Intl.NumberFormat(locale, { style: "currency", currency });
    for (const minor of [0, 5, 999, 100_000, 123_456_78, -250]) {
      const places = format.resolvedOptions().maximumFractionDigits ?? 2;
      expect(money(minor, currency, locale)).toBe(format.format(minor / 10 ** places));
    }
  }
});
