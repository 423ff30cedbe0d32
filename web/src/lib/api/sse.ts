// Server-sent events over `fetch`: `EventSource` tells nothing of refusals and waits seconds before it comes back.

/** Takes bytes as they come and gives the data of every whole event. */
export class EventReader {
  private rest = "";

  push(text: string): string[] {
    this.rest += text;
    const events = this.rest.split(/\r?\n\r?\n/);
    this.rest = events.pop() ?? "";
    return events.map(dataOf).filter((data) => data !== "");
  }
}

const dataOf = (event: string): string =>
  event
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");

/** Reads events until the server ends the stream; throws when it cannot be opened or breaks off. */
export async function readEvents(
  path: string,
  signal: AbortSignal,
  opened: () => void,
  told: (data: string) => void,
): Promise<void> {
  const response = await fetch(path, { signal, headers: { accept: "text/event-stream" }, cache: "no-store" });
  if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`);
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    events.push(value).forEach(told);
  }
}
