// Search and filters. All of it is in the address.
"use client";

import { Search, SlidersHorizontal, Star, X } from "lucide-react";
import { useEffect, useState } from "react";

import { MoreFilters } from "@/components/features/gallery/more-filters";
import { Button } from "@/components/ui/button";
import { Input, Select } from "@/components/ui/field";
import type { Filter } from "@/lib/api/gallery";
import { useCollections } from "@/lib/api/gallery";
import { useModels } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";
import { useDebounced } from "@/lib/use-debounced";
import { useQueryState } from "@/lib/use-query-state";

/** How long typing rests before it is searched for. */
const SEARCH_AFTER_MS = 250;

/** Every filter, off. */
const NOTHING = {
  q: null,
  starred: null,
  model: null,
  collection: null,
  seed: null,
  ratio: null,
  from: null,
  to: null,
} as const;

export function Toolbar({ filter }: { filter: Filter }) {
  const t = useT();
  const [params, change] = useQueryState();
  const [more, setMore] = useState(false);
  const models = useModels(true);
  const collections = useCollections(true);
  const checkpoints = models.data?.data.filter(({ kind }) => kind === undefined || kind === "checkpoint") ?? [];
  const narrowed = Object.keys(NOTHING).some((name) => params.has(name));
  const open = more || ["seed", "ratio", "from", "to"].some((name) => params.has(name));
  return (
    <div role="search" className="mb-5 grid gap-2">
      <div className="flex flex-wrap items-center gap-2">
        <SearchBox q={filter.q ?? ""} onSearch={(q) => change({ q })} />
        <Button
          look={filter.starred ? "primary" : "outline"}
          aria-pressed={Boolean(filter.starred)}
          onClick={() => change({ starred: filter.starred ? null : "1" })}
        >
          <Star aria-hidden /> {t("gallery.starred")}
        </Button>
        <Select
          aria-label={t("create.model")}
          className="w-auto"
          value={filter.model ?? ""}
          onChange={(event) => change({ model: event.target.value })}
        >
          <option value="">{t("gallery.allModels")}</option>
          {checkpoints.map(({ name }) => (
            <option key={name} translate="no">
              {name}
            </option>
          ))}
        </Select>
        {collections.data && collections.data.length > 0 && (
          <Select
            aria-label={t("nav.collections")}
            className="w-auto max-w-56"
            value={filter.collection ?? ""}
            onChange={(event) => change({ collection: event.target.value })}
          >
            <option value="">{t("gallery.allCollections")}</option>
            {collections.data.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </Select>
        )}
        <Button look="outline" aria-expanded={open} aria-controls="more-filters" onClick={() => setMore(!open)}>
          <SlidersHorizontal aria-hidden /> {t("gallery.filters")}
        </Button>
        {narrowed && (
          <Button look="ghost" onClick={() => change(NOTHING)}>
            <X aria-hidden /> {t("gallery.clear")}
          </Button>
        )}
      </div>
      <div id="more-filters" hidden={!open}>
        {open && <MoreFilters />}
      </div>
    </div>
  );
}

function SearchBox({ q, onSearch }: { q: string; onSearch: (q: string) => void }) {
  const t = useT();
  const [text, setText] = useState(q);
  const [given, setGiven] = useState(q);
  // Cleared from elsewhere, or gone back to.
  if (given !== q) {
    setGiven(q);
    if (q !== text.trim()) setText(q);
  }
  const rested = useDebounced(text, SEARCH_AFTER_MS);
  useEffect(() => {
    if (rested === text && rested.trim() !== q) onSearch(rested.trim());
  }, [rested, text, q, onSearch]);
  return (
    <div className="relative min-w-52 flex-1 sm:max-w-sm">
      <Search aria-hidden className="absolute top-3 left-3 size-4 text-muted-foreground" />
      <Input
        type="search"
        aria-label={t("gallery.search")}
        placeholder={t("gallery.search")}
        maxLength={200}
        className="pl-9"
        value={text}
        onChange={(event) => setText(event.target.value)}
        data-shortcut="search"
      />
    </div>
  );
}
