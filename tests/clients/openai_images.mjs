// The unmodified `openai` package of Node: generate, edit, models, and errors as its users see them.
import assert from "node:assert";
import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.TINTYPE_NODE_CLIENTS + "/");
const { default: OpenAI, toFile } = require("openai");
const client = new OpenAI();

const made = await client.images.generate({ model: "tintype/shapes", prompt: "a red circle", n: 2, response_format: "b64_json" });
assert.equal(made.data.length, 2);
assert.equal(Buffer.from(made.data[0].b64_json, "base64").subarray(1, 4).toString(), "PNG");

const start = await toFile(fs.createReadStream(process.argv[2] + "/start.png"), "start.png", { type: "image/png" });
const edited = await client.images.edit({ model: "tintype/shapes", image: start, prompt: "a blue star" });
assert.equal((await fetch(edited.data[0].url)).headers.get("content-type"), "image/png");

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("tintype/shapes"), names);

await assert.rejects(client.images.generate({ model: "nobody/knows", prompt: "p" }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
  return true;
});
console.log("openai ok");
