// On or off: a checkbox that says it is a switch.
import type { ComponentProps } from "react";

import { cn } from "@/lib/cn";

interface SwitchProps extends Omit<ComponentProps<"input">, "onChange" | "type"> {
  onCheckedChange: (on: boolean) => void;
}

export function Switch({ className, onCheckedChange, ...rest }: SwitchProps) {
  return (
    <input
      type="checkbox"
      role="switch"
      onChange={(event) => onCheckedChange(event.target.checked)}
      className={cn(
        "relative h-6 w-10 shrink-0 cursor-pointer appearance-none rounded-full bg-input transition-colors checked:bg-primary",
        "before:absolute before:top-0.5 before:left-0.5 before:size-5 before:rounded-full before:bg-card before:transition-transform checked:before:translate-x-4",
        className,
      )}
      {...rest}
    />
  );
}
