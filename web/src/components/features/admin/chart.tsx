// A small chart: bars on top of each other or lines, with the same figures as a table for who would rather read them.
"use client";

import { Table } from "@/components/ui/table";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

const LOOKS = {
  main: { fill: "fill-primary", stroke: "stroke-primary", swatch: "bg-primary" },
  bad: { fill: "fill-destructive", stroke: "stroke-destructive", swatch: "bg-destructive" },
  quiet: { fill: "fill-muted-foreground", stroke: "stroke-muted-foreground", swatch: "bg-muted-foreground" },
} as const;

export interface Series {
  name: string;
  look: keyof typeof LOOKS;
  /** One a point; null where there is nothing to tell. */
  values: readonly (number | null)[];
}

interface ChartProps {
  title: string;
  kind: "bars" | "lines";
  series: readonly Series[];
  /** When each point was, in words. */
  moments: readonly string[];
  say: (value: number) => string;
  /** What the top stands for; without it, the highest there is. */
  top?: number;
}

/** The drawing's own measure; it is stretched to the room there is. */
const WIDTH = 240;
const HEIGHT = 80;
const GAP = 1.5;

/** The highest a point goes: bars stand on each other, lines do not. */
export function highest(series: readonly Series[], kind: ChartProps["kind"]): number {
  const points = series[0]?.values.map((_, n) => series.map(({ values }) => values[n] ?? 0)) ?? [];
  const heights = points.map((point) =>
    kind === "bars" ? point.reduce((sum, value) => sum + value, 0) : Math.max(...point),
  );
  return Math.max(0, ...heights);
}

export function Chart({ title, kind, series, moments, say, top }: ChartProps) {
  const t = useT();
  const most = highest(series, kind);
  const scale = top ?? most;
  const last = highest(
    series.map((one) => ({ ...one, values: one.values.slice(-1) })),
    kind,
  );
  return (
    <figure data-chart className="grid min-w-0 grid-cols-1 content-start gap-2 rounded-md border p-4">
      <figcaption className="flex items-start justify-between gap-3 text-sm font-medium">
        {title}
        <span translate="no" className="font-normal whitespace-nowrap text-muted-foreground tabular-nums">
          {say(scale)}
        </span>
      </figcaption>
      <svg
        role="img"
        aria-label={t("charts.summary", { title, last: say(last), most: say(most) })}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="h-20 w-full border-y forced-color-adjust-none"
      >
        {kind === "bars" ? <Bars series={series} scale={scale} /> : <Lines series={series} scale={scale} />}
      </svg>
      <p translate="no" className="flex justify-between gap-3 text-xs text-muted-foreground tabular-nums">
        <span>{moments[0]}</span>
        <span className="text-right">{moments.length > 1 && moments.at(-1)}</span>
      </p>
      {series.length > 1 && (
        <ul className="flex flex-wrap gap-x-4 gap-y-1 text-xs text-muted-foreground">
          {series.map(({ name, look }) => (
            <li key={name} className="flex items-center gap-1.5">
              <span aria-hidden className={cn("size-2.5 rounded-sm", LOOKS[look].swatch)} /> {name}
            </li>
          ))}
        </ul>
      )}
      <details className="min-w-0 text-xs">
        <summary className="cursor-pointer text-muted-foreground">{t("charts.table")}</summary>
        <div className="mt-2 max-h-64 overflow-y-auto px-5">
          <Table label={title} heads={[t("charts.when"), ...series.map(({ name }) => name)]}>
            {moments.map((moment, n) => (
              <tr key={`${moment} ${n}`} translate="no" className="tabular-nums">
                <td className="whitespace-nowrap">{moment}</td>
                {series.map(({ name, values }) => {
                  const value = values[n];
                  return <td key={name}>{value === null || value === undefined ? "–" : say(value)}</td>;
                })}
              </tr>
            ))}
          </Table>
        </div>
      </details>
    </figure>
  );
}

interface DrawnProps {
  series: readonly Series[];
  scale: number;
}

function Bars({ series, scale }: DrawnProps) {
  const count = series[0]?.values.length ?? 0;
  const width = WIDTH / Math.max(1, count);
  const feet = new Array<number>(count).fill(0);
  return series.map(({ name, look, values }) =>
    values.map((value, n) => {
      if (!value || scale <= 0) return null;
      const height = (HEIGHT * value) / scale;
      const foot = (feet[n] ?? 0) + height;
      feet[n] = foot;
      return (
        <rect
          key={`${name} ${n}`}
          x={n * width + GAP / 2}
          y={HEIGHT - foot}
          width={Math.max(1, width - GAP)}
          height={height}
          className={LOOKS[look].fill}
        />
      );
    }),
  );
}

function Lines({ series, scale }: DrawnProps) {
  return series.map(({ name, look, values }) => {
    const step = WIDTH / Math.max(1, values.length - 1);
    const points = values.map(
      (value, n) => `${n * step},${HEIGHT - (scale > 0 ? (HEIGHT * (value ?? 0)) / scale : 0)}`,
    );
    return (
      <polyline
        key={name}
        points={points.join(" ")}
        fill="none"
        strokeWidth="2"
        vectorEffect="non-scaling-stroke"
        className={LOOKS[look].stroke}
      />
    );
  });
}
