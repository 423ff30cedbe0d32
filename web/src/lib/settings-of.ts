// The settings inside a picture's file: ours (a text chunk of a PNG, the XMP of others), else A1111's `parameters`, which half the
// field's tools write. Pure; nothing in a file is trusted to be what it says.
import type { JobRequest } from "@/lib/api/client";
import { LIMITS } from "@/lib/api/limits.gen";
import { type Draft, draftOfSettings } from "@/stores/draft";

/** Largest file that is looked into. */
export const FILE_MAX = 64 * 1024 * 1024;

/** What a file says of how it was made, as far as the form can take it; null where it says nothing. */
export function settingsOf(bytes: Uint8Array): Partial<Draft> | null {
  const texts = pngTexts(bytes);
  const json = texts.get("tintype") ?? xmpRequest(texts.get("XML:com.adobe.xmp") ?? utf8(bytes));
  const ours = json === undefined ? null : fromJson(json);
  const parameters = texts.get("parameters");
  return ours ?? (parameters === undefined ? null : fromParameters(parameters));
}

const utf8 = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const latin1 = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const SIGNATURE = "\x89PNG\r\n\x1a\n";

/** The uncompressed text chunks of a PNG (PNG specification, 11.3.3), by keyword. */
function pngTexts(bytes: Uint8Array): Map<string, string> {
  const texts = new Map<string, string>();
  if (String.fromCharCode(...bytes.subarray(0, 8)) !== SIGNATURE) return texts;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = latin1(bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    const end = body.indexOf(0);
    const name = latin1(body.subarray(0, Math.max(0, end)));
    if (kind === "tEXt" && end > 0) texts.set(name, latin1(body.subarray(end + 1)));
    // Two bytes say whether it is packed; then a language and a translated keyword, each ended by a zero.
    if (kind === "iTXt" && end > 0 && body[end + 1] === 0) {
      const translated = body.indexOf(0, end + 3);
      const text = translated < 0 ? -1 : body.indexOf(0, translated + 1);
      if (text >= 0) texts.set(name, utf8(body.subarray(text + 1)));
    }
    at += 12 + length;
  }
  return texts;
}

/** Our JSON out of an XMP packet. */
function xmpRequest(text: string): string | undefined {
  const found = /<tintype:request [^>]*>([^<]*)<\/tintype:request>/.exec(text)?.[1];
  return found?.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

const isText = (value: unknown): value is string => typeof value === "string";

function fromJson(text: string): Partial<Draft> | null {
  try {
    const { request, seed } = JSON.parse(text) as { request?: JobRequest; seed?: unknown };
    if (!isText(request?.prompt) || !isText(request.model)) return null;
    return draftOfSettings(request, typeof seed === "number" ? seed : null);
  } catch {
    return null;
  }
}

/** A1111's: the prompt, `Negative prompt: ..`, and a last line of `Name: value` pairs. Its model and sampler have names of its own. */
function fromParameters(text: string): Partial<Draft> | null {
  const lines = text.split("\n");
  const last = /^Steps: \d+/.test(lines.at(-1) ?? "") ? (lines.pop() ?? "") : "";
  const [prompt = "", negativePrompt = ""] = lines.join("\n").split(/\n?Negative prompt: /);
  if (prompt.trim() === "") return null;
  const said = (name: string) => new RegExp(`(?:^|, )${name}: ([^,]+)`).exec(last)?.[1];
  const [width, height] = (said("Size") ?? "").split("x");
  return {
    prompt: prompt.trim(),
    negativePrompt: negativePrompt.trim(),
    images: 1,
    steps: within("steps", said("Steps")),
    guidanceScale: within("guidanceScale", said("CFG scale")),
    seed: within("seed", said("Seed")),
    width: within("width", width),
    height: within("height", height),
  };
}

/** A number the API would take, else null. */
function within(name: keyof typeof LIMITS, text: string | undefined): number | null {
  const limits: { min?: number; max?: number; multipleOf?: number } = LIMITS[name];
  const value = Number(text || Number.NaN);
  const { min = -Infinity, max = Infinity, multipleOf } = limits;
  const fits = value >= min && value <= max && (multipleOf === undefined || value % multipleOf === 0);
  return fits ? value : null;
}
