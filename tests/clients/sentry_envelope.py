"""Reads envelopes with the parser of Sentry's own client, and events with the schema of Sentry's own relay."""

import json
import sys

from sentry_relay.processing import StoreNormalizer
from sentry_sdk.envelope import Envelope

for path in sys.argv[1:]:
    with open(path, "rb") as file:
        envelope = Envelope.deserialize(file.read())
    assert len(envelope.items) == 1, envelope.items
    event = envelope.items[0].get_event()
    assert event is not None and envelope.items[0].type == "event"
    assert envelope.headers["event_id"] == event["event_id"]
    normal = StoreNormalizer(project_id=42, is_renormalize=False).normalize_event(raw_event=json.dumps(event))
    # Where the relay cannot read a field it says so, and drops it.
    assert "_meta" not in normal, normal["_meta"]
    assert "errors" not in normal, normal["errors"]
    for field in ("event_id", "level", "logger", "release", "environment", "platform"):
        assert normal[field] == event[field], (field, normal.get(field), event[field])
    assert normal["logentry"]["formatted"] == event["logentry"]["formatted"]
    assert normal["extra"] == event["extra"]
    assert normal["sdk"]["name"] == event["sdk"]["name"]
print("ok")
