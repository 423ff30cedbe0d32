"""The unmodified `stripe` package beside our webhooks: prints a body and the header it signs it with, then believes or
refuses a header of ours.

Usage: stripe_signer.py SECRET SECONDS sign | stripe_signer.py SECRET SECONDS verify HEADER BODY
"""
import json
import sys

import stripe

secret, seconds, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if what == "sign":
    body = json.dumps(
        {"id": "evt_sdk", "object": "event", "type": "charge.succeeded", "created": seconds, "livemode": False,
         "data": {"object": {"id": "ch_sdk", "object": "charge"}}}
    )
    signed = stripe.WebhookSignature._compute_signature(f"{seconds}.{body}", secret)
    print(f"t={seconds},v1={signed}")
    print(body)
else:
    header, body = sys.argv[4], sys.argv[5]
    event = stripe.Webhook.construct_event(body, header, secret)
    assert event.id == json.loads(body)["id"], event
    try:
        stripe.Webhook.construct_event(body + " ", header, secret)
    except stripe.SignatureVerificationError:
        print("believed")
