// The studio is exported as plain files; the API serves them (docs/adr). In `next dev` the API is another program, and its
// routes are passed on to it.
import type { NextConfig } from "next";

const api = process.env.TINTYPE_URL ?? "http://127.0.0.1:8080";
const development = process.env.NODE_ENV === "development";

const config: NextConfig = {
  output: development ? undefined : "export",
  trailingSlash: true,
  reactStrictMode: true,
  poweredByHeader: false,
  images: { unoptimized: true },
  // Types are checked by `pnpm typecheck`, once.
  typescript: { ignoreBuildErrors: true },
  experimental: { optimizePackageImports: ["lucide-react"] },
  ...(development && {
    skipTrailingSlashRedirect: true,
    rewrites: async () => [
      { source: "/api/:path*", destination: `${api}/api/:path*` },
      { source: "/openapi.json", destination: `${api}/openapi.json` },
      { source: "/g/:id", destination: "/g/_" },
    ],
  }),
};

export default config;
