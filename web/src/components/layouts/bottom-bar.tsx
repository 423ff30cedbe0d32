// The places at the thumb, on a phone.
"use client";

import { isAt, PLACES } from "@/components/layouts/places";
import { Link } from "@/components/ui/link";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { usePathname } from "@/lib/navigation";

export function BottomBar() {
  const t = useT();
  const path = usePathname();
  if (PLACES.length < 2) return null;
  return (
    <nav
      aria-label={t("nav.main")}
      className="fixed inset-x-0 bottom-0 z-40 border-t bg-background pb-[env(safe-area-inset-bottom)] md:hidden"
    >
      <ul className="grid auto-cols-fr grid-flow-col">
        {PLACES.map(({ href, label, icon: Icon }) => (
          <li key={href}>
            <Link
              href={href}
              aria-current={isAt(path, href) ? "page" : undefined}
              className={cn(
                "grid justify-items-center gap-0.5 py-2 text-[11px] font-medium text-muted-foreground",
                isAt(path, href) && "text-primary",
              )}
            >
              <Icon aria-hidden className="size-5" />
              {t(label)}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
