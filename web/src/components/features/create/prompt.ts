// How long a prompt may be here: the studio's own setting, inside the API's limits.

export const PROMPT_MIN = 10;
export const PROMPT_MAX = 500;

/** How much the prompt is too short (negative) or too long (positive); 0 when it fits. Counted as people count. */
export function promptMisfit(text: string): number {
  const length = [...text.trim()].length;
  if (length < PROMPT_MIN) return length - PROMPT_MIN;
  return Math.max(0, length - PROMPT_MAX);
}
