// Events are whole however the bytes are cut.
import { expect, test } from "vitest";

import { EventReader } from "./sse";

test("events are whole however the bytes are cut", () => {
  const text = ':alive\n\ndata: {"a":1}\n\nevent: x\r\ndata: {"b":2}\r\n\r\ndata: cut';
  for (const size of [1, 2, 5, 100]) {
    const reader = new EventReader();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...reader.push(text.slice(at, at + size)));
    expect(events, `in pieces of ${size}`).toEqual(['{"a":1}', '{"b":2}']);
  }
});
