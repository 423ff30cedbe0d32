// What was written before comes back by the arrow keys, and what is being written is never lost to them.
import { expect, test } from "vitest";

import { withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const visit = withBrowser();
const FIRST = "a red circle on a blue background";
const SECOND = "a white star on a purple background";

test("prompts come back by the arrow keys, the newest first, also after a reload", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, FIRST, 1);
  await makePicture(somebody, SECOND, 1);
  await page.reload();
  const prompt = page.getByLabel("Prompt", { exact: true });
  const reads = (words: string) => expect.poll(() => prompt.inputValue()).toBe(words);
  await reads(SECOND);

  // In what somebody writes the arrows move the caret.
  await prompt.press("ArrowUp");
  await reads(SECOND);
  await prompt.fill("");
  await prompt.press("ArrowUp");
  await reads(SECOND);
  await prompt.press("ArrowUp");
  await reads(FIRST);
  // There is nothing older.
  await prompt.press("ArrowUp");
  await reads(FIRST);
  await prompt.press("ArrowDown");
  await reads(SECOND);
  await prompt.press("ArrowDown");
  await reads("");
  await prompt.press("ArrowDown");
  await reads("");

  // What came back is one's own as soon as a letter is written.
  await prompt.press("ArrowUp");
  await prompt.press("End");
  await prompt.pressSequentially("!");
  await reads(`${SECOND}!`);
  await prompt.press("ArrowUp");
  await reads(`${SECOND}!`);

  // A prompt that is used again is remembered once.
  await makePicture(somebody, FIRST, 1);
  await prompt.fill("");
  for (const words of [FIRST, SECOND, SECOND]) {
    await prompt.press("ArrowUp");
    await reads(words);
  }
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
