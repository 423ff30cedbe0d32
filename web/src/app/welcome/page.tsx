// `/welcome/`: a new account.
import type { Metadata } from "next";

import { Entrance } from "@/components/features/account/entrance";

export const metadata: Metadata = { title: "Create your account" };

export default function Page() {
  return <Entrance kind="signup" />;
}
