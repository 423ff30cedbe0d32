import next from "eslint-config-next/core-web-vitals";
import typescript from "eslint-config-next/typescript";

const config = [
  { ignores: [".next/**", "out/**", "dist/**", "shots/**", "next-env.d.ts", "src/lib/api/*.gen.ts"] },
  ...next,
  ...typescript,
  {
    rules: {
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // Pictures are files of ours of any size; there is no image server behind a static export.
      "@next/next/no-img-element": "off",
    },
  },
  {
    // Anything that could move to another bundler stays free of Next (research: the way out must stay cheap).
    files: ["src/**/*.{ts,tsx}"],
    ignores: ["src/app/**", "src/components/ui/link.tsx", "src/lib/navigation.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: ["next", "next/*"], message: "only app/, ui/link and lib/navigation know Next" }] },
      ],
    },
  },
];

export default config;
