// `/developers/`.
import type { Metadata } from "next";

import { Developers } from "@/components/features/developers/developers";

export const metadata: Metadata = { title: "Developers" };

export default function Page() {
  return <Developers />;
}
