// Words in the language of the person. English comes with the program; other catalogues are fetched when they are chosen.
"use client";

import { useCallback, useSyncExternalStore } from "react";

import { en } from "./en";
import type { enCharts } from "./en-charts";
import type { enDesk } from "./en-desk";
import type { enShelf } from "./en-shelf";
import { format, type Values } from "./format";

export type Key = keyof typeof en | keyof typeof enCharts | keyof typeof enDesk | keyof typeof enShelf;
export type Catalogue = Readonly<Record<Key, string>>;
export type Translate = (key: Key, values?: Values) => string;

/** `pseudo` is for tests: every word is marked, so that one that went past the catalogue is seen. */
export const LOCALES = ["en", "de"] as const;
export const LOCALE_NAMES = { en: "English", de: "Deutsch" } as const;
export type Locale = (typeof LOCALES)[number] | "pseudo";

const STORED = "tintype.locale";

interface Loaded {
  locale: Locale;
  catalogue: Catalogue;
}

// Words are added to it by the screens that have more of them, before they are drawn.
const english = { ...en } as Record<Key, string>;
const ENGLISH: Loaded = { locale: "en", catalogue: english };
let loaded = ENGLISH;
let asked = false;
const listeners = new Set<() => void>();

/** Marks a message outside its braces, so that it is told from plain English and stays fillable. */
export function pseudo(message: string): string {
  let depth = 0;
  const marked = [...message].map((letter) => {
    if (letter === "{") depth++;
    if (letter === "}") depth--;
    return depth === 0 && /[aeiou]/.test(letter) ? letter + "\u0301" : letter;
  });
  return `⟦${marked.join("")}⟧`;
}

/** Adds English words that come with a screen. */
export function addWords(words: Partial<Catalogue>): void {
  Object.assign(english, words);
}

async function catalogueOf(locale: Locale): Promise<Catalogue> {
  if (locale === "de") return (await import("./de")).de;
  if (locale === "pseudo") {
    const [{ enCharts }, { enDesk }, { enShelf }] = await Promise.all([
      import("./en-charts"),
      import("./en-desk"),
      import("./en-shelf"),
    ]);
    const all = { ...en, ...enCharts, ...enDesk, ...enShelf };
    return Object.fromEntries(Object.entries(all).map(([key, text]) => [key, pseudo(text)])) as Catalogue;
  }
  return english;
}

/** Changes the language, here and on the next visit. */
export async function setLocale(locale: Locale): Promise<void> {
  loaded = { locale, catalogue: await catalogueOf(locale) };
  localStorage.setItem(STORED, locale);
  document.documentElement.lang = locale === "pseudo" ? "en" : locale;
  listeners.forEach((listener) => listener());
}

function wanted(): Locale {
  const stored = localStorage.getItem(STORED);
  if (stored === "pseudo") return stored;
  const languages = [stored, ...navigator.languages].map((language) => language?.slice(0, 2));
  return (
    LOCALES.find((locale) => languages.find((language) => LOCALES.some((one) => one === language)) === locale) ?? "en"
  );
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (!asked) {
    asked = true;
    const locale = wanted();
    if (locale !== "en") void setLocale(locale);
  }
  return () => listeners.delete(listener);
}

export function useLocale(): Locale {
  return useSyncExternalStore(
    subscribe,
    () => loaded.locale,
    () => ENGLISH.locale,
  );
}

/** Looks words up. */
export function useT(): Translate {
  const { locale, catalogue } = useSyncExternalStore(
    subscribe,
    () => loaded,
    () => ENGLISH,
  );
  return useCallback(
    (key, values) => format(catalogue[key], values, locale === "pseudo" ? "en" : locale),
    [catalogue, locale],
  );
}
