// `/admin/`: for whoever runs the service.
import type { Metadata } from "next";

import { Admin } from "@/components/features/admin/admin";

export const metadata: Metadata = { title: "Admin" };

export default function Page() {
  return <Admin />;
}
