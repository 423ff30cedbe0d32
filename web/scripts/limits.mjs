// Takes the limits of a request out of openapi.json, so that a form cannot ask for what the API refuses.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const web = new URL("..", import.meta.url);
const document = JSON.parse(readFileSync(new URL("openapi.json", web), "utf8"));
const { GenerationRequest, Sampler, InitImage, Password } = document.components.schemas;
const properties = { ...GenerationRequest.properties, strength: InitImage.properties.strength, password: Password };

const limits = Object.entries(properties).flatMap(([name, schema]) => {
  const kept = {
    min: schema.minimum ?? schema.minLength,
    max: schema.maximum ?? schema.maxLength,
    multipleOf: schema.multipleOf,
  };
  const known = Object.entries(kept).filter(([, value]) => value !== undefined);
  return known.length > 0 ? [[name, Object.fromEntries(known)]] : [];
});
const samplers = (Sampler.oneOf ?? Sampler.anyOf).flatMap((one) => one.enum ?? [one.const]);

const text = `// Written by scripts/limits.mjs from openapi.json.
export const LIMITS = ${JSON.stringify(Object.fromEntries(limits), null, 2)} as const;
export const SAMPLERS = ${JSON.stringify(samplers)} as const;
`;
writeFileSync(fileURLToPath(new URL("src/lib/api/limits.gen.ts", web)), text);
