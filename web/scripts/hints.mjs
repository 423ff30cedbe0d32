// Tells browsers which scripts a page cannot do without (V8's explicit compile hints, https://v8.dev/blog/explicit-compile-hints):
// they compile all of such a file while it comes in, beside the page. Else each function is compiled when it is first called, on
// the page's own thread and mostly within one task; that was more than half of what the longest task of a first visit took.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HINT = "//# allFunctionsCalledOnLoad\n";
const out = fileURLToPath(new URL("../out", import.meta.url));

const pages = readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".html"));
const scripts = new Set(
  pages.flatMap((page) =>
    [...readFileSync(join(out, page), "utf8").matchAll(/<script[^>]*\ssrc="(\/_next\/[^"]+\.js)"/g)].map(
      ([, src]) => src,
    ),
  ),
);
if (scripts.size === 0) throw new Error("hints: no page names a script; has Next changed how it writes them?");
for (const script of scripts) {
  const file = join(out, script);
  const text = readFileSync(file, "utf8");
  if (!text.startsWith(HINT)) writeFileSync(file, HINT + text);
}
console.log(`hints: ${scripts.size} scripts of ${pages.length} pages are compiled as they come in`);
