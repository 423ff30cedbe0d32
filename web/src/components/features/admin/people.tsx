// Who there is: credits given, doors opened and shut.
"use client";

import { Coins, LogOut, MoreHorizontal, Search, ShieldCheck, ShieldX, UserX } from "lucide-react";
import { type FormEvent, useState } from "react";

import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input, Select } from "@/components/ui/field";
import { Menu } from "@/components/ui/menu";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { say } from "@/components/ui/toast";
import { Unread } from "@/components/ui/unread";
import { type Person, useChangePerson, useGrant, usePeople, useSignPersonOut } from "@/lib/api/admin";
import type { Gift } from "@/lib/api/schema.gen";
import { randomId } from "@/lib/browser";
import { credits } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";

export function People() {
  const t = useT();
  const [written, setWritten] = useState("");
  const [email, setEmail] = useState("");
  const people = usePeople(email);
  const [giving, setGiving] = useState<Person | null>(null);
  const list = people.data?.pages.flatMap(({ data }) => data) ?? [];
  const search = (event: FormEvent) => {
    event.preventDefault();
    setEmail(written.trim());
  };
  return (
    <Card
      title={t("admin.people")}
      words={t("admin.people.words")}
      aside={
        <form role="search" onSubmit={search} className="flex gap-2">
          <Input
            type="search"
            aria-label={t("admin.people.search")}
            placeholder={t("admin.people.search")}
            className="w-64 max-w-full"
            value={written}
            onChange={(event) => setWritten(event.target.value)}
          />
          <Button type="submit" look="secondary" className="px-3" aria-label={t("admin.people.search")}>
            <Search aria-hidden />
          </Button>
        </form>
      }
    >
      <Unread of={people} />
      {people.isPending && <Skeleton className="h-40" />}
      {people.data && list.length === 0 && <p className="text-sm text-muted-foreground">{t("admin.people.none")}</p>}
      {list.length > 0 && (
        <Table label={t("admin.people")} heads={[t("login.email"), t("admin.people.standing"), t("admin.account"), ""]}>
          {list.map((person) => (
            <Line key={person.id} person={person} onGive={() => setGiving(person)} />
          ))}
        </Table>
      )}
      {people.hasNextPage && (
        <Button look="outline" size="small" className="mt-4" onClick={() => void people.fetchNextPage()}>
          {t("ui.more")}
        </Button>
      )}
      {giving && <Give person={giving} onClose={() => setGiving(null)} />}
    </Card>
  );
}

function Line({ person, onGive }: { person: Person; onGive: () => void }) {
  const t = useT();
  const change = useChangePerson();
  const signOut = useSignPersonOut();
  const { id, account, email, emailVerified, admin, suspendedMs } = person;
  const failed = (error: Error) => say({ text: error.message });
  const done = (key: Key) => ({ onError: failed, onSuccess: () => say({ text: t(key) }) });
  return (
    <tr data-person={id}>
      <td translate="no" className="font-medium">
        {email ?? "–"}
      </td>
      <td>
        <span className="flex flex-wrap gap-1.5">
          {admin && <Badge look="warm">{t("admin.people.admin")}</Badge>}
          {suspendedMs && <Badge look="bad">{t("admin.people.suspended")}</Badge>}
          {!emailVerified && <Badge>{t("admin.people.unverified")}</Badge>}
        </span>
      </td>
      <td translate="no">
        <code className="font-mono text-xs text-muted-foreground">{account}</code>
      </td>
      <td>
        <Menu
          trigger={
            <Button look="ghost" size="icon" aria-label={t("admin.people.more", { who: email ?? id })}>
              <MoreHorizontal aria-hidden />
            </Button>
          }
          items={[
            { label: t("admin.people.give"), icon: Coins, run: onGive },
            {
              label: t(admin ? "admin.people.demote" : "admin.people.promote"),
              icon: admin ? ShieldX : ShieldCheck,
              run: () => change.mutate({ id, admin: !admin }, { onError: failed }),
            },
            {
              label: t("admin.people.signOut"),
              icon: LogOut,
              run: () => signOut.mutate(id, done("admin.people.signedOut")),
            },
            {
              label: t(suspendedMs ? "admin.people.readmit" : "admin.people.suspend"),
              icon: UserX,
              danger: !suspendedMs,
              run: () => change.mutate({ id, suspended: !suspendedMs }, { onError: failed }),
            },
          ]}
        />
      </td>
    </tr>
  );
}

const GIFTS = [
  ["admin", "money.source.admin"],
  ["promo", "money.source.promo"],
  ["refund", "money.source.refund"],
] as const satisfies readonly (readonly [Gift, Key])[];

function Give({ person, onClose }: { person: Person; onClose: () => void }) {
  const t = useT();
  const locale = useLocale();
  const give = useGrant();
  const [amount, setAmount] = useState("10");
  const [source, setSource] = useState<Gift>("admin");
  const [reason, setReason] = useState("");
  // One gift a dialog, however often the button or the network sends it.
  const [mark] = useState(() => randomId().slice(0, 12));
  const amountMillis = Math.round(Number(amount.replace(",", ".")) * 1000);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    give.mutate(
      { account: person.account, amountMillis, source, reference: `${reason.trim() || "studio"} ${mark}` },
      {
        onSuccess: () => {
          say({ text: t("admin.give.done", { n: credits(amountMillis, locale === "pseudo" ? "en" : locale) }) });
          onClose();
        },
      },
    );
  };
  return (
    <Dialog open onOpenChange={onClose} title={t("admin.people.give")} description={person.email ?? person.account}>
      <form onSubmit={submit} className="grid gap-4">
        <Field label={t("nav.credits")} error={give.error?.message}>
          {(ids) => (
            <Input {...ids} inputMode="decimal" value={amount} onChange={(event) => setAmount(event.target.value)} />
          )}
        </Field>
        <Field label={t("admin.give.kind")}>
          {(ids) => (
            <Select {...ids} value={source} onChange={(event) => setSource(event.target.value as Gift)}>
              {GIFTS.map(([gift, label]) => (
                <option key={gift} value={gift}>
                  {t(label)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label={t("admin.give.reason")} hint={t("admin.give.reason.hint")}>
          {(ids) => (
            <Input {...ids} maxLength={80} value={reason} onChange={(event) => setReason(event.target.value)} />
          )}
        </Field>
        <Button type="submit" className="justify-self-end" disabled={!(amountMillis >= 1) || give.isPending}>
          {t("admin.give.submit")}
        </Button>
      </form>
    </Dialog>
  );
}
