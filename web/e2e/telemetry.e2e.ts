// What is told of people: nothing without their consent, and with it no more than the studio says. PostHog and Sentry are a small
// receiver here, which keeps everything it is sent.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, PATIENCE_MS, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { Stack } from "./support/stack";

interface Heard {
  path: string;
  body: string;
}

const PROMPT = "a secret red circle on a blue background";

const visit = withBrowser();
let stack: Stack;
let receiver: Server;
let origin: string;
const heard: Heard[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      response.setHeader("access-control-allow-origin", "*");
      response.setHeader("access-control-allow-headers", "*");
      const path = new URL(request.url ?? "/", "http://receiver").pathname;
      if (request.method === "POST") heard.push({ path, body });
      const answer = path === "/flags" ? { flags: { "create-no-examples": { enabled: true } } } : {};
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((listening) => receiver.listen(0, "127.0.0.1", listening));
  const { port } = receiver.address() as AddressInfo;
  origin = `http://127.0.0.1:${port}`;
  stack = await Stack.start({
    env: {
      TINTYPE_POSTHOG_KEY: "phc_flows",
      TINTYPE_POSTHOG_URL: origin,
      TINTYPE_STUDIO_SENTRY_DSN: `http://abc@127.0.0.1:${port}/7`,
    },
  });
});
afterAll(async () => {
  await stack.stop();
  receiver.closeAllConnections();
  receiver.close();
});

const at = (path: string) => heard.filter((one) => one.path === path);
const told = () => at("/i/v0/e/").map(({ body }) => JSON.parse(body) as Record<string, unknown>);

test("nothing is told before somebody agrees or after they say no; then pictures and errors are, without what was written", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [origin] });
  const { page } = somebody;
  /** An error nobody caught, as a broken page has them. */
  const fall = (words: string) =>
    page.evaluate((text) => void setTimeout(() => Promise.reject(new Error(text)), 0), words);
  await signUp(somebody);
  await page.getByRole("heading", { name: "May this page tell how it is used?" }).waitFor();
  await inspect(somebody, "consent");
  await makePicture(somebody, PROMPT, 1);
  await fall("before anybody agreed");
  expect(heard, "before the answer").toEqual([]);
  await page.getByRole("button", { name: "No", exact: true }).click();
  await page.getByRole("heading", { name: "May this page tell" }).waitFor({ state: "detached" });
  await page.reload();
  await makePicture(somebody, PROMPT, 1);
  await fall("after a no");
  await page.goto("/account/");
  const consent = page.getByRole("switch", { name: "Tell how the studio is used" });
  await consent.waitFor();
  expect(await consent.isChecked()).toBe(false);
  expect(heard, "after a no").toEqual([]);

  await consent.check();
  await expect.poll(() => at("/flags").length, { timeout: PATIENCE_MS }).toBe(1);
  await makePicture(somebody, PROMPT, 2);
  await expect.poll(told, { timeout: PATIENCE_MS }).toMatchObject([
    {
      api_key: "phc_flows",
      event: "image_generated",
      properties: { model: "tintype/shapes", prompt_length: PROMPT.length, images: 2, $process_person_profile: false },
    },
  ]);
  const price = await page.evaluate(
    async () => ((await (await fetch("/api/v1/jobs")).json()).data as { priceMillis: number }[])[0]!.priceMillis,
  );
  expect(told()[0]).toMatchObject({ properties: { credits_spent: price / 1000 } });
  // The library for errors is fetched once one has agreed; errors are told from then on.
  await expect
    .poll(
      async () => {
        await fall("a planted fault");
        return at("/api/7/envelope/").some(({ body }) => body.includes("a planted fault"));
      },
      { timeout: PATIENCE_MS },
    )
    .toBe(true);
  const all = heard.map(({ body }) => body).join("\n");
  expect(all).not.toContain("secret");
  expect(all).not.toContain("example.org");
  expect(all).not.toContain("before anybody agreed");
  expect(all).not.toContain("after a no");

  await page.goto("/account/");
  await consent.uncheck();
  await page.reload();
  const before = heard.length;
  await makePicture(somebody, PROMPT, 1);
  expect(heard.slice(before), "after the consent was taken back").toEqual([]);
  const planted = /a planted fault|before anybody agreed|after a no/;
  expect(somebody.faults.filter((fault) => !planted.test(fault))).toEqual([]);
  await somebody.context.close();
});

test("a feature flag changes what people who agreed see, and nobody else", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [origin] });
  const { page } = somebody;
  await signUp(somebody);
  const example = page.getByRole("button", { name: "a large red circle" });
  await example.waitFor();
  await page.getByRole("button", { name: "Yes, tell" }).click();
  await example.waitFor({ state: "detached" });
  await page.getByText("Your first picture is one line away").waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
