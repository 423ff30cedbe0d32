// What one paints with: brush and eraser, back and forth, the mask as a file, and the whole screen.
"use client";

import {
  Brush,
  Contrast,
  Eraser,
  FolderOpen,
  Maximize,
  Redo2,
  Save,
  Trash2,
  Undo2,
  ZoomIn,
  ZoomOut,
} from "lucide-react";
import { type Dispatch, type RefObject, type SetStateAction, useRef, useSyncExternalStore } from "react";

import { isBlank, type Painting, redo, undo } from "@/components/features/edit/strokes";
import { Button } from "@/components/ui/button";
import { Segmented } from "@/components/ui/segmented";
import { useT } from "@/lib/i18n";

interface ToolsProps {
  painting: Painting;
  setPainting: Dispatch<SetStateAction<Painting>>;
  /** What starting over leads to. */
  fresh: Painting;
  kind: "brush" | "eraser";
  setKind: (kind: "brush" | "eraser") => void;
  zoom: number;
  setZoom: (zoom: number) => void;
  /** What fills the screen. */
  room: RefObject<HTMLElement | null>;
  save: () => void;
  load: (file: File) => void;
}

export function Tools({ painting, setPainting, fresh, kind, setKind, zoom, setZoom, room, save, load }: ToolsProps) {
  const t = useT();
  const file = useRef<HTMLInputElement>(null);
  const whole = useWholeScreen(room);
  const invert = () => setPainting((now) => ({ ...now, inverted: !now.inverted }));
  return (
    <div role="toolbar" aria-label={t("edit.tools")} className="flex flex-wrap items-center gap-1.5">
      <Segmented
        label={t("edit.tool")}
        value={kind}
        onChange={setKind}
        choices={[
          { value: "brush", name: t("edit.brush"), label: <Brush aria-hidden className="size-4" /> },
          { value: "eraser", name: t("edit.eraser"), label: <Eraser aria-hidden className="size-4" /> },
        ]}
      />
      <Tool label={t("ui.undo")} icon={Undo2} off={painting.strokes.length === 0} run={() => setPainting(undo)} />
      <Tool label={t("edit.redo")} icon={Redo2} off={painting.undone.length === 0} run={() => setPainting(redo)} />
      <Tool label={t("edit.invert")} icon={Contrast} run={invert} />
      <Tool
        label={t("edit.clear")}
        icon={Trash2}
        off={isBlank(painting) || painting === fresh}
        run={() => setPainting(fresh)}
      />
      <Tool label={t("edit.zoomOut")} icon={ZoomOut} off={zoom <= 1} run={() => setZoom(Math.max(1, zoom / 1.5))} />
      <Tool label={t("edit.zoomIn")} icon={ZoomIn} off={zoom >= 8} run={() => setZoom(Math.min(8, zoom * 1.5))} />
      <Tool label={t("edit.saveMask")} icon={Save} off={isBlank(painting)} run={save} />
      <Tool label={t("edit.loadMask")} icon={FolderOpen} run={() => file.current?.click()} />
      <input
        ref={file}
        type="file"
        accept="image/*"
        hidden
        aria-label={t("edit.loadMask")}
        onChange={(event) => {
          const [chosen] = event.target.files ?? [];
          // The same file may be chosen again.
          event.target.value = "";
          if (chosen) load(chosen);
        }}
      />
      {whole.can && <Tool label={t("edit.wholeScreen")} icon={Maximize} pressed={whole.is} run={whole.toggle} />}
    </div>
  );
}

function subscribe(listener: () => void): () => void {
  document.addEventListener("fullscreenchange", listener);
  return () => document.removeEventListener("fullscreenchange", listener);
}

/** The screen for this alone, where the browser lets pages have it. */
function useWholeScreen(room: RefObject<HTMLElement | null>) {
  const is = useSyncExternalStore(
    subscribe,
    () => document.fullscreenElement !== null,
    () => false,
  );
  const can = useSyncExternalStore(
    subscribe,
    () => document.fullscreenEnabled,
    () => false,
  );
  const toggle = () =>
    void (is ? document.exitFullscreen() : room.current?.requestFullscreen())?.catch(() => undefined);
  return { is, can, toggle };
}

interface ToolProps {
  label: string;
  icon: typeof Brush;
  off?: boolean;
  pressed?: boolean;
  run: () => void;
}

function Tool({ label, icon: Icon, off = false, pressed, run }: ToolProps) {
  return (
    <Button
      look="outline"
      size="icon"
      aria-label={label}
      aria-pressed={pressed}
      title={label}
      disabled={off}
      onClick={run}
    >
      <Icon aria-hidden />
    </Button>
  );
}
