// What people do before anything else.
import { randomUUID } from "node:crypto";

import type { Visitor } from "./browser";

export const PASSWORD = "a tin plate and a lamp";

/** Makes an account through the page; its address. */
export async function signUp({ page }: Visitor): Promise<string> {
  const email = `${randomUUID()}@example.org`;
  await page.goto("/welcome/");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.waitForURL((url) => url.pathname === "/");
  return email;
}

/** Comes back through the page. */
export async function signIn({ page }: Visitor, email: string, password: string): Promise<void> {
  await page.goto("/login/");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => url.pathname === "/");
}

/** Makes pictures through the page, and waits for them. */
export async function makePicture({ page }: Visitor, prompt: string, count: 1 | 2 | 4): Promise<void> {
  await page.goto("/");
  // What the browser kept of the form is in it before there is a price.
  await page.getByTestId("price").waitFor();
  const before = await page.locator("[data-stand=complete]").count();
  await page.getByLabel("Prompt", { exact: true }).fill(prompt);
  await page.getByRole("radio", { name: String(count), exact: true }).check();
  await page.getByRole("button", { name: "Generate" }).click();
  await page
    .locator("[data-job]", { hasText: prompt })
    .first()
    .locator("img:not([data-preview])")
    .nth(count - 1)
    .waitFor();
  await page.locator("[data-stand=complete]").nth(before).waitFor();
}
