// Webhooks as receivers written for Node check them: Svix's, Standard Webhooks' and Replicate's own verifiers.
import assert from "node:assert";
import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.env.TINTYPE_NODE_CLIENTS + "/");
const svix = require("svix");
const standard = require("standardwebhooks");
const Replicate = require("replicate");
const { TINTYPE_URL: url, TINTYPE_KEY: key } = process.env;

const told = [];
const waiting = [];
const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    response.writeHead(204).end();
    const one = { path: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() };
    const next = waiting.shift();
    if (next) next(one);
    else told.push(one);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const here = `http://127.0.0.1:${server.address().port}`;
const next = () => (told.length ? Promise.resolve(told.shift()) : new Promise((resolve) => waiting.push(resolve)));
const nextAt = async (path) => {
  for (;;) {
    const one = await next();
    if (one.path === path) return one;
  }
};
const call = async (method, path, body) => {
  const answer = await fetch(url + path, { method, headers: { authorization: `Bearer ${key}` }, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.headers.get("content-length") === "0" ? null : answer.json().catch(() => null);
};

const hook = await call("POST", "/api/v1/webhooks", { url: here + "/native", events: ["job.completed"] });
await call("POST", "/api/v1/jobs", { model: "tintype/shapes", prompt: "a red circle" });
const one = await nextAt("/native");
for (const Webhook of [svix.Webhook, standard.Webhook]) {
  const verifier = new Webhook(hook.secret);
  verifier.verify(one.body, one.headers);
  assert.throws(() => verifier.verify(one.body + " ", one.headers));
  assert.throws(() => new Webhook("whsec_" + Buffer.alloc(24).toString("base64")).verify(one.body, one.headers));
}

const replicate = new Replicate({ auth: key, baseUrl: url + "/replicate/v1", useFileOutput: false });
const secret = (await replicate.webhooks.default.secret.get()).key;
await replicate.predictions.create({
  model: "tintype/shapes", input: { prompt: "a star" }, webhook: here + "/replicate", webhook_events_filter: ["completed"],
});
const theirs = await nextAt("/replicate");
const request = new Request(here, { method: "POST", headers: theirs.headers, body: theirs.body });
assert.ok(await Replicate.validateWebhook(request, secret));
const forged = new Request(here, { method: "POST", headers: theirs.headers, body: theirs.body + " " });
assert.ok(!(await Replicate.validateWebhook(forged, secret)));
server.close();
server.closeAllConnections();
console.log("svix, standardwebhooks, replicate ok");
