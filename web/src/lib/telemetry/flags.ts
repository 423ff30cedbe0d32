// Features that are tried out on some of the people who agreed to be counted. Off without consent, and where nobody is told.
import { create } from "zustand";

export type Flag = boolean | string;

/** What is tried out; each name is a feature flag of PostHog's. */
export type FlagName = "create-no-examples";

export const useFlags = create<{ flags: Readonly<Record<string, Flag>> }>(() => ({ flags: {} }));

/** A flag's variant, `true` where it has none; false where it is off. */
export const useFlag = (name: FlagName): Flag => useFlags(({ flags }) => flags[name] ?? false);
