// Change part of a picture: paint what is to be redrawn, say what should be there.
"use client";

import "@/lib/i18n/desk";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ImageUp, Sparkles } from "lucide-react";
import { type SyntheticEvent, useEffect, useRef, useState } from "react";

import { PriceLine } from "@/components/features/create/price-line";
import { Refused } from "@/components/features/create/refused";
import { Canvas } from "@/components/features/edit/canvas";
import { type Extended, extended, maskAround, NO_SIDES, type Sides } from "@/components/features/edit/extend";
import { ExtendPanel } from "@/components/features/edit/extend-panel";
import { type Change, loadedMask, maskOf, quotedFor, requestFor, type Subject } from "@/components/features/edit/send";
import { BLANK, isBlank, type Painting } from "@/components/features/edit/strokes";
import { Tools } from "@/components/features/edit/tools";
import { JobCard } from "@/components/features/jobs/job-card";
import { SignedIn } from "@/components/features/signed-in";
import { Button } from "@/components/ui/button";
import { Field, Textarea } from "@/components/ui/field";
import { Link } from "@/components/ui/link";
import { PageHead } from "@/components/ui/page-head";
import { Segmented } from "@/components/ui/segmented";
import { Slider } from "@/components/ui/slider";
import { Empty, Skeleton } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { Unread } from "@/components/ui/unread";
import { fileOf, type Picture, usePicture } from "@/lib/api/gallery";
import { useJobs, useMakeJob, useRestingQuote } from "@/lib/api/queries";
import { randomId } from "@/lib/browser";
import { useT } from "@/lib/i18n";
import { useQueryState } from "@/lib/use-query-state";

const COUNTS = [1, 2, 4].map((value) => ({ value, label: String(value) }));
/** How much is redrawn unless somebody says: enough for something else to be there. */
const STRENGTH = 0.8;
const BRUSH = 0.14;

export function Edit() {
  const t = useT();
  const [params] = useQueryState();
  const id = params.get("id");
  return (
    <SignedIn>
      {() => (
        <>
          <PageHead title={t("edit.title")} words={t("edit.words")} />
          {id ? <Opened key={id} id={id} /> : <Nothing />}
        </>
      )}
    </SignedIn>
  );
}

function Nothing() {
  const t = useT();
  return (
    <Empty
      icon={<ImageUp aria-hidden />}
      title={t("edit.none")}
      actions={
        <Button asChild>
          <Link href="/gallery/">{t("nav.gallery")}</Link>
        </Button>
      }
    />
  );
}

function Opened({ id }: { id: string }) {
  const picture = usePicture(id);
  if (picture.error) return <Unread of={picture} />;
  if (!picture.data) return <Skeleton className="h-[60vh] rounded-lg" />;
  return <Editor picture={picture.data} />;
}

function Editor({ picture }: { picture: Picture }) {
  const t = useT();
  const [painting, setPainting] = useState<Painting>(BLANK);
  const [room, setRoom] = useState<Room | null>(null);
  const { width, height, src } = room ?? { ...picture, src: fileOf(picture) };
  const subject: Subject = { picture, width, height, ...(room && { file: room.file }) };
  const fresh = room?.painting ?? BLANK;
  const [kind, setKind] = useState<"brush" | "eraser">("brush");
  const [size, setSize] = useState(BRUSH);
  const [zoom, setZoom] = useState(1);
  const [change, setChange] = useState<Change>({
    prompt: picture.prompt,
    strength: STRENGTH,
    images: 1,
    feather: 0.01,
  });
  const set = (part: Partial<Change>) => setChange((now) => ({ ...now, ...part }));
  const [made, setMade] = useState<string[]>([]);
  const make = useRedraw((job) => setMade((all) => [job, ...all]));
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => () => URL.revokeObjectURL(room?.src ?? ""), [room]);
  const extend = async (sides: Sides) => {
    if (sides === NO_SIDES) {
      setRoom(null);
      setPainting(BLANK);
      return;
    }
    const larger = await extended(await (await fetch(fileOf(picture))).blob(), sides);
    // What was painted on the picture alone stays painted.
    const base = maskAround(room ? BLANK : painting, picture, sides);
    const around = { ...BLANK, base };
    setRoom({ ...larger, painting: around });
    setPainting(around);
    // Nothing of what fills the room for now is to stay.
    set({ strength: 1 });
  };
  const load = async (file: File) => {
    const base = await loadedMask(file, subject);
    if (base) setPainting({ ...BLANK, base });
    else say({ text: t("edit.loadMask.failed") });
  };
  const quote = useRestingQuote(quotedFor(subject, change));
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (!make.isPending && change.prompt.trim() !== "")
      make.mutate({ subject, painting, change, tariff: quote.data?.tariff });
  };
  return (
    <div className="grid items-start gap-6 lg:grid-cols-[minmax(0,1fr)_22rem]">
      <div
        ref={frame}
        className="grid gap-3 [&:fullscreen]:grid-rows-[auto_minmax(0,1fr)_auto] [&:fullscreen]:bg-background [&:fullscreen]:p-4"
      >
        <Tools
          {...{ painting, setPainting, fresh, kind, setKind, zoom, setZoom }}
          room={frame}
          save={() => void save(maskOf(painting, subject, change.feather))}
          load={load}
        />
        <Canvas
          alt={picture.prompt}
          // Another picture, another place of the brush.
          key={src}
          {...{ src, width, height, painting, kind, size, zoom }}
          onZoom={setZoom}
          onPaint={setPainting}
        />
        <label className="grid grid-cols-[auto_1fr] items-center gap-4 text-sm font-medium">
          {t("edit.size")}
          <Slider
            label={t("edit.size")}
            value={Math.round(size * 100)}
            min={2}
            max={50}
            onChange={(now) => setSize(now / 100)}
          />
        </label>
      </div>
      <form
        onSubmit={submit}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
        }}
        className="grid gap-5"
      >
        <Field label={t("create.prompt")} hint={t(isBlank(painting) ? "edit.all" : "edit.part")}>
          {(ids) => (
            <Textarea
              {...ids}
              className="field-sizing-content max-h-48 min-h-20"
              value={change.prompt}
              maxLength={4000}
              onChange={(event) => set({ prompt: event.target.value })}
            />
          )}
        </Field>
        <ExtendPanel
          size={picture}
          sides={room?.sides ?? NO_SIDES}
          onExtend={(sides) => void extend(sides).catch((error: Error) => say({ text: error.message }))}
        />
        <Percent
          label={t("edit.strength")}
          hint={t("edit.strength.hint")}
          value={change.strength}
          onChange={(strength) => set({ strength })}
        />
        <Percent
          label={t("edit.feather")}
          hint={t("edit.feather.hint")}
          value={change.feather * 10}
          onChange={(feather) => set({ feather: feather / 10 })}
        />
        <div className="grid gap-1.5">
          <p className="text-sm font-medium">{t("create.images")}</p>
          <Segmented
            label={t("create.images")}
            value={change.images}
            choices={COUNTS}
            onChange={(images) => set({ images })}
          />
        </div>
        <Refused failure={make.error} quote={quote.data} images={change.images} onFewer={(images) => set({ images })} />
        <PriceLine quote={quote} signedIn />
        <Button
          type="submit"
          size="large"
          disabled={make.isPending || change.prompt.trim() === ""}
          title={t("create.generate.keys")}
        >
          <Sparkles aria-hidden /> {t("create.generate")}
        </Button>
        <Made ids={made} />
      </form>
    </div>
  );
}

/** The picture with room around it, and what is painted there to begin with. */
type Room = Extended & { painting: Painting };

interface PercentProps {
  label: string;
  hint: string;
  value: number;
  onChange: (value: number) => void;
}

function Percent({ label, hint, value, onChange }: PercentProps) {
  return (
    <div className="grid gap-1">
      <div className="flex items-baseline justify-between text-sm">
        <p className="font-medium">{label}</p>
        <p className="tabular-nums">{Math.round(value * 100)} %</p>
      </div>
      <Slider label={label} value={Math.round(value * 100)} min={0} max={100} onChange={(now) => onChange(now / 100)} />
      <p className="text-xs text-muted-foreground">{hint}</p>
    </div>
  );
}

/** What came of it here, newest first. */
function Made({ ids }: { ids: readonly string[] }) {
  const jobs = useJobs(ids.length > 0).data?.pages.flatMap(({ data }) => data) ?? [];
  return ids.map((id) => {
    const job = jobs.find((one) => one.id === id);
    return job && <JobCard key={id} job={job} />;
  });
}

function useRedraw(done: (job: string) => void) {
  const client = useQueryClient();
  const make = useMakeJob();
  return useMutation({
    mutationFn: async (asked: { subject: Subject; painting: Painting; change: Change; tariff: string | undefined }) => {
      const request = await requestFor(asked.subject, asked.painting, asked.change);
      return make.mutateAsync({ request, key: randomId(), tariff: asked.tariff });
    },
    onSuccess: ({ id }) => {
      done(id);
      void client.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
}

async function save(mask: Promise<Blob>): Promise<void> {
  const url = URL.createObjectURL(await mask);
  Object.assign(document.createElement("a"), { href: url, download: "tintype-mask.png" }).click();
  URL.revokeObjectURL(url);
}
