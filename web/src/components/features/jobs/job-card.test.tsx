// The card of a job that failed.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";

import type { Job } from "@/lib/api/client";

import { JobCard } from "./job-card";

const FAILED = {
  id: "0190a1b2-c3d4-7fff-8000-000000000001",
  state: "Failed",
  failure: "OutOfMemory",
  message: "the GPU is full",
  priceMillis: 8000,
  attempt: 1,
  step: 0,
  steps: 20,
  outputs: [],
  cancelled: false,
  createdMs: 1,
  request: {
    model: "m",
    prompt: "a red circle",
    negativePrompt: "",
    width: 64,
    height: 64,
    steps: 20,
    guidanceScale: 3,
    sampler: "euler",
    seed: 7,
    images: 4,
    embedParameters: true,
    clipSkip: 0,
    guidanceRescale: 0,
    noise: "cpu",
    format: "png",
  },
} as unknown as Job;

const show = () =>
  render(
    <QueryClientProvider client={new QueryClient()}>
      <JobCard job={FAILED} />
    </QueryClientProvider>,
  );

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test("it says what came back and why, and leads to the line in the book", () => {
  show();
  expect(screen.getByText(/It failed. 8 credits returned./)).toBeTruthy();
  expect(screen.getByText("the GPU is full")).toBeTruthy();
  expect(screen.getByRole("link", { name: "See the book" }).getAttribute("href")).toMatch(/^\/credits/);
});

test("what a report needs is copied: the job's number and the reason", async () => {
  const user = userEvent.setup();
  show();
  await user.click(screen.getByRole("button", { name: "Copy for a report" }));
  expect(await navigator.clipboard.readText()).toBe(`${FAILED.id}: the GPU is full`);
});

test("trying again asks for the same pictures, seed and all", async () => {
  const asked = vi.fn(async (_request: Request) => Response.json({ ...FAILED, id: "next" }, { status: 202 }));
  vi.stubGlobal("fetch", asked);
  const user = userEvent.setup();
  show();
  await user.click(screen.getByRole("button", { name: "Try again" }));
  await vi.waitFor(() => expect(asked).toHaveBeenCalled());
  const request = asked.mock.calls[0]?.[0] as Request;
  expect(await request.json()).toMatchObject({ model: "m", prompt: "a red circle", seed: 7, images: 4, steps: 20 });
  expect(request.headers.get("idempotency-key")).toBeTruthy();
});
