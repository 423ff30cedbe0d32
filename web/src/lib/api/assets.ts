// Pictures that are sent for jobs to read.
import { failureOf } from "./client";
import type { AssetView } from "./schema.gen";

/** Has the server keep a picture; the same one twice is one. */
export async function upload(file: Blob): Promise<AssetView> {
  const response = await fetch("/api/v1/assets", {
    method: "POST",
    body: file,
    headers: { "content-type": file.type },
  });
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw failureOf(response.status, body);
  return body as AssetView;
}

/** Where the file of a picture is that a request names by its key, `inputs/ACCOUNT/ID.png`. */
export const fileOfKey = (key: string): string =>
  `/api/v1/assets/${key.split("/").at(-1)?.split(".")[0] ?? ""}/file?inline=true`;
