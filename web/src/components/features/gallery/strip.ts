// All pictures of a list in one row, of which only some are here. How many there are, and of which day, is known from the
// start, so that the scroll bar is true; pictures come in runs as they are looked at. Pure: nothing is asked for here.

export interface Day {
  fromMs: number;
  images: number;
}

/** A picture has an id, and that is all this needs to know. */
export interface Named {
  id: string;
}

/** What to ask for: the run after a picture that is here, or from a day on. */
export type Run = { start: number; after: string } | { start: number; before: number };

const DAY_MS = 86_400_000;

export class Strip<T extends Named> {
  private constructor(
    readonly days: readonly Day[],
    /** Index of the first picture of each day. */
    private readonly starts: readonly number[],
    private readonly items: ReadonlyMap<number, T>,
  ) {}

  static of<T extends Named>(days: readonly Day[], items: ReadonlyMap<number, T> = new Map()): Strip<T> {
    let next = 0;
    const starts = days.map(({ images }) => {
      const start = next;
      next += images;
      return start;
    });
    return new Strip(days, starts, items);
  }

  get length(): number {
    const last = this.days.length - 1;
    return last < 0 ? 0 : (this.starts[last] ?? 0) + (this.days[last]?.images ?? 0);
  }

  at(index: number): T | undefined {
    return this.items.get(index);
  }

  find(id: string): number {
    for (const [index, item] of this.items) if (item.id === id) return index;
    return -1;
  }

  /** Which of the days the picture at this index is of. */
  dayOf(index: number): number {
    let [low, high] = [0, this.days.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  startOf(day: number): number {
    return this.starts[day] ?? 0;
  }

  /** The run that brings the first picture missing from `from` to before `to`; null when all are here. */
  missing(from: number, to: number): Run | null {
    for (let index = Math.max(0, from); index < Math.min(to, this.length); index++) {
      if (this.items.has(index)) continue;
      // Back to the last one that is here, or to where its day begins.
      const day = this.dayOf(index);
      let start = index;
      while (start > this.startOf(day) && !this.items.has(start - 1)) start--;
      const before = start > 0 ? this.items.get(start - 1) : undefined;
      if (before) return { start, after: before.id };
      return { start, before: (this.days[day]?.fromMs ?? 0) + DAY_MS };
    }
    return null;
  }

  /** The same with a run of pictures put in their places. */
  filled(start: number, run: readonly T[]): Strip<T> {
    const items = new Map(this.items);
    run.forEach((item, n) => items.set(start + n, item));
    return new Strip(this.days, this.starts, items);
  }

  /** The same with some pictures changed. */
  changed(ids: ReadonlySet<string>, change: (item: T) => T): Strip<T> {
    const items = new Map([...this.items].map(([index, item]) => [index, ids.has(item.id) ? change(item) : item]));
    return new Strip(this.days, this.starts, items);
  }

  /** The same without some pictures: those after them move up. */
  without(ids: ReadonlySet<string>): Strip<T> {
    const gone = [...this.items]
      .filter(([, item]) => ids.has(item.id))
      .map(([index]) => index)
      .sort((a, b) => a - b);
    if (gone.length === 0) return this;
    const fewer = new Map<number, number>();
    gone.forEach((index) => fewer.set(this.dayOf(index), (fewer.get(this.dayOf(index)) ?? 0) + 1));
    const days = this.days
      .map((day, n) => ({ ...day, images: day.images - (fewer.get(n) ?? 0) }))
      .filter(({ images }) => images > 0);
    const items = new Map<number, T>();
    for (const [index, item] of this.items) {
      if (ids.has(item.id)) continue;
      let before = 0;
      while (before < gone.length && (gone[before] ?? 0) < index) before++;
      items.set(index - before, item);
    }
    return Strip.of(days, items);
  }
}
