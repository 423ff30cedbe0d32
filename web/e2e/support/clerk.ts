// Clerk as far as a browser and a backend see it, small: its script with the few calls the studio uses, a window that asks for a
// name, its keys, and session tokens signed by one of them. What it promises is what docs of Clerk's say of `clerk.browser.js`
// version 5 and of session tokens version 2.
import { createSign, generateKeyPairSync } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const KEY = "pk_test_flows";
const KID = "ins_flows";
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** What Clerk's origin answers with as its script. `mountSignIn` draws a form; a session is kept there until `signOut`. */
const script = `(() => {
  const script = document.currentScript;
  const origin = new URL(script.src).origin;
  const listeners = new Set();
  let session = null;
  const tell = () => listeners.forEach((listener) => listener({ session }));
  const sessionOf = (name) => ({
    getToken: async () => (await (await fetch(origin + "/v1/tokens?azp=" + encodeURIComponent(location.origin) + "&name=" + name)).json()).jwt,
  });
  window.Clerk = {
    publishableKey: script.dataset.clerkPublishableKey,
    get session() { return session; },
    async load() {
      const { name } = await (await fetch(origin + "/v1/client?key=" + this.publishableKey)).json();
      session = name ? sessionOf(name) : null;
    },
    mountSignIn(node, { routing }) {
      if (routing !== "hash") throw new Error("a static page has no routes for Clerk's steps");
      node.innerHTML = '<form><label>Name with Clerk <input name="name"></label><button>Go on</button></form>';
      node.firstChild.addEventListener("submit", async (event) => {
        event.preventDefault();
        const name = new FormData(event.target).get("name");
        await fetch(origin + "/v1/sign_ins?name=" + name, { method: "POST" });
        session = sessionOf(name);
        tell();
      });
    },
    unmountSignIn(node) { node.innerHTML = ""; },
    addListener(listener) {
      listeners.add(listener);
      if (session) listener({ session });
      return () => listeners.delete(listener);
    },
    async signOut() {
      await fetch(origin + "/v1/sign_outs", { method: "POST" });
      session = null;
      tell();
    },
  };
})();`;

export class Clerk {
  private readonly keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
  /** Who is signed in with Clerk. */
  signedIn: string | null = null;
  /** Paths that were asked for. */
  readonly asked: string[] = [];

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Clerk> {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const clerk = new Clerk(server);
    server.on("request", (request, response) => clerk.answer(request, response));
    return clerk;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Settings of a stack whose people sign in here. */
  get env(): Record<string, string> {
    return { TINTYPE_CLERK_ISSUER: this.url, TINTYPE_CLERK_PUBLISHABLE_KEY: KEY };
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
    this.asked.push(pathname);
    response.setHeader("access-control-allow-origin", "*");
    if (pathname === "/npm/@clerk/clerk-js@5/dist/clerk.browser.js") {
      response.setHeader("content-type", "text/javascript").end(script);
      return;
    }
    const body = this.say(pathname, searchParams);
    response.writeHead(body ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(body ?? {}));
  }

  private say(path: string, query: URLSearchParams): object | undefined {
    switch (path) {
      case "/.well-known/jwks.json":
        return { keys: [{ ...this.keys.publicKey.export({ format: "jwk" }), kid: KID, use: "sig", alg: "RS256" }] };
      case "/v1/client":
        return query.get("key") === KEY ? { name: this.signedIn } : undefined;
      case "/v1/sign_ins":
        this.signedIn = query.get("name");
        return {};
      case "/v1/sign_outs":
        this.signedIn = null;
        return {};
      case "/v1/tokens":
        return { jwt: this.token(query.get("name") ?? "", query.get("azp") ?? "") };
      default:
        return undefined;
    }
  }

  private token(name: string, azp: string): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      azp,
      iss: this.url,
      sub: `user_${name}`,
      sid: "sess_1",
      v: 2,
      iat: now,
      nbf: now - 10,
      exp: now + 60,
      email: `${name}@example.org`,
      email_verified: true,
    };
    const text = `${base64({ alg: "RS256", kid: KID, typ: "JWT" })}.${base64(claims)}`;
    return `${text}.${createSign("RSA-SHA256").update(text).sign(this.keys.privateKey, "base64url")}`;
  }
}
