// Buttons, and links that look like them (`asChild`).
import { Slot } from "@radix-ui/react-slot";
import { cva, type VariantProps } from "class-variance-authority";
import type { ComponentProps } from "react";

import { cn } from "@/lib/cn";

const button = cva(
  "inline-flex shrink-0 select-none items-center justify-center gap-2 rounded-md text-sm font-medium whitespace-nowrap transition-colors disabled:opacity-55 disabled:cursor-not-allowed aria-disabled:opacity-55 [&_svg]:size-4 [&_svg]:shrink-0",
  {
    variants: {
      look: {
        primary: "bg-primary text-primary-foreground hover:bg-primary/90",
        secondary: "bg-muted text-foreground hover:bg-accent hover:text-accent-foreground",
        outline: "border bg-card hover:bg-muted",
        ghost: "text-muted-foreground hover:bg-muted hover:text-foreground",
        danger: "bg-destructive text-destructive-foreground hover:bg-destructive/90",
        link: "h-auto! p-0! text-foreground underline underline-offset-4 hover:text-primary",
      },
      size: {
        small: "h-8 px-3 text-[13px]",
        normal: "h-10 px-4",
        large: "h-12 px-6 text-base",
        icon: "size-9",
      },
    },
    defaultVariants: { look: "primary", size: "normal" },
  },
);

export interface ButtonProps extends ComponentProps<"button">, VariantProps<typeof button> {
  asChild?: boolean;
}

export function Button({ className, look, size, asChild = false, type = "button", ...rest }: ButtonProps) {
  const classes = cn(button({ look, size }), className);
  return asChild ? <Slot className={classes} {...rest} /> : <button type={type} className={classes} {...rest} />;
}
