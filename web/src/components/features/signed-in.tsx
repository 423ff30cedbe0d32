// A screen for people who are signed in; others are shown the door to it. Until it is known who is there, the screen is drawn
// as it is for somebody, without what is theirs: that is what the exported page shows, so that nothing moves later.
"use client";

import { LockKeyhole } from "lucide-react";
import type { ReactNode } from "react";

import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Empty, Notice } from "@/components/ui/states";
import type { Me } from "@/lib/api/client";
import { useMe } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";
import { usePathname } from "@/lib/navigation";

interface SignedInProps {
  children: (me: Me | undefined) => ReactNode;
  /** What others see instead of the door. */
  others?: ReactNode;
}

export function SignedIn({ children, others = <Door /> }: SignedInProps) {
  const t = useT();
  const me = useMe();
  if (me.data || me.isPending) return children(me.data ?? undefined);
  if (me.error) {
    return (
      <Notice
        title={me.error.message}
        actions={
          <Button look="outline" size="small" onClick={() => void me.refetch()}>
            {t("ui.retry")}
          </Button>
        }
      />
    );
  }
  return others;
}

/** To a screen that is somebody's. */
export function Door() {
  const t = useT();
  const path = usePathname();
  return (
    <Empty
      alone
      className="mx-auto mt-12 max-w-xl border-none"
      icon={<LockKeyhole aria-hidden />}
      title={t("door.title")}
      actions={
        <>
          <Button asChild>
            <Link href={`/login/?next=${encodeURIComponent(path)}`}>{t("nav.signIn")}</Link>
          </Button>
          <Button asChild look="outline">
            <Link href="/welcome/">{t("nav.signUp")}</Link>
          </Button>
        </>
      }
    >
      {t("door.words")}
    </Empty>
  );
}
