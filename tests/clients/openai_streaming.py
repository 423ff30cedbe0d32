"""The unmodified `openai` package streams: partial pictures, then the whole one; a refusal comes before the stream begins."""
import base64
import sys

import openai

client = openai.OpenAI()


def check(stream, name):
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[-1] == f"{name}.completed" and kinds.count(kinds[-1]) == 1, kinds
    partials = events[:-1]
    assert 1 <= len(partials) <= 2 and all(event.type == f"{name}.partial_image" for event in partials), kinds
    assert [event.partial_image_index for event in partials] == list(range(len(partials)))
    assert all(base64.b64decode(event.b64_json) and event.output_format == "jpeg" for event in partials)
    assert base64.b64decode(events[-1].b64_json).startswith(b"\x89PNG") and events[-1].usage.total_tokens == 0
    assert events[-1].size == "64x64"


check(
    client.images.generate(model="tintype/shapes", prompt="a red circle", stream=True, partial_images=2), "image_generation"
)
start = open(sys.argv[1] + "/start.png", "rb")
check(client.images.edit(model="tintype/shapes", image=start, prompt="a star", stream=True, partial_images=2), "image_edit")

without = [event.type for event in client.images.generate(model="tintype/shapes", prompt="a red circle", stream=True)]
assert without == ["image_generation.completed"], without

try:
    client.images.generate(model="tintype/shapes", prompt="p", stream=True, partial_images=9)
    raise SystemExit("nine partial pictures were accepted")
except openai.BadRequestError as error:
    assert error.param == "partial_images", error.param
print("openai", openai.__version__, "ok")
