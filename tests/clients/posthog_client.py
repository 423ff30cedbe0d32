"""PostHog's own client: says what we say, so that both can be compared, and reads the answers we read."""

import os
import sys

from posthog import Posthog

host, account = os.environ["POSTHOG_HOST"], sys.argv[-1]
client = Posthog("phc_project", host=host, sync_mode=True, disable_geoip=True)
client.capture(
    "image_generated",
    distinct_id=account,
    properties={"model": "tintype/shapes", "prompt_length": 12, "credits_spent": 0.016, "$process_person_profile": False},
)
flags = client.get_all_flags(account)
assert flags == {"faster-lane": True, "new-sampler": "euler", "retired": False}, flags
client.shutdown()
print("ok")
