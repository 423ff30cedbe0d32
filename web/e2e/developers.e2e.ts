// Programs: a webhook is made, tried, told of a job, and told again; its signature is checked as any receiver would.
import { createHmac } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, PATIENCE_MS, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { Stack } from "./support/stack";

interface Heard {
  id: string;
  at: string;
  signature: string;
  body: string;
}

const visit = withBrowser();
let stack: Stack;
let receiver: Server;
let answers = 204;
const heard: Heard[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const header = (name: string) => String(request.headers[name] ?? "");
      heard.push({
        id: header("webhook-id"),
        at: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
      });
      response.writeHead(answers).end();
    });
  });
  await new Promise<void>((listening) => receiver.listen(0, "127.0.0.1", listening));
  stack = await Stack.start({ env: { TINTYPE_WEBHOOK_PRIVATE_TARGETS: "true" } });
});
afterAll(async () => {
  await stack.stop();
  receiver.close();
});

/** Whether one of the signatures is of this secret, by the Standard Webhooks specification. */
function isSigned({ id, at, signature, body }: Heard, secret: string): boolean {
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  const expected = `v1,${createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64")}`;
  return signature.split(" ").includes(expected);
}

test("a webhook hears of a job, signed; what was sent is in the log and can be sent again", async () => {
  const somebody = await visit({ url: stack.url });
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/developers/");
  await page.getByText("No webhooks yet.").waitFor();
  await page.getByRole("button", { name: "New webhook" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Address").fill("ftp://example.org/");
  await dialog.getByRole("button", { name: "New webhook" }).click();
  await dialog.getByRole("alert").waitFor();
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  await dialog.getByLabel("Address").fill(url);
  await dialog.getByLabel("What it is for").fill("the shop's pictures");
  await dialog.getByRole("checkbox", { name: "a job that is done" }).check();
  await inspect(somebody, "developers-webhook-new");
  await dialog.getByRole("button", { name: "New webhook" }).click();
  const secret = await page.getByTestId("secret").innerText();
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();

  const endpoint = page.locator("[data-webhook]");
  await endpoint.getByText(url).waitFor();
  await endpoint.getByText("Deliveries").click();
  await endpoint.getByText("Nothing was sent yet.").waitFor();
  answers = 500;
  await endpoint.getByRole("button", { name: "Try it" }).click();
  await expect.poll(() => heard.length, { timeout: PATIENCE_MS }).toBe(1);
  expect(isSigned(heard[0]!, secret)).toBe(true);
  expect(isSigned({ ...heard[0]!, body: `${heard[0]!.body} ` }, secret), "a changed body").toBe(false);
  await endpoint.getByText(/^500/).first().waitFor();

  answers = 204;
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.goto("/developers/");
  await endpoint.getByText("Deliveries").click();
  const delivered = page.locator("[data-delivery=delivered]", { hasText: "job.completed" });
  await delivered.waitFor();
  await inspect(somebody, "developers-webhooks");
  const about = (event: string) => heard.filter(({ body }) => (JSON.parse(body) as { type: string }).type === event);
  const before = about("job.completed");
  expect(before).toHaveLength(1);
  expect(isSigned(before[0]!, secret)).toBe(true);
  await delivered.getByRole("button", { name: "Send again" }).click();
  await expect.poll(() => about("job.completed").length, { timeout: PATIENCE_MS }).toBe(2);
  expect(about("job.completed")[1]!.id, "the same message, told again").toBe(before[0]!.id);

  await endpoint.getByRole("button", { name: /^What can be done/ }).click();
  await page.getByRole("menuitem", { name: "New secret" }).click();
  expect(await page.getByTestId("secret").innerText()).not.toBe(secret);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
  await endpoint.getByRole("button", { name: /^What can be done/ }).click();
  await page.getByRole("menuitem", { name: "Switch off" }).click();
  await endpoint.getByText("Off", { exact: true }).waitFor();
  await endpoint.getByRole("button", { name: /^What can be done/ }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByText("No webhooks yet.").waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
