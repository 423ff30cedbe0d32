// `/collections/`: pictures in groups.
import type { Metadata } from "next";

import { Collections } from "@/components/features/collections";

export const metadata: Metadata = { title: "Collections" };

export default function Page() {
  return <Collections />;
}
