// A menu that drops from a button. Its parts are fetched when the first one opens; until then the button is just that.
"use client";

import type { LucideIcon } from "lucide-react";
import { cloneElement, type ComponentProps, lazy, type ReactElement, Suspense, useState } from "react";

export interface MenuItem {
  label: string;
  icon?: LucideIcon;
  danger?: boolean;
  run: () => void;
}

interface MenuProps {
  trigger: ReactElement<ComponentProps<"button">>;
  items: readonly MenuItem[];
}

const Parts = lazy(() => import("@/components/ui/menu-parts"));

export function Menu({ trigger, items }: MenuProps) {
  const [asked, setAsked] = useState(false);
  const button = cloneElement(trigger, { "aria-haspopup": "menu", onClick: () => setAsked(true) });
  if (!asked) return button;
  return (
    <Suspense fallback={button}>
      <Parts trigger={trigger} items={items} />
    </Suspense>
  );
}
