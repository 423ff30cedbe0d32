// Search and filters. All of it is in the address.
"use client";

import { Search, Star, X } from "lucide-react";
import { useEffect, useState } from "react";

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

export function Toolbar({ filter }: { filter: Filter }) {
  const t = useT();
  const [, change] = useQueryState();
  const models = useModels(true);
  const collections = useCollections(true);
  const checkpoints = models.data?.data.filter(({ kind }) => kind === undefined || kind === "checkpoint") ?? [];
  const narrowed = Object.keys(filter).length > 0;
  return (
    <div role="search" className="mb-5 flex flex-wrap items-center gap-2">
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
      {narrowed && (
        <Button look="ghost" onClick={() => change({ q: null, starred: null, model: null, collection: null })}>
          <X aria-hidden /> {t("gallery.clear")}
        </Button>
      )}
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
