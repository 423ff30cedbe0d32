// Chromium as the phone that Lighthouse looks at.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const CHROMIUM = process.env.TINTYPE_CHROMIUM ?? "/usr/bin/chromium";
/** Longest a start may take, and how often it is looked at meanwhile. */
const [READY_MS, LOOK_MS] = [20_000, 20];
/** As Lighthouse starts one: nothing of its own in the background. */
const FLAGS = [
  ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--mute-audio", "--remote-debugging-port=0"],
  ...["--no-first-run", "--no-default-browser-check", "--disable-default-apps", "--disable-extensions"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--metrics-recording-only"],
  ...[
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,InterestFeedContentSuggestions",
  ],
];

export class Phone {
  private constructor(
    readonly port: number,
    private readonly child: ChildProcess,
  ) {}

  /** Starts one that has never been anywhere. */
  static async start(profile: string): Promise<Phone> {
    mkdirSync(profile);
    const child = spawn(CHROMIUM, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], { stdio: "ignore" });
    const said = join(profile, "DevToolsActivePort");
    for (const began = Date.now(); Date.now() - began < READY_MS; await new Promise((go) => setTimeout(go, LOOK_MS)))
      try {
        const port = Number(readFileSync(said, "utf8").split("\n")[0]);
        if (port > 0) return new Phone(port, child);
      } catch {
        if (child.exitCode !== null) break;
      }
    child.kill("SIGKILL");
    throw new Error(`${CHROMIUM} ended, or was not ready in ${READY_MS} ms; start it by hand to see what it says`);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGKILL");
    await gone;
  }
}
