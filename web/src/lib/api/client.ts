// The client of our own API. Its types are generated from openapi.json; nothing about the API is written by hand here.
import createClient from "openapi-fetch";

import type * as schema from "./schema.gen";

export type Job = schema.JobView;
export type JobPage = schema.JobPage;
export type JobEvent = schema.JobEvent;
export type JobRequest = schema.GenerationRequest;
export type ResolvedRequest = schema.ResolvedRequest;
export type ModelCard = schema.ModelCard;
export type Sampler = schema.Sampler;
export type Quote = schema.Quote;
export type Credits = schema.Credits;
export type Me = schema.Me;
export type ErrorCode = schema.ErrorCode;

const base = typeof window === "undefined" ? "http://localhost" : window.location.origin;

export const api = createClient<schema.paths>({
  baseUrl: base,
  credentials: "same-origin",
  // In a task of its own: a screen that opens asks several things at once, and each takes as long as drawing a part of it does.
  // Looked up at each call, so that tests can put their own in its place.
  fetch: async (request) => {
    await new Promise((next) => setTimeout(next));
    return globalThis.fetch(request);
  },
});

/** The API refused, or could not be asked (`code` is `offline` then). */
export class ApiFailure extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: ErrorCode | "offline",
    readonly param: string | null = null,
  ) {
    super(message);
    this.name = "ApiFailure";
  }

  /** Whether the same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer; throws an {@link ApiFailure} for everything else. */
export async function unwrap<T>(asking: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asking;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiFailure("the server cannot be reached", 0, "offline");
  }
  if (answer.response.ok) return answer.data as T;
  throw failureOf(answer.response.status, answer.error);
}

export function failureOf(status: number, body: unknown): ApiFailure {
  const detail = (body as schema.ErrorBody | undefined)?.error;
  if (detail?.message) return new ApiFailure(detail.message, status, detail.code, detail.param ?? null);
  return new ApiFailure(`the server answered ${status}`, status, status >= 500 ? "unavailable" : "internal");
}
