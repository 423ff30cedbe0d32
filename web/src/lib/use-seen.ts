// Whether a part of the page has been looked at: for what is fetched only then.
"use client";

import { type RefObject, useEffect, useState } from "react";

/** True from when any of it has been in sight. */
export function useSeen(part: RefObject<HTMLElement | null>): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (seen || !part.current) return;
    const watch = new IntersectionObserver((entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) setSeen(true);
    });
    watch.observe(part.current);
    return () => watch.disconnect();
  }, [part, seen]);
  return seen;
}
