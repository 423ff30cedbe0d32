// `/account/`.
import type { Metadata } from "next";

import { Account } from "@/components/features/account/account";

export const metadata: Metadata = { title: "Account" };

export default function Page() {
  return <Account />;
}
