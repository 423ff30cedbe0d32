"""Webhooks as their receivers check them: Standard Webhooks', Svix's and Replicate's own verifiers accept what Tintype
signed, and nothing that was changed, is old, or was signed for somebody else."""
import http.server
import json
import os
import queue
import threading
import urllib.request

import replicate
import standardwebhooks
import svix
from replicate.webhook import Webhooks as ReplicateWebhooks

URL, KEY = os.environ["TINTYPE_URL"], os.environ["TINTYPE_KEY"]
told = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        told.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body.decode()))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
here = f"http://127.0.0.1:{server.server_address[1]}"


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"authorization": f"Bearer {KEY}"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def refused(check):
    try:
        check()
    except Exception as error:
        assert "erif" in type(error).__name__ or "ignature" in type(error).__name__ or isinstance(error, ValueError), repr(error)
        return
    raise SystemExit("a verifier accepted what it must not")


hook = call("POST", "/api/v1/webhooks", {"url": here + "/native", "events": ["job.completed"]})
call("POST", "/api/v1/jobs", {"model": "tintype/shapes", "prompt": "a red circle"})
path, headers, body = told.get(timeout=30)
assert path == "/native" and json.loads(body)["type"] == "job.completed"

for verifier in [standardwebhooks.Webhook(hook["secret"]), svix.Webhook(hook["secret"])]:
    verifier.verify(body, headers)
    refused(lambda: verifier.verify(body + " ", headers))
    refused(lambda: verifier.verify(body, {**headers, "webhook-id": "msg_other"}))
    refused(lambda: verifier.verify(body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}))
other = call("POST", "/api/v1/webhooks", {"url": here + "/other"})
refused(lambda: standardwebhooks.Webhook(other["secret"]).verify(body, headers))

# After a rotation both secrets are good.
rotated = call("POST", f"/api/v1/webhooks/{hook['id']}/rotate")
call("POST", f"/api/v1/webhooks/{hook['id']}/test")
while True:
    path, headers, body = told.get(timeout=30)
    if path == "/native":
        break
for secret in [hook["secret"], rotated["secret"]]:
    standardwebhooks.Webhook(secret).verify(body, headers)

# Replicate's: one secret an account, events filtered a prediction.
client = replicate.Client(api_token=KEY, base_url=URL + "/replicate")
secret = client.webhooks.default.secret()
client.predictions.create(
    version="tintype/shapes", input={"prompt": "a star"}, webhook=here + "/replicate", webhook_events_filter=["completed"]
)
while True:
    path, headers, body = told.get(timeout=30)
    if path == "/replicate":
        break
prediction = json.loads(body)
assert prediction["status"] == "succeeded" and len(prediction["output"]) == 1, prediction
ReplicateWebhooks.validate(headers=headers, body=body, secret=secret)
refused(lambda: ReplicateWebhooks.validate(headers=headers, body=body + " ", secret=secret))
standardwebhooks.Webhook(secret.key).verify(body, headers)

print("standardwebhooks, svix, replicate ok")
