// Joins class names; later Tailwind classes win over earlier ones of their kind. Only the kinds that components here let
// their users override are known: the full table of Tailwind's would be a tenth of what the first page loads.
import { type ClassValue, clsx } from "clsx";
import { createTailwindMerge } from "tailwind-merge";

const any = () => true;
const group = (...names: string[]) => Object.fromEntries(names.map((name) => [name, [{ [name]: ["", any] }]]));
const isFontSize = (value: string) => /^(xs|sm|base|lg|\d?xl|\[\d.*\])$/.test(value);

const merge = createTailwindMerge(() => ({
  cacheSize: 500,
  theme: {},
  classGroups: {
    ...group("h", "w", "size", "min-h", "max-h", "min-w", "max-w", "aspect"),
    ...group("p", "px", "py", "pt", "pr", "pb", "pl", "m", "mx", "my", "mt", "mr", "mb", "ml"),
    ...group("gap", "justify", "items", "rounded", "bg", "font", "opacity", "resize", "whitespace"),
    display: ["block", "flex", "grid", "hidden", "inline-flex"],
    "border-style": [{ border: ["none", "dashed", "solid"] }],
    "font-size": [{ text: [isFontSize] }],
    "text-align": [{ text: ["left", "center", "right"] }],
    "text-color": [{ text: [any] }],
  },
  conflictingClassGroups: {
    p: ["px", "py", "pt", "pr", "pb", "pl"],
    px: ["pl", "pr"],
    py: ["pt", "pb"],
    m: ["mx", "my", "mt", "mr", "mb", "ml"],
    mx: ["ml", "mr"],
    my: ["mt", "mb"],
    size: ["h", "w"],
  },
  conflictingClassGroupModifiers: {},
  orderSensitiveModifiers: [],
}));

export const cn = (...classes: ClassValue[]) => merge(clsx(classes));
