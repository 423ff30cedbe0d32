// What a menu is made of; `ui/menu` fetches it when one opens.
"use client";

import * as Radix from "@radix-ui/react-dropdown-menu";
import type { ReactElement } from "react";

import type { MenuItem } from "@/components/ui/menu";
import { cn } from "@/lib/cn";

interface MenuPartsProps {
  trigger: ReactElement;
  items: readonly MenuItem[];
}

export default function MenuParts({ trigger, items }: MenuPartsProps) {
  return (
    <Radix.Root modal={false} defaultOpen>
      <Radix.Trigger asChild>{trigger}</Radix.Trigger>
      {/* In a landmark, where who reads by landmarks finds it. */}
      <Radix.Portal container={document.getElementById("content")}>
        <Radix.Content
          align="end"
          sideOffset={6}
          collisionPadding={8}
          className="z-50 min-w-48 animate-appear rounded-md border bg-card p-1 text-sm shadow-raised"
        >
          {items.map(({ label, icon: Icon, danger, run }) => (
            <Radix.Item
              key={label}
              onSelect={run}
              className={cn(
                "flex cursor-pointer items-center gap-2.5 rounded-sm px-2.5 py-2 outline-none data-highlighted:bg-muted",
                danger && "text-destructive",
              )}
            >
              {Icon && <Icon aria-hidden className="size-4" />}
              {label}
            </Radix.Item>
          ))}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
