// The unmodified `openai` package of Node streams partial pictures.
import assert from "node:assert";
import { createRequire } from "node:module";

const require = createRequire(process.env.TINTYPE_NODE_CLIENTS + "/");
const { default: OpenAI } = require("openai");
const client = new OpenAI();

const stream = await client.images.generate({ model: "tintype/shapes", prompt: "a red circle", stream: true, partial_images: 1 });
const kinds = [];
for await (const event of stream) {
  kinds.push(event.type);
  assert.ok(event.b64_json.length > 0);
}
assert.deepEqual(kinds, ["image_generation.partial_image", "image_generation.completed"]);
console.log("openai ok");
