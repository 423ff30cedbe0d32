// A screen for people who are signed in; others are shown the door to it. Until it is known who is there, the screen is drawn
// as it is for somebody, without what is theirs: that is what the exported page shows, so that nothing moves later.
"use client";

import { LockKeyhole } from "lucide-react";
import { type ReactNode, useMemo } from "react";

import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Empty, Notice } from "@/components/ui/states";
import type { Me } from "@/lib/api/client";
import { useMe, useWho } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";
import { usePathname } from "@/lib/navigation";

interface SignedInProps {
  children: (me: Me | undefined) => ReactNode;
  /** What others see instead of the door. */
  others?: ReactNode;
}

const DOOR = <Door />;

export function SignedIn({ children, others = DOOR }: SignedInProps) {
  const who = useWho();
  // The same drawing until somebody else is there: what only looked is not drawn anew.
  return useMemo(() => {
    if (who instanceof Error) return <Unasked error={who} />;
    return who === null ? others : children(who);
  }, [who, children, others]);
}

function Unasked({ error }: { error: Error }) {
  const t = useT();
  const { refetch } = useMe();
  return (
    <Notice
      title={error.message}
      actions={
        <Button look="outline" size="small" onClick={() => void refetch()}>
          {t("ui.retry")}
        </Button>
      }
    />
  );
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
