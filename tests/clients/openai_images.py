"""The unmodified `openai` package against Tintype; address and key come from its own environment variables.

Writes 0.png, 1.png, 2.png into the folder named, by URL and by base64, and checks what errors look like to its users.
edited.png is 0.png, edited where mask.png is transparent: in its left half.
"""
import base64
import pathlib
import sys
import urllib.request

import openai

folder = pathlib.Path(sys.argv[1])
client = openai.OpenAI()

models = [model.id for model in client.models.list()]
assert "tintype/shapes" in models, models

by_url = client.images.generate(
    model="tintype/shapes", prompt="a red circle on a blue background", size="64x64", extra_body={"seed": 1}
)
with urllib.request.urlopen(by_url.data[0].url, timeout=30) as answer:
    (folder / "0.png").write_bytes(answer.read())

prompts = ["a green square on a white background", "a white triangle on a black background"]
for number, prompt in enumerate(prompts, start=1):
    pictures = client.images.generate(
        model="tintype/shapes", prompt=prompt, response_format="b64_json", extra_body={"seed": 3, "steps": 20}
    )
    (folder / f"{number}.png").write_bytes(base64.b64decode(pictures.data[0].b64_json))

two = client.images.generate(model="tintype/shapes", prompt=prompts[0], n=2, response_format="b64_json")
assert len(two.data) == 2 and two.data[0].b64_json != two.data[1].b64_json

edited = client.images.edit(
    model="tintype/shapes",
    image=(folder / "0.png").open("rb"),
    mask=(folder / "mask.png").open("rb"),
    prompt="a green square on a white background",
    response_format="b64_json",
    extra_body={"seed": 5},
)
(folder / "edited.png").write_bytes(base64.b64decode(edited.data[0].b64_json))

try:
    client.images.edit(model="tintype/shapes", image=b"no picture", prompt="a red circle")
    raise SystemExit("an edit of what is no picture was accepted")
except openai.BadRequestError as error:
    assert error.param == "image", error.param

try:
    client.images.generate(model="nobody/knows", prompt="a red circle")
    raise SystemExit("an unknown model was accepted")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error.code

try:
    client.images.generate(model="tintype/shapes", prompt="a red circle", size="7x7")
    raise SystemExit("an impossible size was accepted")
except openai.BadRequestError as error:
    assert error.param == "size", error.param

try:
    openai.OpenAI(api_key="tt_00000000_wrong").models.list()
    raise SystemExit("a wrong key was accepted")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error.code

print("openai", openai.__version__, "ok")
