"""The unmodified `openai` package changes a picture, with and without a mask; address and key come from its own variables."""
import base64
import sys

import openai

client = openai.OpenAI()
start = sys.argv[1] + "/start.png"
edited = client.images.edit(model="tintype/shapes", image=open(start, "rb"), prompt="a blue star", response_format="b64_json")
assert base64.b64decode(edited.data[0].b64_json).startswith(b"\x89PNG")
several = client.images.edit(model="tintype/shapes", image=[open(start, "rb")], prompt="a blue star", n=2)
assert len(several.data) == 2 and several.data[0].url
print("openai", openai.__version__, "ok")
