// `npm run build:vercel`: the packed studio as Vercel takes it (Build Output API, version 3), in front of an API elsewhere. The browser
// still talks to one origin: what is the API's is passed on to TINTYPE_URL. The policy for pages is the one of the bundle.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const bundle = process.env.TINTYPE_STUDIO_BUNDLE ?? join(web, "dist", "studio.bundle");
const target = process.argv[2] ?? join(web, ".vercel", "output");

const api = process.env.TINTYPE_URL?.replace(/\/+$/, "");
if (!api || !/^https?:\/\/[^/]+$/.test(api)) {
  console.error("vercel: set TINTYPE_URL to where the API is, such as https://api.pictures.example");
  process.exit(1);
}
// Whom pages may tell how they are used (--posthog-url, --studio-sentry-dsn of the API), as origins with spaces between.
const connect = process.env.TINTYPE_CONNECT?.trim();

/** Paths that are the API's: the studio's own calls, links in letters, and what programs use. */
const PASSED_ON = "^/(api|auth|v1|openai|replicate|hooks)/(.*)$";
const PASSED_ON_FILES = "^/(openapi\\.json|healthz)$";

const bytes = readFileSync(bundle);
const line = bytes.indexOf(10);
const { csp, files, placeholders } = JSON.parse(bytes.subarray(0, line).toString());

rmSync(target, { recursive: true, force: true });
for (const [name, { plain }] of Object.entries(files)) {
  const file = join(target, "static", name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes.subarray(line + 1 + plain[0], line + 1 + plain[0] + plain[1]));
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const pages = Object.keys(files).filter((name) => name.endsWith("/index.html"));
const policy = connect ? csp.replace("connect-src 'self'", `connect-src 'self' ${connect}`) : csp;
const config = {
  version: 3,
  routes: [
    { src: PASSED_ON, dest: `${api}/$1/$2` },
    { src: PASSED_ON_FILES, dest: `${api}/$1` },
    { src: "^/_next/static/", headers: { "cache-control": "public, max-age=31536000, immutable" }, continue: true },
    {
      src: "^/(?!_next/)",
      headers: {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
      },
      continue: true,
    },
    ...pages.map((page) => ({ src: `^${escaped(page.replace(/\/index\.html$/, ""))}/?$`, dest: page })),
    // One page stands for every picture.
    ...Object.entries(placeholders).flatMap(([parent, folder]) => [
      { src: `^${escaped(parent)}[^/]+/?$`, dest: `${folder}index.html` },
      { src: `^${escaped(parent)}[^/]+/([^/]+\\.txt)$`, dest: `${folder}$1` },
    ]),
    { handle: "filesystem" },
    { src: "^/.*$", dest: "/404.html", status: 404 },
  ],
};
writeFileSync(join(target, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
console.log(`vercel: ${Object.keys(files).length} files, passed on to ${api}`);
