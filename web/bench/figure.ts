// Figures as every benchmark here prints them: one JSON line each.

export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** What is good: at most or at least this much. */
  goal: number;
  better: "less" | "more";
}

/** Prints a figure; whether it meets its goal. */
export function print({ name, value, unit, goal, better }: Figure): boolean {
  const ok = better === "less" ? value <= goal : value >= goal;
  const rounded = Math.round(value * 1000) / 1000;
  const line = { name, value: rounded, unit, anchor: goal, ratio: Math.round((1000 * value) / goal) / 1000, goal, ok };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  return ok;
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
