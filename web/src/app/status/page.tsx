// `/status/`: how the service is. Works signed out.
import type { Metadata } from "next";

import { Status } from "@/components/features/status";

export const metadata: Metadata = { title: "Status" };

export default function Page() {
  return <Status />;
}
