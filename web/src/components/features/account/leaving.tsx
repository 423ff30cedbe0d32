// What is yours, to take with you; and the end of the account. What cannot be undone is asked for twice, with the password.
"use client";

import { Download, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { EXPORT, useErase } from "@/lib/api/account";
import type { Me } from "@/lib/api/client";
import { useT } from "@/lib/i18n";

export function Leaving({ me, className }: { me: Me; className?: string }) {
  const t = useT();
  const [asking, setAsking] = useState(false);
  return (
    <Card title={t("account.yours")} words={t("account.yours.words")} className={className}>
      <div className="flex flex-wrap gap-2.5">
        <Button asChild look="outline">
          <a href={EXPORT} download>
            <Download aria-hidden /> {t("account.export")}
          </a>
        </Button>
        <Button look="danger" onClick={() => setAsking(true)}>
          <Trash2 aria-hidden /> {t("account.erase")}
        </Button>
      </div>
      <Erasing me={me} open={asking} onOpenChange={setAsking} />
    </Card>
  );
}

interface ErasingProps {
  me: Me;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

function Erasing({ me, open, onOpenChange }: ErasingProps) {
  const t = useT();
  const erase = useErase();
  const [password, setPassword] = useState("");
  const wantsPassword = Boolean(me.user?.hasPassword);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    erase.mutate({ account: me.account.id, ...(wantsPassword && { currentPassword: password }) });
  };
  return (
    <Dialog
      open={open}
      onOpenChange={onOpenChange}
      title={t("account.erase.title")}
      description={t("account.erase.words")}
    >
      <form onSubmit={submit} className="grid gap-4">
        {erase.error && <Notice title={erase.error.message} />}
        {wantsPassword && (
          <Field label={t("login.password")}>
            {(ids) => (
              <Input
                {...ids}
                type="password"
                autoComplete="current-password"
                value={password}
                onChange={(event) => setPassword(event.target.value)}
              />
            )}
          </Field>
        )}
        <div className="flex flex-wrap justify-end gap-2">
          <Button type="button" look="outline" onClick={() => onOpenChange(false)}>
            {t("ui.cancel")}
          </Button>
          <Button type="submit" look="danger" disabled={erase.isPending || (wantsPassword && password === "")}>
            {t("account.erase.submit")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
