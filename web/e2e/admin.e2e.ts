// The administrator: the map of the GPUs with what runs and why the rest waits, people, credits given, what was done.
import { afterAll, beforeAll, expect, test } from "vitest";

import { bareWords, inspect, withBrowser } from "./support/browser";
import { Gpus } from "./support/gpus";
import { signUp } from "./support/people";
import { Stack } from "./support/stack";

/** A link that is not followed. */
const GRAFANA = "https://grafana.example/at";

const visit = withBrowser();
let gpus: Gpus;
let stack: Stack;
beforeAll(async () => {
  gpus = new Gpus();
  stack = await Stack.start({ env: { TINTYPE_GRAFANA_URL: GRAFANA, TINTYPE_NVML_LIB: gpus.library } });
});
afterAll(async () => {
  await stack.stop();
  gpus.forget();
});

/** Asks in the administrator's name. */
async function asAdmin(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const answer = await fetch(`${stack.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.adminToken}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  expect(answer.ok, `${method} ${path}: ${answer.status}`).toBe(true);
  return (await answer.json()) as Record<string, unknown>;
}

const personOf = async (email: string) => {
  const { data } = await asAdmin("GET", `/api/v1/admin/people?email=${encodeURIComponent(email)}`);
  return (data as { id: string; account: string }[])[0]!;
};

test("the administrator sees what runs and why the rest waits, gives credits, shuts people out, and all of it is in the log", async () => {
  const guest = await visit({ url: stack.url });
  const guestEmail = await signUp(guest);
  await guest.page.goto("/admin/");
  await guest.page.getByRole("heading", { name: "This is for administrators" }).waitFor();
  await inspect(guest, "admin-refused");

  const boss = await visit({ url: stack.url });
  const { page } = boss;
  const bossEmail = await signUp(boss);
  await asAdmin("PATCH", `/api/v1/admin/people/${(await personOf(bossEmail)).id}`, { admin: true });
  await page.reload();
  await page.getByRole("button", { name: "Your account" }).click();
  await page.getByRole("menuitem", { name: "Admin" }).click();
  await page.waitForURL(/\/admin\/$/);
  await page.locator("[data-worker='local-0']").getByRole("meter", { name: "Memory in use" }).waitFor();

  // The guest's jobs: one runs, the others wait for it. They take minutes, so that none ends while they are looked at.
  const { account } = await personOf(guestEmail);
  await asAdmin("POST", `/api/v1/accounts/${account}/grants`, { amountMillis: 1_000_000, reference: "large pictures" });
  await guest.page.goto("/");
  await guest.page.locator("summary", { hasText: "Advanced" }).click();
  await guest.page.getByRole("slider", { name: "Steps" }).fill("150");
  await guest.page.getByRole("slider", { name: "Size" }).fill("256");
  await guest.page.getByRole("radio", { name: "8", exact: true }).check();
  for (let n = 1; n <= 3; n++) {
    await guest.page.getByLabel("Prompt", { exact: true }).fill(`a secret red circle, number ${n}`);
    await guest.page.getByRole("button", { name: "Generate" }).click();
    await guest.page.locator("[data-job]", { hasText: `number ${n}` }).waitFor();
  }
  await page.locator("[data-verdict=running]").waitFor();
  await page
    .getByText(/^(Next in its queue; every worker that fits is busy|\d+ jobs? of its queue goe?s? first)$/)
    .first()
    .waitFor();
  await page
    .locator("[data-worker]")
    .getByText(/^Step [\d,]+ of 1,200$/)
    .first()
    .waitFor();
  // What its GPU says of itself, as it says it.
  await page.locator("[data-worker]").getByText("0 % · 41 °C · 65 W").waitFor();
  gpus.read({ utilisation: 87, temperature: 68 });
  await page.locator("[data-worker]").getByText("87 % · 68 °C · 65 W").waitFor();
  expect(await page.locator("main").innerText(), "prompts are nobody else's").not.toContain("secret");
  await inspect(boss, "admin-cluster");

  await page.getByRole("radio", { name: "Over time" }).check();
  await page.getByRole("img", { name: /^Jobs at this moment: \d+ last, \d+ at most$/ }).waitFor();
  await page.getByRole("img", { name: "How busy GPUs are: 87 % last, 87 % at most" }).waitFor();
  gpus.read({ utilisation: 35, temperature: 60 });
  await page.getByRole("img", { name: "How busy GPUs are: 35 % last, 87 % at most" }).waitFor();
  // The guest cancels one: it is told among those that ended.
  await guest.page.locator("[data-stand=queued]").first().getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("radio", { name: "30 days" }).check();
  const ended = page.locator("[data-chart]", {
    has: page.getByRole("img", { name: /^Jobs that ended: [1-3] last, [1-3] at most$/ }),
  });
  await ended.waitFor();
  await ended.getByText("As a table").click();
  await ended.getByRole("columnheader", { name: "Cancelled" }).waitFor();
  expect(await ended.locator("tbody tr").count()).toBe(30);
  expect(await ended.locator("tbody tr").last().locator("td").last().innerText()).toBe("1");
  const overview = page.getByRole("link", { name: "Overview" });
  expect(await overview.getAttribute("href")).toBe(`${GRAFANA}/d/tintype-overview`);
  await inspect(boss, "admin-charts");
  await page.evaluate(() => localStorage.setItem("tintype.locale", "pseudo"));
  await page.reload();
  await page.locator("[data-chart] tbody tr").nth(24).waitFor({ state: "attached" });
  expect(await bareWords(page)).toEqual([]);
  await page.evaluate(() => localStorage.removeItem("tintype.locale"));
  await page.reload();

  await page.getByRole("radio", { name: "People" }).check();
  await page.getByRole("searchbox", { name: "Find an e-mail address" }).fill(guestEmail);
  await page.keyboard.press("Enter");
  const line = page.locator("[data-person]");
  await line.getByText(guestEmail).waitFor();
  await line.getByRole("button", { name: /^What can be done/ }).click();
  await page.getByRole("menuitem", { name: "Give credits" }).click();
  await page.getByRole("textbox", { name: "Credits" }).fill("2.5");
  await page.getByRole("textbox", { name: "What for" }).fill("flow");
  await inspect(boss, "admin-give");
  await page.getByRole("button", { name: "Give", exact: true }).click();
  await page.getByText("2.5 credits given").waitFor();
  await guest.page.goto("/credits/");
  await guest.page.locator("[data-line=grant]").getByText("+2.5").waitFor();

  await line.getByRole("button", { name: /^What can be done/ }).click();
  await page.getByRole("menuitem", { name: "Shut out" }).click();
  await line.getByText("Shut out").waitFor();
  await inspect(boss, "admin-people");
  await guest.page.goto("/gallery/");
  await guest.page.getByText("This is behind your account").waitFor();

  await page.getByRole("radio", { name: "Models" }).check();
  await page.locator("[data-model='tintype/shapes']").waitFor();
  await inspect(boss, "admin-models");
  await page.getByRole("radio", { name: "Background" }).check();
  await page.getByText("Nothing was given up.").waitFor();
  await inspect(boss, "admin-lanes");
  await page.getByRole("radio", { name: "Audit log" }).check();
  await page.locator("[data-deed='person.suspend']").waitFor();
  await inspect(boss, "admin-audit");
  expect(boss.faults).toEqual([]);
  await guest.context.close();
  await boss.context.close();
});
