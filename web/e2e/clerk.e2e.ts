// Signing in with Clerk: its script comes when somebody asks for it, its session becomes one of ours, and both end together.
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { Clerk } from "./support/clerk";
import { makePicture } from "./support/people";
import { Stack } from "./support/stack";

const visit = withBrowser();
let clerk: Clerk;
let stack: Stack;
beforeAll(async () => {
  clerk = await Clerk.start();
  stack = await Stack.start({ env: clerk.env });
});
afterAll(async () => {
  await stack.stop();
  clerk.stop();
});

test("who has an account with Clerk comes in with it, makes a picture, and signs out of both", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [clerk.url] });
  const { page } = somebody;
  await page.goto("/login/?next=/account/");
  await page.getByRole("button", { name: "Continue with Clerk" }).waitFor();
  await inspect(somebody, "login-clerk");
  expect(clerk.asked, "nothing of Clerk's before somebody asks for it").toEqual([]);
  await page.getByRole("button", { name: "Continue with Clerk" }).click();
  await page.getByLabel("Name with Clerk").fill("ada");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.waitForURL((url) => url.pathname === "/account/");
  await page.locator("main").getByText("ada@example.org").waitFor();
  // Pictures come by their addresses, which carry no token of Clerk's.
  await makePicture(somebody, "a red circle on a blue background", 1);

  await page.getByRole("button", { name: "Your account" }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in to generate" }).waitFor();
  expect(clerk.signedIn, "Clerk's session").toBeNull();
  expect((await page.request.get("/api/v1/me")).status()).toBe(401);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("while Clerk is away the page says so, and a password still works", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [clerk.url], outages: true });
  const { context, page } = somebody;
  await context.route(`${clerk.url}/**`, (route) => route.abort());
  await page.goto("/login/");
  await page.getByRole("button", { name: "Continue with Clerk" }).click();
  await page.getByRole("alert").getByText("Clerk cannot be used now").waitFor();
  await inspect(somebody, "login-clerk-away");
  expect(await page.getByRole("button", { name: "Sign in" }).isEnabled()).toBe(true);
  await context.close();
});
