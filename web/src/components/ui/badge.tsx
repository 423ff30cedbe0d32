// A word or two in a pill.
import { cva, type VariantProps } from "class-variance-authority";
import type { ComponentProps } from "react";

import { cn } from "@/lib/cn";

const badge = cva("inline-flex items-center gap-1.5 rounded-full px-2 py-0.5 text-xs font-medium whitespace-nowrap", {
  variants: {
    look: {
      plain: "bg-muted text-muted-foreground",
      warm: "bg-accent text-accent-foreground",
      good: "bg-muted text-success",
      bad: "bg-muted text-destructive",
    },
  },
  defaultVariants: { look: "plain" },
});

export function Badge({ className, look, ...rest }: ComponentProps<"span"> & VariantProps<typeof badge>) {
  return <span className={cn(badge({ look }), className)} {...rest} />;
}
