// The shape that is pressed is the shape of the draft, wherever its size came from.
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, expect, test } from "vitest";

import type { Size } from "@/lib/shape";

import { ShapePicker } from "./shape-picker";

afterEach(cleanup);

function Picker({ first }: { first: Size }) {
  const [size, setSize] = useState(first);
  return <ShapePicker card={undefined} {...size} onChange={setSize} />;
}

const pressed = () =>
  screen.queryByRole<HTMLInputElement>("radio", { checked: true })?.getAttribute("aria-label") ?? null;
const upright = () => screen.getByRole("button").getAttribute("aria-pressed") === "true";
const size = () => screen.getByTestId("size").textContent;

test("a draft's size has its ratio pressed, lying or standing", () => {
  render(<Picker first={{ width: 704, height: 384 }} />);
  expect([pressed(), upright()]).toEqual(["16:9", false]);
  cleanup();
  render(<Picker first={{ width: 384, height: 704 }} />);
  expect([pressed(), upright()]).toEqual(["16:9", true]);
});

test("a size of no ratio that is offered has none pressed, and can be turned and chosen anew", async () => {
  const user = userEvent.setup();
  render(<Picker first={{ width: 1024, height: 192 }} />);
  expect(pressed()).toBe(null);
  await user.click(screen.getByRole("button"));
  expect([size(), upright()]).toEqual(["192 × 1024", true]);
  await user.click(screen.getByRole("radio", { name: "3:2" }));
  expect([pressed(), upright()]).toEqual(["3:2", true]);
});

test("a square lies or stands as it was pressed, and the next ratio with it", async () => {
  const user = userEvent.setup();
  render(<Picker first={{ width: 512, height: 512 }} />);
  expect([pressed(), upright()]).toEqual(["1:1", false]);
  await user.click(screen.getByRole("button"));
  expect([size(), upright()]).toEqual(["512 × 512", true]);
  await user.click(screen.getByRole("radio", { name: "16:9" }));
  expect([size(), pressed()]).toEqual(["384 × 704", "16:9"]);
});
