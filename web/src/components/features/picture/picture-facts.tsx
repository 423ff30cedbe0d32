// What made it: every setting, to be read and copied.
"use client";

import type { Picture } from "@/lib/api/gallery";
import { bytes, dateTime } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";

/** Shared ones have no more than the first of these. */
type Facts = Pick<Picture, "width" | "height" | "format" | "settings"> & Partial<Pick<Picture, "bytes" | "createdMs">>;

export function PictureFacts({ picture }: { picture: Facts }) {
  const t = useT();
  const locale = useLocale();
  const { settings } = picture;
  const language = locale === "pseudo" ? "en" : locale;
  const facts: [Key, React.ReactNode][] = [
    ["create.model", settings.model],
    ["create.size", `${picture.width} × ${picture.height}`],
    ["create.seed", settings.seed],
    ["create.steps", settings.steps],
    ["create.guidance", settings.guidanceScale],
    ["create.sampler", settings.sampler],
    ["picture.loras", settings.loras?.map(({ name, weight }) => `${name} (${weight})`).join(", ")],
    [
      "picture.file",
      [picture.format.toUpperCase(), picture.bytes && bytes(picture.bytes, language)].filter(Boolean).join(", "),
    ],
    ["picture.made", picture.createdMs && dateTime(picture.createdMs, language)],
  ];
  return (
    <section aria-labelledby="facts" className="grid gap-4 rounded-lg border bg-card p-4">
      <h1 id="facts" className="text-[15px] leading-relaxed font-medium break-words">
        {settings.prompt}
      </h1>
      {settings.negativePrompt && (
        <p className="text-sm text-muted-foreground">
          <span className="font-medium text-foreground">{t("create.negative")}:</span> {settings.negativePrompt}
        </p>
      )}
      <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-2 text-sm">
        {facts.map(
          ([label, value]) =>
            value !== undefined &&
            value !== null &&
            value !== "" && (
              <div key={label} className="contents">
                <dt className="text-muted-foreground">{t(label)}</dt>
                <dd className="text-right break-words tabular-nums">{value}</dd>
              </div>
            ),
        )}
      </dl>
    </section>
  );
}
