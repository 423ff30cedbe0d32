// `/credits/`.
import type { Metadata } from "next";

import { Credits } from "@/components/features/credits/credits";

export const metadata: Metadata = { title: "Credits" };

export default function Page() {
  return <Credits />;
}
