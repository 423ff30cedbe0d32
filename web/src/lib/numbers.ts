// Numbers, plurals and dates as people write them, in the languages there are. Without `Intl`: what it reads when it is first used
// takes a phone a tenth of a second, once for numbers and once for dates, and every page shows some at once.

/** What stands between thousands, and before parts, by language. Others are written as English is. */
const MARKS: Readonly<Record<string, readonly [group: string, point: string]>> = { en: [",", "."], de: [".", ","] };

/** A number with at most so many places, none that say nothing: `1,234.5`. */
export function decimal(value: number, locale = "en", places = 3): string {
  const [group, point] = MARKS[locale] ?? [",", "."];
  const [whole = "", part = ""] = value.toFixed(places).split(".");
  const said = part.replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, group) + (said && point + said);
}

/** Which plural a number takes. English and German have the same two (CLDR 48, Language Plural Rules: `i = 1 and v = 0`). */
export const plural = (value: number): "one" | "other" => (value === 1 ? "one" : "other");

const MONTHS: Readonly<Record<string, string>> = {
  en: "January February March April May June July August September October November December",
  de: "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
};
const SHORT_MONTHS: Readonly<Record<string, string>> = {
  en: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
  de: "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
};

const named = (names: Readonly<Record<string, string>>, locale: string, month: number) =>
  (names[locale] ?? names.en ?? "").split(" ")[month] ?? "";
const two = (value: number) => String(value).padStart(2, "0");

/** The day here: `Nov 26, 2026`. */
export function day(ms: number, locale = "en"): string {
  const at = new Date(ms);
  return written(at.getFullYear(), at.getMonth(), at.getDate(), locale);
}

/** The day in UTC. */
export function dayInUtc(ms: number, locale = "en"): string {
  const at = new Date(ms);
  return written(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), locale);
}

function written(year: number, month: number, date: number, locale: string): string {
  if (locale === "de") return `${two(date)}.${two(month + 1)}.${year}`;
  return `${named(SHORT_MONTHS, locale, month)} ${date}, ${year}`;
}

/** The minute here: `Nov 26, 2026, 8:10 PM`. */
export function minute(ms: number, locale = "en"): string {
  const at = new Date(ms);
  const [hour, minutes] = [at.getHours(), two(at.getMinutes())];
  if (locale === "de") return `${day(ms, locale)}, ${two(hour)}:${minutes}`;
  return `${day(ms, locale)}, ${hour % 12 || 12}:${minutes} ${hour < 12 ? "AM" : "PM"}`;
}

/** A month in UTC: `November 2026`. */
export function month(ms: number, locale = "en"): string {
  const at = new Date(ms);
  return `${named(MONTHS, locale, at.getUTCMonth())} ${at.getUTCFullYear()}`;
}

/** The same where there is little room: `Nov 26`. */
export function shortMonth(ms: number, locale = "en"): string {
  const at = new Date(ms);
  return `${named(SHORT_MONTHS, locale, at.getUTCMonth())} ${two(at.getUTCFullYear() % 100)}`;
}
