// A link inside the studio. What it leads to is fetched once somebody is about to follow it: a page that fetched all that can be
// reached from it would be busy with that while it is still being drawn.
"use client";

import NextLink from "next/link";
import { type ComponentProps, useState } from "react";

export function Link({ onPointerEnter, onFocus, onTouchStart, ...props }: ComponentProps<typeof NextLink>) {
  const [near, setNear] = useState(false);
  return (
    <NextLink
      prefetch={near ? null : false}
      onPointerEnter={(event) => (setNear(true), onPointerEnter?.(event))}
      onFocus={(event) => (setNear(true), onFocus?.(event))}
      onTouchStart={(event) => (setNear(true), onTouchStart?.(event))}
      {...props}
    />
  );
}
