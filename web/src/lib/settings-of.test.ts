// Settings read back out of files.
import { describe, expect, test } from "vitest";

import { settingsOf } from "./settings-of";

const text = (words: string) => new TextEncoder().encode(words);
const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

function chunk(kind: string, body: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, body.length);
  return join(length, text(kind), body, new Uint8Array(4));
}

const png = (...chunks: Uint8Array[]) => join(Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), ...chunks);
const said = JSON.stringify({
  seed: 7,
  request: { model: "tintype/shapes", prompt: "ein Kreis & <Stern> für dich", steps: 20, width: 64, height: 64 },
});

describe("settings of a file", () => {
  test("ours in a PNG win over those for other tools", () => {
    const file = png(
      chunk("tEXt", text("parameters\0something else\nSteps: 5, Seed: 9")),
      chunk("iTXt", join(text("tintype\0"), Uint8Array.of(0, 0, 0, 0), text(said))),
    );
    expect(settingsOf(file)).toMatchObject({ prompt: "ein Kreis & <Stern> für dich", seed: 7, steps: 20, width: 64 });
  });

  test("ours in the XMP of any other file", () => {
    const packet = said.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    const file = text(
      `RIFF..WEBP<tintype:request xmlns:tintype="https://tintype.dev/ns/1.0/">${packet}</tintype:request>`,
    );
    expect(settingsOf(file)).toMatchObject({
      prompt: "ein Kreis & <Stern> für dich",
      model: "tintype/shapes",
      seed: 7,
    });
  });

  test("A1111's, with what the API would refuse left out", () => {
    const words =
      "a zebra\nin the sun\nNegative prompt: stripes\nSteps: 20, CFG scale: 7.5, Seed: 42, Size: 513x768, Model: x";
    expect(settingsOf(png(chunk("tEXt", text(`parameters\0${words}`))))).toEqual({
      prompt: "a zebra\nin the sun",
      negativePrompt: "stripes",
      images: 1,
      steps: 20,
      guidanceScale: 7.5,
      seed: 42,
      width: null,
      height: 768,
    });
  });

  test.each([
    ["nothing", new Uint8Array()],
    ["no picture", text("hello")],
    ["a picture without settings", png(chunk("IHDR", new Uint8Array(13)))],
    ["a chunk that claims more than there is", png(chunk("tEXt", text("parameters"))).subarray(0, 14)],
    ["JSON of something else", png(chunk("iTXt", join(text("tintype\0"), Uint8Array.of(0, 0, 0, 0), text("[1]"))))],
  ])("%s says nothing", (_, file) => {
    expect(settingsOf(file)).toBeNull();
  });
});
