// Flow 1: first visit, sign up, free credits, first picture.
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { signUp } from "./support/people";

const visit = withBrowser();

test("who has never been here signs up, sees the price, makes a picture and pays what was shown", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await page.goto("/");
  await page.getByRole("link", { name: "Sign in to generate" }).waitFor();
  await inspect(somebody, "create-signed-out");
  await page.goto("/login/");
  await inspect(somebody, "login");
  await page.goto("/welcome/");
  await page.getByRole("button", { name: "Create account" }).waitFor();
  await inspect(somebody, "welcome");
  await signUp(somebody);
  await page.getByText("Your first picture is one line away").waitFor();
  await inspect(somebody, "create-empty");
  await page.getByRole("button", { name: "Your account" }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).waitFor();
  await inspect(somebody, "menu-account");
  await page.keyboard.press("Escape");

  await page.getByLabel("Prompt", { exact: true }).fill("short");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("Say a little more: 5 more characters.").waitFor();
  await inspect(somebody, "create-refused");

  await page.getByRole("button", { name: "a large red circle" }).click();
  await page.getByRole("radio", { name: "4", exact: true }).check();
  await page.getByRole("button", { name: /^tintype\/shapes/ }).click();
  const cards = page.getByRole("dialog", { name: "Model" });
  // Each with its own price for what is asked for.
  await cards
    .locator("[data-costs]", { hasText: /^4 pictures · 0\.\d+ credits/ })
    .nth(1)
    .waitFor();
  await inspect(somebody, "create-models");
  await page.keyboard.press("Escape");
  // Whoever works by keyboard is where they were.
  await page
    .getByRole("button", { name: /^tintype\/shapes/ })
    .and(page.locator(":focus"))
    .waitFor();
  const price = page.getByTestId("price");
  await price.getByText("4 pictures").waitFor();
  expect(await price.innerText()).toMatch(/^4 pictures · 0\.063 credits · .*nobody ahead$/);
  await page.keyboard.press("Control+Enter");
  await page.locator("[data-stand=complete] img:not([data-preview])").nth(3).waitFor();
  await page.getByTestId("balance").getByText("9.937").first().waitFor();
  await page.getByText("0.063 credits", { exact: true }).waitFor();
  await inspect(somebody, "create-done");
  // A model's card shows what it has made of late.
  await page.getByRole("button", { name: /^tintype\/shapes/ }).click();
  await cards.locator("img").first().waitFor();
  await page.keyboard.press("Escape");
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
