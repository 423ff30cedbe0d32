// The footer: language, and what is for those who look closer.
"use client";

import { Link } from "@/components/ui/link";
import { LOCALE_NAMES, LOCALES, setLocale, useLocale, useT } from "@/lib/i18n";

export function Footer() {
  const t = useT();
  const locale = useLocale();
  return (
    <footer className="mt-10 border-t pb-20 md:pb-0">
      <div className="mx-auto flex max-w-[100rem] flex-wrap items-center gap-x-6 gap-y-3 px-4 py-5 text-[13px] text-muted-foreground sm:px-6">
        <p>{t("footer.words")}</p>
        <div className="flex flex-wrap items-center gap-x-5 gap-y-2 sm:ml-auto">
          <Link href="/status/" className="underline-offset-4 hover:text-foreground hover:underline">
            {t("nav.status")}
          </Link>
          <a href="/openapi.json" className="underline-offset-4 hover:text-foreground hover:underline">
            {t("footer.api")}
          </a>
          <label className="flex items-center gap-2">
            <span className="sr-only">{t("nav.language")}</span>
            <select
              value={locale}
              onChange={(event) => void setLocale(event.target.value as (typeof LOCALES)[number])}
              className="rounded-md border bg-card px-2 py-1 text-foreground"
            >
              {LOCALES.map((one) => (
                <option key={one} value={one} lang={one}>
                  {LOCALE_NAMES[one]}
                </option>
              ))}
            </select>
          </label>
        </div>
      </div>
    </footer>
  );
}
