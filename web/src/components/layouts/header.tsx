// The header: where you are, where you can go, what you have.
"use client";

import { CircleUser, LogOut, Moon, Settings, ShieldCheck, Sun, SunMoon } from "lucide-react";

import { CreditBalance } from "@/components/features/credit-balance";
import { isAt, PLACES } from "@/components/layouts/places";
import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Menu } from "@/components/ui/menu";
import { Skeleton } from "@/components/ui/states";
import { useWho } from "@/lib/api/queries";
import { useSignOut } from "@/lib/api/session";
import { cn } from "@/lib/cn";
import { type Key, useT } from "@/lib/i18n";
import { usePathname, useRouter } from "@/lib/navigation";
import { type Theme, useUi } from "@/stores/ui";

export function Header() {
  const t = useT();
  const path = usePathname();
  return (
    // Blurring what is behind is for machines that draw it at no cost: a phone draws anew for it with every frame.
    <header className="sticky top-0 z-40 border-b bg-background md:bg-background/85 md:backdrop-blur-md">
      <div className="mx-auto flex h-14 max-w-[100rem] items-center gap-6 px-4 sm:px-6">
        <Link href="/" className="flex items-center gap-2.5 text-[17px] font-semibold tracking-tight">
          <Plate />
          {t("app.name")}
        </Link>
        <nav aria-label={t("nav.main")} className="hidden md:block">
          <ul className="flex gap-1">
            {PLACES.map(({ href, label }) => (
              <li key={href}>
                <Link
                  href={href}
                  aria-current={isAt(path, href) ? "page" : undefined}
                  className={cn(
                    "rounded-md px-3 py-2 text-sm font-medium text-muted-foreground transition-colors hover:text-foreground",
                    isAt(path, href) && "bg-muted text-foreground",
                  )}
                >
                  {t(label)}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div className="ml-auto flex items-center gap-1.5">
          <ThemeMenu />
          <Somebody />
        </div>
      </div>
    </header>
  );
}

/** What they have and where they are, or the way in. */
function Somebody() {
  const t = useT();
  const who = useWho();
  if (who instanceof Error) return null;
  if (who === undefined) return <Unknown />;
  if (who) {
    return (
      <>
        <CreditBalance credits={who.credits} />
        <AccountMenu admin={who.user?.admin ?? false} />
      </>
    );
  }
  return (
    <>
      <Button asChild look="ghost">
        <Link href="/login/">{t("nav.signIn")}</Link>
      </Button>
      <Button asChild className="max-sm:hidden">
        <Link href="/welcome/">{t("nav.signUp")}</Link>
      </Button>
    </>
  );
}

/** The place of what is somebody's, until it is known who is there. */
function Unknown() {
  return (
    <>
      <Skeleton className="h-9 w-20 rounded-full" />
      <span className="size-9" />
    </>
  );
}

/** The mark: a plate and what is on it. */
function Plate() {
  return (
    <svg viewBox="0 0 24 24" aria-hidden className="size-6 text-primary">
      <rect x="3" y="2" width="18" height="20" rx="3.5" fill="none" stroke="currentColor" strokeWidth="2" />
      <circle cx="12" cy="12" r="4.2" fill="currentColor" />
    </svg>
  );
}

const THEMES: readonly { theme: Theme; label: Key; icon: typeof Sun }[] = [
  { theme: "system", label: "theme.system", icon: SunMoon },
  { theme: "light", label: "theme.light", icon: Sun },
  { theme: "dark", label: "theme.dark", icon: Moon },
];

function ThemeMenu() {
  const t = useT();
  const setTheme = useUi((ui) => ui.setTheme);
  return (
    <Menu
      trigger={
        <Button look="ghost" size="icon" aria-label={t("nav.theme")}>
          <SunMoon aria-hidden />
        </Button>
      }
      items={THEMES.map(({ theme, label, icon }) => ({ label: t(label), icon, run: () => setTheme(theme) }))}
    />
  );
}

function AccountMenu({ admin }: { admin: boolean }) {
  const t = useT();
  const router = useRouter();
  const signOut = useSignOut();
  return (
    <Menu
      trigger={
        <Button look="ghost" size="icon" aria-label={t("nav.menu")}>
          <CircleUser aria-hidden />
        </Button>
      }
      items={[
        { label: t("nav.account"), icon: Settings, run: () => router.push("/account/") },
        ...(admin ? [{ label: t("nav.admin"), icon: ShieldCheck, run: () => router.push("/admin/") }] : []),
        { label: t("nav.signOut"), icon: LogOut, run: () => signOut.mutate() },
      ]}
    />
  );
}
