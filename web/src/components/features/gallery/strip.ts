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
    /** What an older strip had, seen where nothing newer has come, and still to be asked for. */
    private readonly old: ReadonlyMap<number, T>,
  ) {}

  static of<T extends Named>(
    days: readonly Day[],
    items: ReadonlyMap<number, T> = new Map(),
    old: ReadonlyMap<number, T> = new Map(),
  ): Strip<T> {
    let next = 0;
    const starts = days.map(({ images }) => {
      const start = next;
      next += images;
      return start;
    });
    return new Strip(days, starts, items, old);
  }

  get length(): number {
    const last = this.days.length - 1;
    return last < 0 ? 0 : (this.starts[last] ?? 0) + (this.days[last]?.images ?? 0);
  }

  at(index: number): T | undefined {
    return this.items.get(index) ?? this.old.get(index);
  }

  find(id: string): number {
    for (const items of [this.items, this.old]) for (const [index, item] of items) if (item.id === id) return index;
    return -1;
  }

  /** The same that shows the pictures of `before` on every day that has as many as it had, until newer ones come. */
  over(before: Strip<T> | null): Strip<T> {
    if (!before) return this;
    const old = new Map<number, T>();
    const now = new Map(this.days.map((day, n) => [day.fromMs, n]));
    for (const [index, item] of [...before.old, ...before.items]) {
      const then = before.dayOf(index);
      const day = now.get(before.days[then]?.fromMs ?? -1);
      if (day === undefined || this.days[day]?.images !== before.days[then]?.images) continue;
      old.set(this.startOf(day) + index - before.startOf(then), item);
    }
    return new Strip(this.days, this.starts, this.items, old);
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
    return new Strip(this.days, this.starts, items, this.old);
  }

  /** The same with some pictures changed. */
  changed(ids: ReadonlySet<string>, change: (item: T) => T): Strip<T> {
    const next = (items: ReadonlyMap<number, T>) =>
      new Map([...items].map(([index, item]) => [index, ids.has(item.id) ? change(item) : item]));
    return new Strip(this.days, this.starts, next(this.items), next(this.old));
  }

  /** The same without some pictures: those after them move up. */
  without(ids: ReadonlySet<string>): Strip<T> {
    // What is new says where a picture is, if it has it.
    const places = new Map<string, number>();
    for (const [index, { id }] of [...this.old, ...this.items]) if (ids.has(id)) places.set(id, index);
    const gone = [...new Set(places.values())].sort((a, b) => a - b);
    if (gone.length === 0) return this;
    const fewer = new Map<number, number>();
    gone.forEach((index) => fewer.set(this.dayOf(index), (fewer.get(this.dayOf(index)) ?? 0) + 1));
    const days = this.days
      .map((day, n) => ({ ...day, images: day.images - (fewer.get(n) ?? 0) }))
      .filter(({ images }) => images > 0);
    const moved = (from: ReadonlyMap<number, T>) => {
      const items = new Map<number, T>();
      for (const [index, item] of from) {
        let before = 0;
        while (before < gone.length && (gone[before] ?? 0) < index) before++;
        if (ids.has(item.id) || gone[before] === index) continue;
        items.set(index - before, item);
      }
      return items;
    };
    return Strip.of(days, moved(this.items), moved(this.old));
  }
}
