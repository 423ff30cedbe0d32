// A model's name with a line about it, and whether it is in some worker's memory now.
"use client";

import { Flame, Snowflake } from "lucide-react";

import { Badge } from "@/components/ui/badge";
import type { ModelCard } from "@/lib/api/client";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

export function Name({ card, whole = false }: { card: ModelCard; whole?: boolean }) {
  return (
    <span translate="no" className="grid min-w-0 flex-1 gap-0.5">
      <span className="truncate text-sm font-medium">{card.name}</span>
      <span className={cn("text-xs text-muted-foreground", !whole && "truncate")}>
        {card.description || card.family}
      </span>
    </span>
  );
}

export function Warmth({ warm }: { warm: boolean }) {
  const t = useT();
  const Icon = warm ? Flame : Snowflake;
  return (
    <Badge look={warm ? "warm" : "plain"} title={t(warm ? "create.model.warm.hint" : "create.model.cold.hint")}>
      <Icon aria-hidden className="size-3" />
      {t(warm ? "create.model.warm" : "create.model.cold")}
    </Badge>
  );
}
