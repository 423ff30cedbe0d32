// A stand-in for Vercel: serves a folder as its config.json says (Build Output API, version 3), as far as ours uses it.
import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, request as ask, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";

interface Route {
  src?: string;
  dest?: string;
  headers?: Record<string, string>;
  status?: number;
  continue?: boolean;
  handle?: string;
}

const TYPES: Record<string, string> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".webmanifest": "application/manifest+json",
  ".woff2": "font/woff2",
};

export class Vercel {
  private constructor(
    readonly url: string,
    private readonly server: Server,
  ) {}

  /** Serves an output folder. */
  static async start(output: string): Promise<Vercel> {
    const { routes } = JSON.parse(readFileSync(join(output, "config.json"), "utf8")) as { routes: Route[] };
    const server = createServer((request, response) => answer({ output, routes, request, response }));
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return new Vercel(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, server);
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

interface Asked {
  output: string;
  routes: readonly Route[];
  request: IncomingMessage;
  response: ServerResponse;
}

function answer({ output, routes, request, response }: Asked): void {
  const { pathname, search } = new URL(request.url ?? "/", "http://here");
  const serve = (path: string, status = 200): boolean => {
    const file = join(output, "static", path);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return false;
    response.writeHead(status, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    response.end(readFileSync(file));
    return true;
  };
  for (const route of routes) {
    if (route.handle === "filesystem") {
      if (serve(pathname)) return;
      continue;
    }
    const found = new RegExp(route.src ?? "").exec(pathname);
    if (!found) continue;
    for (const [name, value] of Object.entries(route.headers ?? {})) response.setHeader(name, value);
    if (route.continue) continue;
    const dest = (route.dest ?? "").replace(/\$(\d)/g, (_, n: string) => found[Number(n)] ?? "");
    if (dest.startsWith("http")) return passOn(`${dest}${search}`, request, response);
    if (serve(dest, route.status)) return;
  }
  response.writeHead(404).end();
}

/** Both ways as they come, so that streams stay streams. */
function passOn(url: string, request: IncomingMessage, response: ServerResponse): void {
  const headers = { ...request.headers, host: new URL(url).host };
  const passed = ask(url, { method: request.method ?? "GET", headers }, (answered) => {
    response.writeHead(answered.statusCode ?? 502, answered.headers);
    answered.pipe(response);
  });
  passed.on("error", () => response.destroy());
  response.on("close", () => passed.destroy());
  request.pipe(passed);
}
