// The stand-in for Stripe, as a program of its own: pages to pay on, webhooks that come back signed. No money moves.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const SECRET = "whsec_flows";
const READY_MS = 60_000;

export class Twin {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(): Promise<Twin> {
    const program = join(dirname(process.env.TINTYPE_PROGRAM ?? ""), "stripe-twin");
    const folder = mkdtempSync(join(tmpdir(), "tt-twin-"));
    const portFile = join(folder, "port");
    const child = spawn(program, ["--listen", "127.0.0.1:0", "--port-file", portFile, "--webhook-secret", SECRET], {
      stdio: "ignore",
    });
    const address = await written(portFile, folder, child);
    return new Twin(`http://${address}`, child, folder);
  }

  /** What makes a stack sell through it. */
  get env(): Record<string, string> {
    return { STRIPE_SECRET_KEY: "sk_test_flows", STRIPE_WEBHOOK_SECRET: SECRET, TINTYPE_STRIPE_URL: this.url };
  }

  /** Has webhooks sent to a stack. */
  async tell(stack: string): Promise<void> {
    const answer = await fetch(`${this.url}/twin/webhook`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ url: `${stack}/hooks/stripe`, secret: SECRET }),
    });
    if (!answer.ok) throw new Error(`the stand-in answered ${answer.status}`);
  }

  async stop(): Promise<void> {
    const gone = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGKILL");
    await gone;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The first line of a file, once it is there. */
function written(file: string, folder: string, child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the stand-in for Stripe is not ready")), READY_MS);
    const watcher = watch(folder);
    const look = () => {
      try {
        const text = readFileSync(file, "utf8").trim();
        if (!text) return;
        clearTimeout(late);
        watcher.close();
        resolve(text);
      } catch {
        // Not yet.
      }
    };
    watcher.on("change", look);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the stand-in for Stripe ended with ${code}`)));
    look();
  });
}
