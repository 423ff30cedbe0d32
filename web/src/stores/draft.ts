// What is being made: kept in this browser, so that a closed tab loses nothing. Never leaves it but as a job.
"use client";

import { create } from "zustand";
import { createJSONStorage, persist } from "zustand/middleware";

import { styled } from "@/components/features/create/styles";
import type { JobRequest, ResolvedRequest } from "@/lib/api/client";

/** Prompts remembered for the arrow keys. */
const HISTORY_MAX = 50;

/** Fields of a request the form passes on as they are. */
const PASSED_ON = ["loras", "controls", "init", "hires", "clipSkip", "guidanceRescale", "noise", "format"] as const;
export type Extra = Partial<Pick<JobRequest, (typeof PASSED_ON)[number]>>;

/** The picture to start from. */
export type Start = NonNullable<Extra["init"]>;

export interface Draft {
  prompt: string;
  negativePrompt: string;
  /** Empty: the first model there is. */
  model: string;
  /** Null: the model's own. */
  width: number | null;
  height: number | null;
  steps: number | null;
  guidanceScale: number | null;
  sampler: ResolvedRequest["sampler"] | null;
  images: number;
  /** Null: another each time. */
  seed: number | null;
  embedParameters: boolean;
  /** By name; absent in drafts that were kept before there were any. */
  style?: string | null;
  /** What came with settings of a picture and has no field of its own here. */
  extra: Extra;
}

export const FRESH: Draft = {
  prompt: "",
  negativePrompt: "",
  model: "",
  width: null,
  height: null,
  steps: null,
  guidanceScale: null,
  sampler: null,
  images: 1,
  seed: null,
  embedParameters: true,
  style: null,
  extra: {},
};

interface DraftStore {
  draft: Draft;
  history: string[];
  /** When a job that lacked credits was set aside until they are bought; null: none is. */
  waitingSince: number | null;
  change: (part: Partial<Draft>) => void;
  /** Names the picture to start from; null: none. */
  start: (init: Start | null) => void;
  remember: (prompt: string) => void;
  wait: (since: number | null) => void;
}

export const useDraft = create<DraftStore>()(
  persist(
    (set) => ({
      draft: FRESH,
      history: [],
      waitingSince: null,
      change: (part) => set(({ draft }) => ({ draft: { ...draft, ...part } })),
      start: (init) =>
        set(({ draft }) => {
          const { init: _before, ...extra } = draft.extra;
          return { draft: { ...draft, extra: init ? { ...extra, init } : extra } };
        }),
      remember: (prompt) =>
        set(({ history }) => ({ history: [prompt, ...history.filter((one) => one !== prompt)].slice(0, HISTORY_MAX) })),
      wait: (waitingSince) => set({ waitingSince }),
    }),
    { name: "tintype.draft", version: 1, storage: createJSONStorage(() => localStorage), skipHydration: true },
  ),
);

/** The request of a draft: what the model decides is left out. */
export function requestOf(draft: Draft, model: string): JobRequest {
  const { width, height, steps, guidanceScale, sampler, images, seed, embedParameters } = draft;
  const [prompt, negativePrompt] = styled(draft.style, draft.prompt.trim(), draft.negativePrompt.trim());
  return {
    ...draft.extra,
    model,
    prompt,
    ...(negativePrompt && { negativePrompt }),
    ...(width !== null && { width }),
    ...(height !== null && { height }),
    ...(steps !== null && { steps }),
    ...(guidanceScale !== null && { guidanceScale }),
    ...(sampler !== null && { sampler }),
    ...(seed !== null && { seed }),
    ...(!embedParameters && { embedParameters }),
    images,
  };
}

/** The same of a request that may leave things to the model. */
export function draftOfSettings(settings: JobRequest, seed: number | null): Draft {
  const { prompt, negativePrompt, model, width, height, steps, guidanceScale, sampler, embedParameters } = settings;
  return {
    prompt,
    negativePrompt: negativePrompt ?? "",
    model,
    width: width ?? null,
    height: height ?? null,
    steps: steps ?? null,
    guidanceScale: guidanceScale ?? null,
    sampler: sampler ?? null,
    embedParameters: embedParameters ?? true,
    images: 1,
    seed,
    // Its words are in the prompt.
    style: null,
    extra: extraOf(settings),
  };
}

/** The draft that makes this picture again; without its seed, others like it. */
export function draftOf(request: ResolvedRequest, seed: number | null): Draft {
  const { prompt, negativePrompt, model, width, height, steps, guidanceScale, sampler, embedParameters } = request;
  return {
    prompt,
    negativePrompt,
    model,
    width,
    height,
    steps,
    guidanceScale,
    sampler,
    embedParameters,
    images: seed === null ? request.images : 1,
    seed,
    // Its words are in the prompt.
    style: null,
    extra: extraOf(request),
  };
}

/** What a request says beyond the form, defaults left out. */
function extraOf(request: JobRequest | ResolvedRequest): Extra {
  const said = PASSED_ON.filter((name) => {
    const value = request[name];
    return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null && value !== DEFAULTS[name];
  });
  return Object.fromEntries(said.map((name) => [name, request[name]]));
}

/** What the API takes where nothing is said. */
const DEFAULTS: Record<string, unknown> = { clipSkip: 0, guidanceRescale: 0, noise: "cpu", format: "png" };
