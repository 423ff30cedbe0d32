// The places of the studio, in the order of the navigation.
import { Code, Folder, Images, type LucideIcon, Sparkles, Wallet } from "lucide-react";

import type { Key } from "@/lib/i18n";

interface Place {
  href: string;
  label: Key;
  icon: LucideIcon;
}

export const PLACES: readonly Place[] = [
  { href: "/", label: "nav.create", icon: Sparkles },
  { href: "/gallery/", label: "nav.gallery", icon: Images },
  { href: "/collections/", label: "nav.collections", icon: Folder },
  { href: "/credits/", label: "nav.credits", icon: Wallet },
  { href: "/developers/", label: "nav.developers", icon: Code },
];

/** Whether a path is in a place. */
export const isAt = (path: string, href: string) => (href === "/" ? path === "/" : path.startsWith(href));
