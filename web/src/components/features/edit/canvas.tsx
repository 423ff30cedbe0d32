// The picture under a brush. One finger, pen or mouse paints; two fingers move and zoom; the wheel zooms where it points, the
// middle button, or Alt, moves; arrow keys move the brush, which the picture follows, and the space bar dabs. The page behind
// never moves: `touch-action` says so before the first event.
"use client";

import { type KeyboardEvent, type PointerEvent, useEffect, useLayoutEffect, useRef, useState } from "react";

import { begin, draw, extend, type Painting, type Point, undo } from "@/components/features/edit/strokes";
import { useT } from "@/lib/i18n";

/** Width of the mask in pixels: fine enough for any picture, and no finer than a phone can paint. */
export const MASK_WIDTH = 768;
const ZOOM_MAX = 8;
/** How far an arrow key moves the brush, in widths of the picture. */
const KEY_STEP = 0.02;
/** How near the edge a brush that is moved by keys may come before the picture follows, in pixels. */
const EDGE = 24;
/** The button below the wheel. */
const MIDDLE = 1;

const CENTRE: Point = { x: 0, y: 0 };

interface CanvasProps {
  src: string;
  alt: string;
  width: number;
  height: number;
  painting: Painting;
  kind: "brush" | "eraser";
  /** In widths of the picture. */
  size: number;
  zoom: number;
  onZoom: (zoom: number) => void;
  onPaint: (change: (painting: Painting) => Painting) => void;
}

export function Canvas(props: CanvasProps) {
  const { src, alt, width, height, painting, kind, size, zoom, onZoom, onPaint } = props;
  const t = useT();
  const frame = useRef<HTMLDivElement>(null);
  const mask = useRef<HTMLCanvasElement>(null);
  const fingers = useRef(new Map<number, Point>());
  const dragged = useRef<Point | null>(null);
  const [offset, setOffset] = useState<Point>(CENTRE);
  const moved = zoom > 1 ? offset : CENTRE;
  const [brush, setBrush] = useState<Point>({ x: 0.5, y: height / width / 2 });

  useLayoutEffect(() => {
    const context = mask.current?.getContext("2d");
    if (context) draw(context, painting, "clear");
  }, [painting]);

  // React's own listener is passive, and the page would scroll.
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const next = Math.min(ZOOM_MAX, Math.max(1, zoom * Math.exp(-event.deltaY / 400)));
      const box = element.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
      onZoom(next);
      setOffset({ x: x - ((x - moved.x) * next) / zoom, y: y - ((y - moved.y) * next) / zoom });
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [zoom, onZoom, moved.x, moved.y]);

  const placeOf = (event: PointerEvent): Point => {
    const box = mask.current?.getBoundingClientRect();
    if (!box) return { x: 0, y: 0 };
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.width };
  };
  const down = (event: PointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    if (event.button === MIDDLE || event.altKey) {
      event.preventDefault();
      dragged.current = { x: event.clientX, y: event.clientY };
      return;
    }
    fingers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
    // The second finger means moving: what the first began is taken back.
    if (fingers.current.size === 2) onPaint(undo);
    if (fingers.current.size > 1) return;
    const place = placeOf(event);
    onPaint((now) => begin(now, { kind, width: size, points: [place] }));
  };
  const move = (event: PointerEvent) => {
    const from = dragged.current;
    if (from) {
      dragged.current = { x: event.clientX, y: event.clientY };
      setOffset({ x: moved.x + event.clientX - from.x, y: moved.y + event.clientY - from.y });
      return;
    }
    const place = placeOf(event);
    setBrush(place);
    const before = fingers.current.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (fingers.current.size === 1) onPaint((painted) => extend(painted, place));
    if (fingers.current.size === 2) pinch(event.pointerId, before, now);
    fingers.current.set(event.pointerId, now);
  };
  const pinch = (id: number, before: Point, now: Point) => {
    const other = [...fingers.current].find(([finger]) => finger !== id)?.[1];
    if (!other) return;
    const [was, is] = [before, now].map(({ x, y }) => Math.hypot(x - other.x, y - other.y));
    if (was && is) onZoom(Math.min(ZOOM_MAX, Math.max(1, (zoom * is) / was)));
    setOffset(({ x, y }) => ({ x: x + (now.x - before.x) / 2, y: y + (now.y - before.y) / 2 }));
  };
  const up = (event: PointerEvent) => {
    dragged.current = null;
    fingers.current.delete(event.pointerId);
  };
  /** Moves the picture so far that a place of it is seen. */
  const show = (place: Point) => {
    const [seen, whole] = [frame.current, mask.current];
    if (!seen || !whole || zoom === 1) return;
    const over = (at: number, room: number) => Math.sign(at) * Math.max(0, Math.abs(at) - Math.max(0, room / 2 - EDGE));
    const x = (place.x - 0.5) * whole.offsetWidth * zoom + moved.x;
    const y = (place.y * whole.offsetWidth - whole.offsetHeight / 2) * zoom + moved.y;
    setOffset({ x: moved.x - over(x, seen.clientWidth), y: moved.y - over(y, seen.clientHeight) });
  };

  const press = (event: KeyboardEvent) => {
    const moves: Record<string, Point> = {
      ArrowLeft: { x: -KEY_STEP, y: 0 },
      ArrowRight: { x: KEY_STEP, y: 0 },
      ArrowUp: { x: 0, y: -KEY_STEP },
      ArrowDown: { x: 0, y: KEY_STEP },
    };
    const by = moves[event.key];
    if (!by && event.key !== " ") return;
    event.preventDefault();
    const place = {
      x: Math.min(1, Math.max(0, brush.x + (by?.x ?? 0))),
      y: Math.min(height / width, Math.max(0, brush.y + (by?.y ?? 0))),
    };
    setBrush(place);
    show(place);
    if (event.key === " ") onPaint((now) => begin(now, { kind, width: size, points: [place] }));
    else if (event.shiftKey) onPaint((now) => (now.strokes.length > 0 ? extend(now, place) : now));
  };

  return (
    <div
      ref={frame}
      role="application"
      aria-label={t("edit.canvas")}
      aria-describedby="edit-keys"
      tabIndex={0}
      onKeyDown={press}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={up}
      data-testid="canvas"
      className="relative grid h-[min(70vh,100vw)] cursor-crosshair touch-none place-items-center overflow-hidden rounded-lg border bg-muted select-none in-[:fullscreen]:h-full"
    >
      <p id="edit-keys" className="sr-only">
        {t("edit.canvas.keys")}
      </p>
      <div
        className="relative max-h-full max-w-full"
        style={{
          aspectRatio: `${width} / ${height}`,
          height: height >= width ? "100%" : undefined,
          width: width > height ? "100%" : undefined,
          transform: `translate(${moved.x}px, ${moved.y}px) scale(${zoom})`,
        }}
      >
        <img src={src} alt={alt} draggable={false} className="size-full" />
        <canvas
          ref={mask}
          width={MASK_WIDTH}
          height={Math.round((MASK_WIDTH * height) / width)}
          className="absolute inset-0 size-full opacity-55 mix-blend-screen dark:opacity-60"
        />
        <span
          aria-hidden
          className="pointer-events-none absolute rounded-full border-2 border-white mix-blend-difference"
          style={{
            width: `${100 * size}%`,
            aspectRatio: 1,
            left: `${100 * (brush.x - size / 2)}%`,
            top: `${(100 * (brush.y - size / 2) * width) / height}%`,
          }}
        />
      </div>
    </div>
  );
}
