"""The unmodified `replicate` package against Tintype: run, create, wait, cancel, files, stream, and errors as its users see them."""
import io
import os
import sys

import replicate
from replicate.exceptions import ReplicateError

client = replicate.Client(api_token=os.environ["TINTYPE_KEY"], base_url=os.environ["TINTYPE_URL"] + "/replicate")

model = client.models.get("tintype/shapes")
assert model.owner == "tintype" and model.latest_version is not None
version = model.versions.get(model.latest_version.id)

# A name, and a name with a version: `run` takes both ways.
for ref in ["tintype/shapes", f"tintype/shapes:{version.id}"]:
    output = client.run(ref, input={"prompt": "a red circle", "num_outputs": 2}, use_file_output=False)
    output = list(output)
    assert len(output) == 2 and all(url.startswith("http") for url in output), output

prediction = client.predictions.create(version=version, input={"prompt": "a white star", "seed": 7})
prediction.wait()
assert prediction.status == "succeeded", prediction
assert prediction.metrics["predict_time"] > 0 and prediction.completed_at and prediction.logs
# URLs are signed anew each time.
assert len(client.predictions.get(prediction.id).output) == len(prediction.output) == 1

events = list(prediction.stream())
kinds = [event.event for event in events]
assert [str(kind.value if hasattr(kind, "value") else kind) for kind in kinds] == ["output", "done"], kinds
assert events[0].data.split("?")[0] == prediction.output[0].split("?")[0], events

page = client.predictions.list()
assert prediction.id in [item.id for item in page.results]

# A picture to start from: the client uploads the file first.
picture = client.run(
    "tintype/shapes", input={"prompt": "a blue star", "image": io.BytesIO(open(sys.argv[1] + "/start.png", "rb").read())},
    use_file_output=False,
)
assert len(list(picture)) == 1
assert len(client.files.list()) >= 1

deployed = client.deployments.predictions.create("tintype/shapes", input={"prompt": "a red circle"})
deployed.cancel()
deployed.reload()
assert deployed.status in ("canceled", "succeeded", "starting", "processing"), deployed.status

try:
    client.run("tintype/shapes", input={"prompt": "p", "num_inference_steps": 0})
    raise SystemExit("an impossible number of steps was accepted")
except ReplicateError as error:
    assert error.status == 400 and "steps" in str(error.detail), error

try:
    replicate.Client(api_token="tt_00000000_wrong", base_url=os.environ["TINTYPE_URL"] + "/replicate").models.get("tintype/shapes")
    raise SystemExit("a wrong key was accepted")
except ReplicateError as error:
    assert error.status == 401, error

print("replicate ok")
