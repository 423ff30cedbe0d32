// Later classes win over earlier ones of their kind, and only over those.
import { expect, test } from "vitest";

import { cn } from "./cn";

test.each([
  ["h-10 px-4", "h-auto", "px-4 h-auto"],
  ["px-3 py-2", "p-0", "p-0"],
  ["w-full h-10", "w-auto", "h-10 w-auto"],
  ["px-3", "pr-8", "px-3 pr-8"],
  ["size-9", "h-4", "size-9 h-4"],
  ["text-sm text-foreground", "text-destructive", "text-sm text-destructive"],
  ["text-sm text-foreground", "text-[13px]", "text-foreground text-[13px]"],
  ["border border-dashed", "border-none", "border border-none"],
  ["hover:bg-muted bg-card", "bg-primary", "hover:bg-muted bg-primary"],
  ["md:opacity-0", "md:opacity-100", "md:opacity-100"],
  ["rounded-md", "rounded-lg", "rounded-lg"],
])("%s and %s are %s", (base, over, joined) => {
  expect(cn(base, over)).toBe(joined);
});
