// There is no such page.
"use client";

import { Compass } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Empty } from "@/components/ui/states";
import { useT } from "@/lib/i18n";

export function Lost() {
  const t = useT();
  return (
    <Empty
      alone
      className="mx-auto mt-16 max-w-xl border-none"
      title={t("lost.title")}
      icon={<Compass aria-hidden />}
      actions={
        <Button asChild>
          <Link href="/">{t("lost.home")}</Link>
        </Button>
      }
    >
      {t("lost.words")}
    </Empty>
  );
}
