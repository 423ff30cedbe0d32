// The head of a screen: its name, a line about it, what can be done.
import type { ReactNode } from "react";

interface PageHeadProps {
  title: string;
  words?: ReactNode;
  children?: ReactNode;
}

export function PageHead({ title, words, children }: PageHeadProps) {
  return (
    <div className="mb-6 flex flex-wrap items-end justify-between gap-x-6 gap-y-3">
      <div className="grid gap-1">
        <h1 className="text-2xl font-semibold tracking-tight">{title}</h1>
        {words && <div className="max-w-2xl text-sm text-muted-foreground">{words}</div>}
      </div>
      {children && <div className="flex flex-wrap items-center gap-2">{children}</div>}
    </div>
  );
}
