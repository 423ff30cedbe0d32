// What was asked of the server and did not come: why, and the way to ask again.
"use client";

import { Button } from "@/components/ui/button";
import { Notice } from "@/components/ui/states";
import { useT } from "@/lib/i18n";

interface UnreadProps {
  /** A question; nothing is shown while it has not failed. */
  of: { error: Error | null; refetch: () => unknown };
  /** What it was about, where the error alone does not say it. */
  title?: string;
  className?: string;
}

export function Unread({ of: { error, refetch }, title, className }: UnreadProps) {
  const t = useT();
  if (!error) return null;
  return (
    <Notice
      {...(className && { className })}
      title={title ?? error.message}
      actions={
        <Button look="outline" size="small" onClick={() => void refetch()}>
          {t("ui.retry")}
        </Button>
      }
    >
      {title && error.message}
    </Notice>
  );
}
