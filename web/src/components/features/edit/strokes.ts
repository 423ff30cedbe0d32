// What was painted, as strokes: undone and redone one by one, drawn at any size. Pure but for `draw`.

export interface Point {
  x: number;
  y: number;
}

/** Places and sizes are shares of the picture's width, so that a stroke is the same at every size. */
export interface Stroke {
  kind: "brush" | "eraser";
  width: number;
  points: readonly Point[];
}

export interface Painting {
  strokes: readonly Stroke[];
  /** Undone, the last one first in line to come back. */
  undone: readonly Stroke[];
  inverted: boolean;
  /** A mask that was loaded, white where it is to be redrawn and clear elsewhere: what strokes are painted over. */
  base: CanvasImageSource | null;
}

export const BLANK: Painting = { strokes: [], undone: [], inverted: false, base: null };

/** Strokes remembered: beyond, the oldest can no longer be undone, and are no longer there. */
const STROKES_MAX = 1_000;

export const begin = (painting: Painting, stroke: Stroke): Painting => ({
  ...painting,
  strokes: [...painting.strokes, stroke].slice(-STROKES_MAX),
  undone: [],
});

/** The stroke under way goes on. */
export function extend(painting: Painting, point: Point): Painting {
  const last = painting.strokes.at(-1);
  if (!last) return painting;
  return { ...painting, strokes: [...painting.strokes.slice(0, -1), { ...last, points: [...last.points, point] }] };
}

export function undo(painting: Painting): Painting {
  const last = painting.strokes.at(-1);
  return last ? { ...painting, strokes: painting.strokes.slice(0, -1), undone: [...painting.undone, last] } : painting;
}

export function redo(painting: Painting): Painting {
  const last = painting.undone.at(-1);
  return last ? { ...painting, strokes: [...painting.strokes, last], undone: painting.undone.slice(0, -1) } : painting;
}

/** Whether anything would be redrawn in part: an empty mask means all of it. */
export const isBlank = ({ strokes, inverted, base }: Painting) => strokes.length === 0 && !inverted && !base;

/** Paints white where it is to be redrawn. What was there is gone; the ground is clear, or black where `ground` says so. */
export function draw(context: CanvasRenderingContext2D, painting: Painting, ground: "clear" | "black"): void {
  const { width, height } = context.canvas;
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, width, height);
  if (painting.base) context.drawImage(painting.base, 0, 0, width, height);
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const { kind, width: share, points } of painting.strokes) {
    context.globalCompositeOperation = kind === "brush" ? "source-over" : "destination-out";
    context.strokeStyle = "white";
    context.lineWidth = share * width;
    context.beginPath();
    points.forEach(({ x, y }, n) => context[n === 0 ? "moveTo" : "lineTo"](x * width, y * width));
    context.stroke();
    // A dab is a line of no length, and lines of no length are not drawn.
    const [first] = points;
    if (first && points.length === 1) {
      context.fillStyle = "white";
      context.beginPath();
      context.arc(first.x * width, first.y * width, (share * width) / 2, 0, 2 * Math.PI);
      context.fill();
    }
  }
  if (painting.inverted) {
    context.globalCompositeOperation = "xor";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
  }
  if (ground === "black") {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "black";
    context.fillRect(0, 0, width, height);
  }
  context.globalCompositeOperation = "source-over";
}
