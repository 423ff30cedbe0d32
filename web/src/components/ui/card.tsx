// A framed part of a screen with a name.
import { type ReactNode, useId } from "react";

import { cn } from "@/lib/cn";

interface CardProps {
  title: string;
  words?: string;
  aside?: ReactNode;
  className?: string;
  children: ReactNode;
}

export function Card({ title, words, aside, className, children }: CardProps) {
  const id = useId();
  return (
    <section aria-labelledby={id} className={cn("rounded-lg border bg-card shadow-raised", className)}>
      <div className="flex flex-wrap items-start justify-between gap-3 px-5 pt-4 pb-3">
        <div className="grid gap-0.5">
          <h2 id={id} className="text-base font-semibold tracking-tight">
            {title}
          </h2>
          {words && <p className="text-sm text-muted-foreground">{words}</p>}
        </div>
        {aside}
      </div>
      <div className="px-5 pb-5">{children}</div>
    </section>
  );
}
