// What a screen shows while it has nothing to show: loading, empty, broken.
import { CircleAlert } from "lucide-react";
import type { ReactNode } from "react";

import { cn } from "@/lib/cn";

export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={cn("animate-shimmer rounded-md bg-muted", className)} />;
}

interface StateProps {
  title: string;
  children?: ReactNode;
  icon?: ReactNode;
  actions?: ReactNode;
  className?: string;
  /** Whether it is all there is on the page. */
  alone?: boolean;
}

export function Empty({ alone = false, title, children, icon, actions, className }: StateProps) {
  const Heading = alone ? "h1" : "h2";
  return (
    <div
      className={cn("grid place-items-center gap-3 rounded-lg border border-dashed px-6 py-14 text-center", className)}
    >
      {icon && (
        <div className="grid size-12 place-items-center rounded-full bg-muted text-muted-foreground">{icon}</div>
      )}
      <Heading className="text-base font-semibold">{title}</Heading>
      {children && <div className="max-w-md text-sm text-muted-foreground">{children}</div>}
      {actions && <div className="mt-2 flex flex-wrap justify-center gap-2">{actions}</div>}
    </div>
  );
}

/** Something went wrong, in words that say what to do. */
export function Notice({ title, children, actions, className }: StateProps) {
  return (
    <div
      role="alert"
      className={cn("flex gap-3 rounded-md border border-destructive/50 bg-card p-4 text-sm", className)}
    >
      <CircleAlert aria-hidden className="mt-0.5 size-4 shrink-0 text-destructive" />
      <div className="grid gap-1">
        <p className="font-medium">{title}</p>
        {children && <div className="text-muted-foreground">{children}</div>}
        {actions && <div className="mt-2 flex flex-wrap gap-2">{actions}</div>}
      </div>
    </div>
  );
}

/** A part of a screen has nothing yet. As high as the skeleton that stands in its place before, so that nothing moves. */
export function NoneYet({ children }: { children: ReactNode }) {
  return (
    <p className="grid h-24 place-items-center rounded-md border border-dashed px-4 text-center text-sm text-muted-foreground">
      {children}
    </p>
  );
}
