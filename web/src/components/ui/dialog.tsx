// A dialog over the page: in the middle on a desk, from below on a phone. Its parts are fetched when the first one opens.
"use client";

import { lazy, Suspense } from "react";

import type { DialogProps } from "@/components/ui/dialog-parts";

const Parts = lazy(() => import("@/components/ui/dialog-parts"));

export function Dialog(props: DialogProps) {
  if (!props.open) return null;
  return (
    <Suspense fallback={null}>
      <Parts {...props} />
    </Suspense>
  );
}
