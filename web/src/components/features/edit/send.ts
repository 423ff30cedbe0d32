// Sends a painted picture to be redrawn: the picture and its mask as uploads, then the job that names them.
import { draw, isBlank, type Painting } from "@/components/features/edit/strokes";
import { MASK_WIDTH } from "@/components/features/edit/canvas";
import { upload } from "@/lib/api/assets";
import type { JobRequest } from "@/lib/api/client";
import { fileOf, type Picture } from "@/lib/api/gallery";
import type { Size } from "@/lib/shape";

/** What is changed: a picture as it is, or with room around it. */
export interface Subject extends Size {
  picture: Picture;
  /** The file, where it is not the picture's own. */
  file?: Blob;
}

export interface Change {
  prompt: string;
  strength: number;
  images: number;
  /** Softness of the mask's edge, in shares of its width. */
  feather: number;
}

/** The mask as a PNG: white is redrawn. */
export function maskOf(painting: Painting, { width, height }: Size, feather: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = MASK_WIDTH;
  canvas.height = Math.round((MASK_WIDTH * height) / width);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser cannot draw");
  draw(context, painting, "black");
  if (feather > 0) {
    context.filter = `blur(${Math.round(feather * MASK_WIDTH)}px)`;
    context.drawImage(canvas, 0, 0);
  }
  return new Promise((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the mask could not be made"))), "image/png"),
  );
}

/** A saved mask, as it is painted over: white is redrawn, and what is darker the less. Null for what is no picture. */
export async function loadedMask(file: Blob, { width, height }: Size): Promise<HTMLCanvasElement | null> {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const canvas = document.createElement("canvas");
  canvas.width = MASK_WIDTH;
  canvas.height = Math.round((MASK_WIDTH * height) / width);
  const context = canvas.getContext("2d");
  if (!bitmap || !context) return null;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    // The mask is grey; a clear pixel is not painted.
    data[at + 3] = ((data[at] ?? 0) * (data[at + 3] ?? 0)) / 255;
    data.fill(255, at, at + 3);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

const keyOf = async (file: Blob) => (await upload(file)).key;

/** In the place of an upload, where it does not matter which. */
const ANY_INPUT = "inputs/any";

/** What its price is asked of: it depends on neither the pictures nor the prompt. */
export const quotedFor = (subject: Subject, change: Change): JobRequest =>
  redrawn(subject, { ...change, prompt: "" }, { image: ANY_INPUT });

/** The request that redraws it: everything as it was made, but for what is to be different. */
export async function requestFor(subject: Subject, painting: Painting, change: Change): Promise<JobRequest> {
  const file = subject.file ?? (await (await fetch(fileOf(subject.picture))).blob());
  const [image, mask] = await Promise.all([
    keyOf(file),
    isBlank(painting) ? undefined : maskOf(painting, subject, change.feather).then(keyOf),
  ]);
  return redrawn(subject, change, { image, ...(mask && { mask }) });
}

function redrawn(
  { picture, width, height }: Subject,
  { prompt, images, strength }: Change,
  inputs: { image: string; mask?: string },
): JobRequest {
  const { seed: _seed, hires: _hires, init: _init, ...settings } = picture.settings;
  return { ...settings, width, height, prompt, images, init: { ...inputs, strength } };
}
