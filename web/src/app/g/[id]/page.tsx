// `/g/{id}/`: one picture. The API answers every id with the one page that is exported; the page reads its address.
import type { Metadata } from "next";

import { PicturePage } from "@/components/features/picture/picture-page";

export const metadata: Metadata = { title: "Picture" };
export const dynamicParams = false;

export function generateStaticParams() {
  return [{ id: "_" }];
}

export default function Page() {
  return <PicturePage />;
}
