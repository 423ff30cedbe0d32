// Screens that wait for the server, and screens it fails: each is looked at like any other state. The network is cut or held
// between the page and the real API; nothing is answered in its place.
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const visit = withBrowser();
const SCREENS = ["/", "/gallery/", "/collections/", "/credits/", "/developers/", "/account/", "/status/"];
/** Who is signed in: known also where the rest does not come. */
const KNOWN = /\/api\/v1\/me$/;
const nameOf = (path: string) => (path === "/" ? "create" : path.replaceAll("/", ""));

test("while the server has not answered, every screen is whole and says that it waits", async () => {
  const somebody = await visit({ outages: true });
  const { context, page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  // Held for as long as the page is there.
  await context.route(/\/api\/v1\//, (route) => (KNOWN.test(route.request().url()) ? route.continue() : undefined));
  for (const path of SCREENS) {
    await page.goto(path);
    await page.locator("main .animate-shimmer").first().waitFor();
    expect(await page.locator("main h1").count(), path).toBe(1);
    await inspect(somebody, `waiting-${nameOf(path)}`);
  }
  await context.close();
});

test("what could not be read is asked for again where somebody wants it", async () => {
  const somebody = await visit({ outages: true });
  const { context, page } = somebody;
  await signUp(somebody);
  const PLANS = /\/api\/v1\/plans$/;
  await context.route(PLANS, (route) => route.abort());
  await page.goto("/credits/");
  const shop = page.getByRole("region", { name: "Get credits" });
  await shop.getByText("What can be bought cannot be read now").waitFor();
  await context.unroute(PLANS);
  await shop.getByRole("button", { name: "Try again" }).click();
  await shop.getByText("100 credits").first().waitFor();
  await context.close();
});

test("where the server cannot be reached, every screen says so", async () => {
  const somebody = await visit({ outages: true });
  const { context, page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await context.route(/\/api\/v1\//, (route) => (KNOWN.test(route.request().url()) ? route.continue() : route.abort()));
  for (const path of SCREENS) {
    await page.goto(path);
    await page.locator("main [role=alert]").first().waitFor();
    const left = page.locator("main [role=alert]").filter({ hasNot: page.getByRole("button", { name: "Try again" }) });
    // The page of the service's state asks again by itself.
    if (path !== "/status/") expect(await left.allInnerTexts(), `${path}: no way to ask again`).toEqual([]);
    await inspect(somebody, `failed-${nameOf(path)}`);
  }
  await context.close();
});
