// Real Chromium, and what every page must keep: no error on the console, nothing from another origin, no violation that axe
// finds, in light and dark, on a desk and on a phone.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject } from "vitest";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Containers have little of it.
  "--disable-dev-shm-usage",
];
export const DESK = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = fileURLToPath(new URL("../../shots", import.meta.url));

export const launch = (): Promise<Browser> =>
  chromium.launch({ executablePath: process.env.TINTYPE_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

/** A page and what went wrong on it. */
export interface Visitor {
  context: BrowserContext;
  page: Page;
  faults: string[];
}

/** Longest a page may take to show what is waited for: other programs may have the machine meanwhile. */
export const PATIENCE_MS = 90_000;

export interface VisitorOptions {
  url?: string;
  phone?: boolean;
  /** How much larger everything is: browsers zoom by giving the page fewer and larger pixels. */
  zoom?: number;
  locale?: string;
  /** Connections are cut on purpose: that they are is no fault. */
  outages?: boolean;
  /** Other origins this flow goes to on purpose. */
  elsewhere?: readonly string[];
}

const smaller = ({ width, height }: typeof DESK, zoom: number) => ({
  width: Math.round(width / zoom),
  height: Math.round(height / zoom),
});

/** Somebody who has never been here. */
export async function visitor(browser: Browser, options: VisitorOptions = {}): Promise<Visitor> {
  const url = options.url ?? inject("url");
  const context = await browser.newContext({
    baseURL: url,
    viewport: options.phone ? PHONE : smaller(DESK, options.zoom ?? 1),
    deviceScaleFactor: options.zoom ?? 1,
    hasTouch: options.phone ?? false,
    colorScheme: "light",
    reducedMotion: "reduce",
    locale: options.locale ?? "en-US",
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("console", (message) => {
    const text = message.text();
    // A refusal is an answer of the API's; the page's own words about it are what the flows look at.
    const answer = text.startsWith("Failed to load resource");
    if (message.type() === "error" && !answer && !options.outages) faults.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    const ours = origin === url || options.elsewhere?.includes(origin);
    if (protocol.startsWith("http") && !ours) faults.push(`request to ${request.url()}`);
  });
  return { context, page, faults };
}

/** A browser for the flows of a file; gives a new somebody in it at each call. */
export function withBrowser(): (options?: VisitorOptions) => Promise<Visitor> {
  let browser: Browser | undefined;
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser?.close());
  return (options) => {
    if (!browser) throw new Error("visitors come in a test, or in a beforeAll after this one");
    return visitor(browser, options);
  };
}

interface Violation {
  id: string;
  help: string;
  nodes: { html: string; failureSummary?: string }[];
}

/** What axe finds wrong with a page as it is; contrast is not ours where the colours are not. */
export async function violations(page: Page, ownColours = true): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(async (contrast) => {
    type Run = (rules: object) => Promise<{ violations: Violation[] }>;
    const { run } = (window as unknown as { axe: { run: Run } }).axe;
    return (await run({ rules: { "color-contrast": { enabled: contrast } } })).violations;
  }, ownColours);
  return found.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}\n${nodes.map((node) => `  ${node.html}\n  ${node.failureSummary}`).join("\n")}`,
  );
}

/** Keeps a picture of what is seen, once the pictures that can be seen have come. */
export async function shoot(page: Page, name: string): Promise<void> {
  mkdirSync(shots, { recursive: true });
  await page.waitForFunction(() =>
    [...document.images].every((image) => {
      const { top, bottom, width } = image.getBoundingClientRect();
      return image.complete || width === 0 || bottom < 0 || top > window.innerHeight;
    }),
  );
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** Looks at a screen in this state: in both themes and both sizes; keeps a picture of each. */
export async function inspect({ page }: Visitor, name: string): Promise<void> {
  const was = page.viewportSize() ?? DESK;
  for (const [size, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      await page.waitForFunction(
        (dark) => document.documentElement.classList.contains("dark") === dark,
        colorScheme === "dark",
      );
      // Colours are on their way for a frame.
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await shoot(page, `${name}-${size}-${colorScheme}`);
      expect(await violations(page), `${name}, ${size}, ${colorScheme}`).toEqual([]);
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(sideways, `${name} scrolls sideways on a ${size}`).toBeLessThanOrEqual(0);
    }
  }
  await page.setViewportSize(was);
  await page.emulateMedia({ colorScheme: "light" });
}

/** Words on a page in the pseudo-locale that no catalogue has marked. */
export async function bareWords(page: Page): Promise<string[]> {
  await page.getByText(/^⟦/).first().waitFor();
  // Until nothing is waited for.
  await page.waitForFunction(() => document.querySelector(".animate-shimmer") === null);
  return page.evaluate(() => {
    const found: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const holder = node.parentElement;
      const text = node.textContent?.trim() ?? "";
      // Data, names of languages and models, figures: what no catalogue could hold.
      if (holder?.closest("script, style, textarea, [translate=no], code, option[lang], [data-next-announcer]"))
        continue;
      const plain = text.replace(/⟦[\s\S]*?⟧/g, "");
      if (/\p{L}{3,}/u.test(plain) && /^⟦/.test(text) === false) found.push(text);
    }
    return found;
  });
}
