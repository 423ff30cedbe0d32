// Packs `out/` into one file the API serves (`api/src/http/studio.rs` reads it): a line of JSON, then every file as it is and,
// where that is smaller, gzipped. Also writes the policy for what pages may load, with the hash of every inline script.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const web = fileURLToPath(new URL("..", import.meta.url));
const out = join(web, "out");
const target = process.argv[2] ?? join(web, "dist", "studio.bundle");

const TYPES = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  ico: "image/x-icon",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  png: "image/png",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
  webmanifest: "application/manifest+json",
  woff2: "font/woff2",
};

const typeOf = (path) => {
  const type = TYPES[path.slice(path.lastIndexOf(".") + 1)];
  if (!type) throw new Error(`bundle: no media type is known for ${path}; add it to TYPES`);
  return type;
};

const walk = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });

/** Hashes of the inline scripts of a page, as the policy writes them. */
export const inlineScripts = (html) =>
  [...html.matchAll(/<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(
    ([, text]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`,
  );

const bodies = [];
let length = 0;
const place = (body) => {
  const at = [length, body.length];
  bodies.push(body);
  length += body.length;
  return at;
};

const files = {};
const hashes = new Set();
for (const path of walk(out).sort()) {
  const name = "/" + relative(out, path).split(sep).join("/");
  const body = readFileSync(path);
  if (name.endsWith(".html")) inlineScripts(body.toString()).forEach((hash) => hashes.add(hash));
  const packed = gzipSync(body, { level: 9 });
  files[name] = {
    type: typeOf(name),
    etag: `"${createHash("sha256").update(body).digest("hex").slice(0, 20)}"`,
    keep: name.startsWith("/_next/static/"),
    plain: place(body),
    gzip: packed.length < body.length * 0.95 ? place(packed) : null,
  };
}

const csp = [
  "default-src 'self'",
  `script-src 'self' ${[...hashes].sort().join(" ")}`,
  // Styles cannot run; dialogs set some at run time to stop the page behind from scrolling.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "font-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

const header = JSON.stringify({ csp, files, placeholders: { "/g/": "/g/_/" } });
mkdirSync(join(target, ".."), { recursive: true });
writeFileSync(`${target}.new`, Buffer.concat([Buffer.from(header + "\n"), ...bodies]));
renameSync(`${target}.new`, target);
console.log(
  `bundle: ${Object.keys(files).length} files, ${hashes.size} script hashes, ${Math.round(length / 1024)} KiB`,
);
