// Sign in, or make an account: the same two fields.
"use client";

import "@/lib/i18n/desk";
import "@/lib/i18n/shelf";

import { useForm } from "react-hook-form";

import { OtherWays, Sent } from "@/components/features/account/other-ways";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { Link } from "@/components/ui/link";
import { Notice } from "@/components/ui/states";
import { LIMITS } from "@/lib/api/limits.gen";
import { type Credentials, useEnter, useProviders } from "@/lib/api/session";
import { useT } from "@/lib/i18n";
import { lazyResolver } from "@/lib/lazy-resolver";
import { useRouter } from "@/lib/navigation";

const PASSWORD_MIN = LIMITS.password.min;

/** Only paths of ours: `//elsewhere` and addresses are not followed. */
function next(): string {
  const wanted = new URLSearchParams(window.location.search).get("next") ?? "/";
  return /^\/(?!\/)/.test(wanted) ? wanted : "/";
}

export function Entrance({ kind }: { kind: "login" | "signup" }) {
  const t = useT();
  const router = useRouter();
  const enter = useEnter(kind);
  const form = useForm<Credentials>({
    resolver: lazyResolver(async () => (await import("./schema")).entranceSchema(kind)),
    defaultValues: { email: "", password: "" },
  });
  const { errors } = form.formState;
  const submit = form.handleSubmit((values) =>
    enter.mutate(values, { onSuccess: (entered) => entered === "in" && router.push(next()) }),
  );
  const providers = useProviders().data;
  const words = kind === "login" ? "login" : "signup";
  if (enter.data === "sent") return <Sent email={form.getValues("email")} />;
  return (
    <div className="mx-auto mt-[6vh] grid max-w-sm gap-6">
      <div className="grid gap-1.5 text-center">
        <h1 className="text-2xl font-semibold tracking-tight">{t(`${words}.title`)}</h1>
        <p className="text-sm text-muted-foreground">{t(`${words}.words`)}</p>
      </div>
      <div className="grid gap-4 rounded-lg border bg-card p-6 shadow-raised">
        <form onSubmit={submit} noValidate className="grid gap-4">
          {kind === "signup" && providers?.signup === false && <Notice title={t("signup.closed")} />}
          {enter.error && <Notice title={t(`${words}.failed`)}>{enter.error.message}</Notice>}
          <Field label={t("login.email")} error={errors.email && t("email.bad")}>
            {(ids) => <Input {...ids} type="email" autoComplete="username" {...form.register("email")} />}
          </Field>
          <Field
            label={t("login.password")}
            hint={kind === "signup" ? t("signup.password.hint", { n: PASSWORD_MIN }) : undefined}
            error={errors.password && t("password.short", { n: kind === "signup" ? PASSWORD_MIN : 1 })}
          >
            {(ids) => (
              <Input
                {...ids}
                type="password"
                autoComplete={kind === "login" ? "current-password" : "new-password"}
                {...form.register("password")}
              />
            )}
          </Field>
          <Button type="submit" size="large" disabled={enter.isPending}>
            {t(`${words}.submit`)}
          </Button>
        </form>
        {/* Not in the form: Clerk's window has forms of its own. */}
        {providers && (
          <OtherWays kind={kind} providers={providers} emailOf={() => form.getValues("email")} next={next} />
        )}
      </div>
      <p className="text-center text-sm text-muted-foreground">
        {t(`${words}.other`)}{" "}
        <Button asChild look="link">
          <Link href={kind === "login" ? "/welcome/" : "/login/"}>
            {t(kind === "login" ? "signup.submit" : "login.submit")}
          </Link>
        </Button>
      </p>
    </div>
  );
}
