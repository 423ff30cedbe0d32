// New pictures from one that is there: others near it, and the same one larger. Each is a job like any other; its price is
// what a quote of it says, and where it stands is seen on Create.
"use client";

import { say } from "@/components/ui/toast";
import type { JobRequest } from "@/lib/api/client";
import { fileOf, type Picture } from "@/lib/api/gallery";
import { LIMITS } from "@/lib/api/limits.gen";
import { useMakeJob } from "@/lib/api/queries";
import { randomId } from "@/lib/browser";
import { useRouter } from "@/lib/navigation";
import { draftOfSettings } from "@/stores/draft";

/** How far from the picture: the share of it that is drawn anew. */
export const DISTANCES = [
  { label: "vary.near", strength: 0.35 },
  { label: "vary.some", strength: 0.55 },
  { label: "vary.far", strength: 0.8 },
] as const;

/** Variations made at a time. */
const VARIATIONS = 4;
/** How much of the enlarged picture is drawn anew: its edges become sharp, what it shows stays. */
const SHARPEN = 0.35;

/** The request for the same picture twice as large; null where that is more than the API takes. */
export function largerOf({
  width,
  height,
  settings,
}: Pick<Picture, "width" | "height" | "settings">): JobRequest | null {
  const [wide, high] = [2 * width, 2 * height];
  if (wide > LIMITS.width.max || high > LIMITS.height.max) return null;
  return { ...settings, images: 1, hires: { width: wide, height: high, strength: SHARPEN } };
}

export function useAgain(picture: Picture) {
  const router = useRouter();
  const make = useMakeJob();
  const send = (request: JobRequest) =>
    make.mutate(
      { request, key: randomId() },
      { onSuccess: () => router.push("/"), onError: (error) => say({ text: error.message }) },
    );
  const larger = largerOf(picture);
  const vary = async (strength: number) => {
    const { requestFor } = await import("@/components/features/edit/send");
    const { BLANK } = await import("@/components/features/edit/strokes");
    const change = { prompt: picture.prompt, strength, images: VARIATIONS, feather: 0 };
    send(await requestFor({ picture, width: picture.width, height: picture.height }, BLANK, change));
  };
  const start = async () => {
    const { takeStart } = await import("@/components/features/create/take-start");
    const file = await (await fetch(fileOf(picture))).blob();
    const { init: _before, ...extra } = draftOfSettings(picture.settings, null).extra;
    const base = Math.sqrt(picture.width * picture.height);
    await takeStart(file, { base, with: { ...draftOfSettings(picture.settings, null), extra } });
    router.push("/");
  };
  const failed = (error: Error) => say({ text: error.message });
  return {
    busy: make.isPending,
    start: () => void start().catch(failed),
    vary: (strength: number) => void vary(strength).catch(failed),
    upscale: larger && (() => send(larger)),
  };
}
