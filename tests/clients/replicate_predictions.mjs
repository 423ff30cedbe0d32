// The unmodified `replicate` package of Node against Tintype.
import assert from "node:assert";
import { createRequire } from "node:module";
import fs from "node:fs";

const require = createRequire(process.env.TINTYPE_NODE_CLIENTS + "/");
const Replicate = require("replicate");
const base = process.env.TINTYPE_URL + "/replicate/v1";
const replicate = new Replicate({ auth: process.env.TINTYPE_KEY, baseUrl: base, useFileOutput: false });

const model = await replicate.models.get("tintype", "shapes");
const version = model.latest_version.id;

for (const ref of ["tintype/shapes", `tintype/shapes:${version}`]) {
  const output = await replicate.run(ref, { input: { prompt: "a red circle", num_outputs: 2 } });
  assert.equal(output.length, 2, JSON.stringify(output));
  assert.equal((await fetch(output[0])).headers.get("content-type"), "image/png");
}

// Polling instead of a held-open request.
const polled = await replicate.run("tintype/shapes", { input: { prompt: "a star" }, wait: { mode: "poll", interval: 50 } });
assert.equal(polled.length, 1);

const made = await replicate.predictions.create({ version, input: { prompt: "a white star", seed: 7 } });
const done = await replicate.wait(made, { interval: 50 });
assert.equal(done.status, "succeeded");
assert.equal((await replicate.predictions.get(made.id)).id, made.id);

const events = [];
for await (const event of replicate.stream("tintype/shapes", { input: { prompt: "a green square" } })) events.push(event);
assert.deepEqual(events.map((event) => event.event), ["output", "done"]);

const picture = fs.readFileSync(process.argv[2] + "/start.png");
const from = await replicate.run("tintype/shapes", { input: { prompt: "a blue star", image: picture } });
assert.equal(from.length, 1);

const cancelled = await replicate.predictions.cancel((await replicate.predictions.create({ model: "tintype/shapes", input: { prompt: "p" } })).id);
assert.ok(["canceled", "starting", "processing", "succeeded"].includes(cancelled.status));

let pages = 0;
for await (const page of replicate.paginate(replicate.predictions.list)) {
  assert.ok(page.length > 0);
  pages += 1;
}
assert.equal(pages, 1);

await assert.rejects(
  replicate.run("tintype/shapes", { input: { prompt: "p", num_inference_steps: 0 } }),
  (error) => error.response.status === 400,
);
console.log("replicate ok");
