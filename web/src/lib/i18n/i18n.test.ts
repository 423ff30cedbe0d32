// Catalogues and the filling of their messages.
import { describe, expect, test } from "vitest";

import { de } from "./de";
import { en } from "./en";
import { enCharts } from "./en-charts";
import { enDesk } from "./en-desk";
import { enShelf } from "./en-shelf";
import { format } from "./format";
import { pseudo } from "./index";

describe("messages", () => {
  test("gaps are filled and numbers are written as the language does", () => {
    expect(format("{n} of {all}", { n: 3, all: "many" })).toBe("3 of many");
    expect(format("{n} Credits", { n: 1234.5 }, "de")).toBe("1.234,5 Credits");
  });

  test("plurals take the exact case, then the language's, then the last", () => {
    const message = "{n, plural, =0 {none} one {# job by {who}} other {# jobs}}!";
    expect(format(message, { n: 0, who: "you" })).toBe("none!");
    expect(format(message, { n: 1, who: "you" })).toBe("1 job by you!");
    expect(format(message, { n: 2, who: "you" })).toBe("2 jobs!");
  });

  test("a gap nobody fills is an error, not a blank", () => {
    expect(() => format("{n}", {})).toThrow("{n}");
  });
});

const english = { ...en, ...enCharts, ...enDesk, ...enShelf };
const gaps = (message: string) => [...message.matchAll(/\{(\w+)[,}]/g)].map(([, name]) => name).sort();

describe("catalogues", () => {
  test.each(Object.entries(english))("%s has the same gaps in every language", (key, text) => {
    const german = de[key as keyof typeof english];
    expect(new Set(gaps(german))).toEqual(new Set(gaps(text)));
    expect(gaps(pseudo(text))).toEqual(gaps(text));
  });

  test("no word is in two parts of English", () => {
    const all = [en, enCharts, enDesk, enShelf].flatMap((part) => Object.keys(part));
    expect(all.filter((key, n) => all.indexOf(key) !== n)).toEqual([]);
  });

  test("no catalogue has words that another lacks", () => {
    expect(Object.keys(de).sort()).toEqual(Object.keys(english).sort());
  });
});
