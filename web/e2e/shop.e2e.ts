// Flow 4: credits run out, are bought on the payment provider's page, and the job that waited for them is made. Then a
// subscription, and the provider's own page about it.
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { signUp } from "./support/people";
import { Stack } from "./support/stack";
import { Twin } from "./support/twin";

const visit = withBrowser();
let twin: Twin;
let stack: Stack;
beforeAll(async () => {
  twin = await Twin.start();
  stack = await Stack.start({ env: twin.env });
  await twin.tell(stack.url);
});
afterAll(async () => {
  await stack.stop();
  await twin.stop();
});

test("who runs out of credits buys some and goes on where they were", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [twin.url] });
  const { page } = somebody;
  await signUp(somebody);
  await page.getByLabel("Prompt", { exact: true }).fill("a red circle, larger than can be paid");
  await page.locator("summary", { hasText: "Advanced" }).click();
  await page.getByRole("slider", { name: "Steps" }).fill("150");
  await page.getByRole("slider", { name: "Size" }).fill("256");
  await page.getByRole("radio", { name: "8", exact: true }).check();
  await page.getByText(/credits are missing/).waitFor();
  await inspect(somebody, "create-short");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByRole("link", { name: "Get credits" }).click();

  await page.getByRole("button", { name: /^Buy 100 credits for/ }).waitFor();
  await inspect(somebody, "credits-shop");
  await page.getByRole("button", { name: /^Buy 100 credits for/ }).click();
  await page.getByRole("button", { name: "Pay" }).click();
  await page.waitForURL(/\/credits\/\?paid/);
  await page.getByText("Paid. Your credits are here.").waitFor();
  await page.getByTestId("balance").getByText("110", { exact: true }).waitFor();
  await page.locator("[data-line=grant]").getByText("+100").waitFor();
  await page.locator("[data-payment]").waitFor();
  await inspect(somebody, "credits-paid");

  await page.getByRole("link", { name: "Back to your picture" }).click();
  const job = page.locator("[data-job]", { hasText: "larger than can be paid" });
  await job.getByRole("button", { name: "Cancel" }).click();
  await job.getByText("Cancelled. Not charged.").waitFor();
  await page.getByTestId("balance").getByText("110", { exact: true }).waitFor();
  expect(await page.locator("[data-job]").count(), "one press is one job").toBe(1);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("a subscription brings credits, shows that it runs, and ends on the provider's page", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [twin.url] });
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/credits/?cancelled");
  await page.getByText("Nothing was bought.").waitFor();
  await page
    .getByRole("button", { name: /^Subscribe to/ })
    .first()
    .click();
  await page.getByRole("button", { name: "Pay" }).click();
  await page.waitForURL(/\/credits\/\?paid/);
  await page.getByText("Paid. Your credits are here.").waitFor();
  await page.locator("[data-subscription=current]").getByText("Your subscription").waitFor();
  await page.locator("[data-line=grant]").getByText("Subscription").waitFor();
  await inspect(somebody, "credits-subscribed");

  await page.getByRole("button", { name: "Change or end it" }).click();
  await page.getByRole("button", { name: "Cancel subscription" }).waitFor();
  await page.getByRole("link", { name: "Return" }).click();
  await page.waitForURL((url) => url.pathname === "/credits/");
  await page.locator("[data-subscription=current]").waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("a code brings credits once, and topping up wants a card that was kept", async () => {
  const somebody = await visit({ url: stack.url, elsewhere: [twin.url] });
  const { page } = somebody;
  await signUp(somebody);
  const made = await fetch(`${stack.url}/api/v1/promo-codes`, {
    method: "POST",
    headers: { authorization: `Bearer ${stack.adminToken}`, "content-type": "application/json" },
    body: JSON.stringify({ creditsMillis: 5_000, usesMax: 1, expiresInDays: 1 }),
  });
  const { code } = (await made.json()) as { code: string };
  await page.goto("/credits/");
  await page.getByRole("textbox", { name: "Code" }).fill(code);
  await page.getByRole("button", { name: "Redeem" }).click();
  await page.getByTestId("balance").getByText("15", { exact: true }).waitFor();
  await page.getByRole("textbox", { name: "Code" }).fill(code);
  await page.getByRole("button", { name: "Redeem" }).click();
  await page.getByText(/used by you before/).waitFor();
  await page.getByRole("button", { name: "Switch on" }).click();
  await page.getByText(/no card is kept/).waitFor();

  await page.getByRole("switch", { name: "Keep the card" }).check();
  await page.getByRole("button", { name: /^Buy 100 credits for/ }).click();
  await page.getByRole("button", { name: "Pay" }).click();
  await page.getByText("Paid. Your credits are here.").waitFor();
  await page.getByRole("button", { name: "Switch on" }).click();
  await page.getByText("On: a pack is bought when few credits are left.").waitFor();
  await page.getByRole("button", { name: "Switch off" }).click();
  await page.getByText("Buys a pack when few credits are left").waitFor();
  await somebody.context.close();
});
