// How fast the studio is: Lighthouse's scores of every screen on a phone, a gallery of 100,000 pictures, and how soon pages
// are true again after the server's death. Fails only where something does not work; whether a goal is met is in its line.
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { launch, visitor, type Visitor } from "../e2e/support/browser";
import { makePicture, signUp } from "../e2e/support/people";
import { SCREENS } from "../e2e/support/screens";
import { seedPictures } from "../e2e/support/seed";
import { lastingAddress, Stack } from "../e2e/support/stack";
import { median, print } from "./figure";
import { Phone } from "./phone";

/** Lighthouse's docs/variability.md: the median of five is twice as stable as one. */
const RUNS = Number(process.env.BENCH_RUNS ?? 5);
if (!Number.isInteger(RUNS) || RUNS < 1)
  throw new Error(`BENCH_RUNS is how often a screen is looked at, 1 or more; it says ${process.env.BENCH_RUNS}`);
/** How often the server dies and comes back. */
const RETURNS = 5;
const MANY = 100_000;
/** Names of the screens to look at (`BENCH_ONLY=developers,gallery`), and nothing else then; all, and the rest too, where it is not set. */
const ONLY = process.env.BENCH_ONLY?.split(",").filter(Boolean);
const nameOf = (path: string) => (path === "/" ? "create" : path.replaceAll("/", ""));
const unknown = ONLY?.filter((name) => !SCREENS.some((path) => nameOf(path) === name)) ?? [];
if (unknown.length > 0)
  throw new Error(`BENCH_ONLY: no screen is called ${unknown.join(", ")}; ${SCREENS.map(nameOf).join(", ")} are`);
/** A folder to keep Lighthouse's reports in, as its own viewer reads them. */
const REPORTS = process.env.BENCH_REPORTS;
const lighthouse = join(dirname(createRequire(import.meta.url).resolve("lighthouse/package.json")), "cli/index.js");

let browser: Browser;
let stack: Stack;
let somebody: Visitor;
beforeAll(async () => {
  browser = await launch();
  // A phone shares its processors neither with the server nor with who looks at it; here they only take what it leaves.
  stack = await Stack.start({ listen: await lastingAddress(), yielding: true });
  somebody = await visitor(browser, { url: stack.url, outages: true });
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 4);
});
afterAll(async () => {
  await browser.close();
  await stack.stop();
});

/** How often a run is begun again that Chromium failed: sometimes it loses the beginning of a load (`NO_NAVSTART`). */
const REPEATS = 2;

interface Report {
  runtimeError?: { code: string };
  categories: Record<string, { score: number | null }>;
  audits: Record<string, { score: number | null; title: string; numericValue?: number }>;
}

/** What Lighthouse keeps of a load. */
interface Artifacts {
  BenchmarkIndex: number;
  settings: { throttling: { cpuSlowdownMultiplier: number } };
}

/** Lighthouse's report of a page as it is to somebody signed in, on a phone; a run that fails is said and repeated. */
async function report(path: string, cookie: string): Promise<Report> {
  for (let repeats = 0; ; repeats++) {
    try {
      return await run(path, cookie);
    } catch (error) {
      if (repeats === REPEATS) throw error;
      process.stderr.write(`${path}: Lighthouse failed, once more: ${(error as Error).message.split("\n")[0]}\n`);
    }
  }
}

/** How fast a machine Lighthouse's usual slowdown of 4 is for: the middle of "high-end desktop" in its docs/throttling.md. */
const USUAL_INDEX = 1_750;
const USUAL_SLOWDOWN = 4;
/** The slowdowns its table has for a phone of the middle tier. */
const SLOWDOWNS = { min: 1, max: 10 };

/**
 * Loads the page once and judges what was seen as on a phone. Machines differ, and one on loan differs from itself from
 * minute to minute, so the slowdown goes by how fast Lighthouse found this one in this load: it is the same phone everywhere.
 */
async function run(path: string, cookie: string): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "tt-lh-"));
  const [seen, file] = [join(folder, "seen"), join(folder, "report.json")];
  const phone = await Phone.start(join(folder, "profile"));
  const look = (...options: string[]) =>
    promisify(execFile)(
      "nice",
      [
        ...["-n", "19", process.execPath],
        lighthouse,
        `${stack.url}${path}`,
        "--quiet",
        // Pages keep a stream open, so the network is never idle, which Lighthouse would wait for three times as long.
        "--max-wait-for-load=15000",
        "--only-categories=performance,accessibility,best-practices",
        `--extra-headers=${JSON.stringify({ Cookie: cookie })}`,
        `--port=${phone.port}`,
        ...options,
      ],
      { timeout: 180_000 },
    );
  try {
    await look(`--gather-mode=${seen}`);
    const artifacts = JSON.parse(readFileSync(join(seen, "artifacts.json"), "utf8")) as Artifacts;
    const fitting = (USUAL_SLOWDOWN * artifacts.BenchmarkIndex) / USUAL_INDEX;
    const slowdown = Math.min(SLOWDOWNS.max, Math.max(SLOWDOWNS.min, fitting));
    // Only what it simulates after the load depends on it; Lighthouse wants both halves of a run to say the same.
    artifacts.settings.throttling.cpuSlowdownMultiplier = slowdown;
    writeFileSync(join(seen, "artifacts.json"), JSON.stringify(artifacts));
    await look(
      `--audit-mode=${seen}`,
      `--throttling.cpuSlowdownMultiplier=${slowdown}`,
      "--output=json",
      `--output-path=${file}`,
    );
    const found = JSON.parse(readFileSync(file, "utf8")) as Report;
    if (found.runtimeError) throw new Error(found.runtimeError.code);
    if (REPORTS) copyFileSync(file, join(REPORTS, `${nameOf(path)}-${Date.now()}.json`));
    return found;
  } finally {
    await phone.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What makes up most of the score for speed, with the goals of web.dev's "good". */
const VITALS = [
  { audit: "largest-contentful-paint", name: "lcp", unit: "ms", goal: 2_500 },
  { audit: "total-blocking-time", name: "tbt", unit: "ms", goal: 200 },
  { audit: "cumulative-layout-shift", name: "cls", unit: "shift", goal: 0.1 },
] as const;

const scoreOf = (found: Report, category: string) => 100 * (found.categories[category]?.score ?? 0);

test("Lighthouse", async () => {
  const cookie = (await somebody.context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  // Their page would hear of what happens and draw it, beside what is measured.
  await somebody.page.goto("about:blank");
  if (REPORTS) mkdirSync(REPORTS, { recursive: true });
  for (const path of SCREENS.filter((path) => !ONLY || ONLY.includes(nameOf(path)))) {
    const reports: Report[] = [];
    for (let n = 0; n < RUNS; n++) reports.push(await report(path, cookie));
    const name = nameOf(path);
    for (const [category, goal] of [
      ["performance", 95],
      ["accessibility", 100],
      ["best-practices", 100],
    ] as const) {
      const value = median(reports.map((one) => scoreOf(one, category)));
      const met = print({ name: `web.lighthouse.${name}.${category}`, value, unit: "points", goal, better: "more" });
      if (!met && category !== "performance") {
        const wrong = Object.values(reports[0]?.audits ?? {}).filter(({ score }) => score !== null && score < 1);
        process.stderr.write(`${path}: ${wrong.map(({ title }) => title).join("; ")}\n`);
      }
    }
    for (const { audit, name: vital, unit, goal } of VITALS) {
      const value = median(reports.map(({ audits }) => audits[audit]?.numericValue ?? Number.NaN));
      print({ name: `web.lighthouse.${name}.${vital}`, value, unit, goal, better: "less" });
    }
  }
});

/** Milliseconds until the first screen of the gallery is pictures. */
const opening = async (page: Page): Promise<number> => {
  await page.goto("/gallery/");
  return page.evaluate(
    () =>
      new Promise<number>((done) => {
        const look = () => {
          const seen = [...document.querySelectorAll<HTMLElement>("[data-index]")].filter(
            (tile) => tile.getBoundingClientRect().top < window.innerHeight,
          );
          const drawn = seen.length > 0 && seen.every((tile) => tile.querySelector("img")?.complete);
          if (drawn) done(performance.now());
          else requestAnimationFrame(look);
        };
        look();
      }),
  );
};

test.skipIf(ONLY)("a gallery of 100,000 pictures", async () => {
  const owner = await visitor(browser, { url: stack.url });
  const { page } = owner;
  const email = await signUp(owner);
  await makePicture(owner, "a red circle on a blue background", 1);
  await seedPictures(stack, email, MANY);
  const times: number[] = [];
  for (let n = 0; n < RUNS; n++) times.push(await opening(page));
  print({ name: "web.gallery.100k.open", value: median(times), unit: "ms", goal: 1_000, better: "less" });
  await page.getByText("100,001 pictures", { exact: true }).first().waitFor();

  const search = async (words: string, found: string) => {
    const started = performance.now();
    const answer = await page.request.get(`/api/v1/images/days?q=${encodeURIComponent(words)}`);
    const { data } = (await answer.json()) as { data: { images: number }[] };
    expect(String(data.reduce((sum, { images }) => sum + images, 0))).toBe(found);
    return performance.now() - started;
  };
  const searches: number[] = [];
  for (let n = 0; n < RUNS; n++) searches.push(await search(`2025 number 29${n}`, "100"));
  print({ name: "web.gallery.100k.search", value: median(searches), unit: "ms", goal: 150, better: "less" });

  // Frames while it is scrolled by the wheel's steps, and what the page holds then.
  const fps = await page.evaluate(
    () =>
      new Promise<number>((done) => {
        const started = performance.now();
        let frames = 0;
        const step = () => {
          frames++;
          window.scrollBy(0, 60);
          if (frames < 240) requestAnimationFrame(step);
          else done((1000 * frames) / (performance.now() - started));
        };
        requestAnimationFrame(step);
      }),
  );
  print({ name: "web.gallery.100k.scroll", value: fps, unit: "frames/s", goal: 55, better: "more" });
  const heap = await page.evaluate(
    () => (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize / 1e6,
  );
  print({ name: "web.gallery.100k.heap", value: heap, unit: "MB", goal: 250, better: "less" });
  await owner.context.close();
});

test.skipIf(ONLY)("pages are true again after the server's death", async () => {
  const { page } = somebody;
  await page.goto("/");
  await page.locator("[data-stand=complete]").first().waitFor();
  // A page asks again at moments of its own, so one try says little: the worst of several is told.
  const times: number[] = [];
  for (let n = 0; n < RETURNS; n++) {
    await stack.kill();
    await page.getByText("The connection to the server is lost").waitFor();
    const again = Stack.start({ folder: stack.folder, listen: stack.address });
    // From the first answer on.
    const back = (async () => {
      for (;;) {
        const answer = await fetch(`${stack.url}/healthz`).catch(() => null);
        if (answer?.ok) return performance.now();
      }
    })();
    const since = await back;
    await page.getByText("The connection to the server is lost").waitFor({ state: "detached" });
    times.push(performance.now() - since);
    stack = await again;
  }
  print({ name: "web.true-again", value: Math.max(...times), unit: "ms", goal: 2_000, better: "less" });
});
