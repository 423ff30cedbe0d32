// `/login/`: enter.
import type { Metadata } from "next";

import { Entrance } from "@/components/features/account/entrance";

export const metadata: Metadata = { title: "Sign in" };

export default function Page() {
  return <Entrance kind="login" />;
}
