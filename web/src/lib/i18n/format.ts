// Fills a message: `{name}`, and plurals as ICU writes them: `{n, plural, =0 {none} one {# job} other {# jobs}}`.
import { decimal, plural } from "@/lib/numbers";

export type Values = Readonly<Record<string, string | number>>;

/** The message with its gaps filled, in the words of `locale`. */
export function format(message: string, values: Values = {}, locale = "en"): string {
  let text = "";
  let at = 0;
  while (at < message.length) {
    const open = message.indexOf("{", at);
    if (open < 0) return text + message.slice(at);
    const close = closing(message, open);
    text += message.slice(at, open) + fill(message.slice(open + 1, close), values, locale);
    at = close + 1;
  }
  return text;
}

/** Where the brace that opens at `open` closes. */
function closing(message: string, open: number): number {
  let depth = 0;
  for (let at = open; at < message.length; at++) {
    if (message[at] === "{") depth++;
    if (message[at] === "}" && --depth === 0) return at;
  }
  throw new Error(`a brace is not closed in "${message}"`);
}

function fill(inner: string, values: Values, locale: string): string {
  const [name = "", kind, ...rest] = inner.split(",").map((part) => part.trim());
  const value = values[name];
  if (value === undefined) throw new Error(`nothing was given for {${name}}`);
  if (kind !== "plural") return typeof value === "number" ? decimal(value, locale) : value;
  const number = Number(value);
  const cases = readCases(rest.join(","));
  const found = cases[`=${number}`] ?? cases[plural(number)] ?? cases.other;
  if (found === undefined) throw new Error(`{${name}} has no case "other"`);
  return format(found.replaceAll("#", decimal(number, locale)), values, locale);
}

function readCases(text: string): Record<string, string> {
  const cases: Record<string, string> = {};
  let at = 0;
  for (;;) {
    const open = text.indexOf("{", at);
    if (open < 0) return cases;
    const close = closing(text, open);
    cases[text.slice(at, open).trim()] = text.slice(open + 1, close);
    at = close + 1;
  }
}
