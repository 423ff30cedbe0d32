// How this browser wants the studio: theme, shortcuts, whether it may tell how it is used.
"use client";

import { useEffect } from "react";
import { create } from "zustand";
import { createJSONStorage, persist } from "zustand/middleware";

export type Theme = "system" | "light" | "dark";

interface Ui {
  theme: Theme;
  /** Single-key shortcuts; people who speak to their machine switch them off (WCAG 2.1.4). */
  shortcuts: boolean;
  /** Whether the studio may tell how it is used: not asked yet, no, or the random name under which it does. */
  consent: string | false | null;
  setTheme: (theme: Theme) => void;
  setShortcuts: (on: boolean) => void;
  setConsent: (consent: string | false) => void;
}

export const useUi = create<Ui>()(
  persist(
    (set) => ({
      theme: "system",
      shortcuts: true,
      consent: null,
      setTheme: (theme) => set({ theme }),
      setShortcuts: (shortcuts) => set({ shortcuts }),
      setConsent: (consent) => set({ consent }),
    }),
    { name: "tintype.ui", storage: createJSONStorage(() => localStorage), skipHydration: true },
  ),
);

/** Runs before the page is drawn, so that a dark one never flashes white. */
export const THEME_SCRIPT = `try{var t=JSON.parse(localStorage.getItem("tintype.ui")||"{}").state?.theme;if(t==="dark"||t!=="light"&&matchMedia("(prefers-color-scheme: dark)").matches)document.documentElement.classList.add("dark")}catch{}`;

/** Keeps the page in the chosen theme. */
export function useTheme(): void {
  const theme = useUi((ui) => ui.theme);
  useEffect(() => {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const paint = () =>
      document.documentElement.classList.toggle("dark", theme === "dark" || (theme === "system" && system.matches));
    if (useUi.persist.hasHydrated()) paint();
    system.addEventListener("change", paint);
    return () => system.removeEventListener("change", paint);
  }, [theme]);
}
