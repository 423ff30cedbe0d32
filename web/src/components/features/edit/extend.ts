// A picture with room around it: how large it becomes, where the old one lies in it, and what of it is to be drawn. Pure but
// for `extended` and `maskAround`.
import { draw, type Painting } from "@/components/features/edit/strokes";
import { MASK_WIDTH } from "@/components/features/edit/canvas";
import { LIMITS } from "@/lib/api/limits.gen";
import type { Size } from "@/lib/shape";

/** Pixels added at each side. */
export interface Sides {
  top: number;
  right: number;
  bottom: number;
  left: number;
}

export const NO_SIDES: Sides = { top: 0, right: 0, bottom: 0, left: 0 };

export const withSides = ({ width, height }: Size, { top, right, bottom, left }: Sides): Size => ({
  width: width + left + right,
  height: height + top + bottom,
});

export const isExtended = ({ top, right, bottom, left }: Sides): boolean => top + right + bottom + left > 0;

/** Whether the API takes a picture of this size. */
export const isTaken = (size: Size): boolean =>
  (["width", "height"] as const).every((name) => {
    const { min, max, multipleOf } = LIMITS[name];
    return size[name] >= min && size[name] <= max && size[name] % multipleOf === 0;
  });

export const PRESETS = ["around", "wider", "taller", "square"] as const;
export type Preset = (typeof PRESETS)[number];

/** The share of a side that is added by a preset. */
const MORE = 0.5;

/** What a preset adds: always a size the API takes, and nothing where there is no more room. */
export function sidesOf(preset: Preset, { width, height }: Size): Sides {
  const longest = Math.max(width, height);
  const wide = preset === "square" ? longest : preset === "taller" ? width : width * (1 + MORE);
  const high = preset === "square" ? longest : preset === "wider" ? height : height * (1 + MORE);
  const [left, right] = halves(missing(width, wide, "width"));
  const [top, bottom] = halves(missing(height, high, "height"));
  return { top, right, bottom, left };
}

/** What is added to a side so that it is at least `wanted`, in the API's steps, and not above its most. */
function missing(side: number, wanted: number, name: "width" | "height"): number {
  const { max, multipleOf } = LIMITS[name];
  const stepped = Math.ceil(wanted / multipleOf) * multipleOf;
  return Math.max(0, Math.min(stepped, max - (max % multipleOf)) - side);
}

const halves = (pixels: number): [number, number] => [Math.floor(pixels / 2), Math.ceil(pixels / 2)];

export interface Extended extends Size {
  sides: Sides;
  file: Blob;
  /** Where the page shows it from. */
  src: string;
}

/** The picture with room around it, which is filled with its own blurred colours: what is drawn there begins from them. */
export async function extended(picture: Blob, sides: Sides): Promise<Extended> {
  const bitmap = await createImageBitmap(picture);
  const size = withSides(bitmap, sides);
  const [canvas, context] = blank(size);
  context.filter = `blur(${Math.round(Math.max(size.width, size.height) / 16)}px)`;
  context.drawImage(bitmap, 0, 0, size.width, size.height);
  context.filter = "none";
  context.drawImage(bitmap, sides.left, sides.top);
  bitmap.close();
  const file = await new Promise<Blob>((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the picture could not be made larger")))),
  );
  return { ...size, sides, file, src: URL.createObjectURL(file) };
}

/** The mask of an extended picture: all that is new, and of the old what was painted before. */
export function maskAround(painting: Painting, old: Size, sides: Sides): HTMLCanvasElement {
  const size = withSides(old, sides);
  const scale = MASK_WIDTH / size.width;
  const [inner, within] = blank({ width: MASK_WIDTH, height: Math.round((MASK_WIDTH * old.height) / old.width) });
  draw(within, painting, "clear");
  const [canvas, context] = blank({ width: MASK_WIDTH, height: Math.round(scale * size.height) });
  const box = [scale * sides.left, scale * sides.top, scale * old.width, scale * old.height] as const;
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.clearRect(...box);
  context.drawImage(inner, ...box);
  return canvas;
}

function blank({ width, height }: Size): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser cannot draw");
  return [canvas, context];
}
