// `/edit/?id=`: change part of a picture.
import type { Metadata } from "next";

import { Edit } from "@/components/features/edit/edit";

export const metadata: Metadata = { title: "Edit" };

export default function Page() {
  return <Edit />;
}
