"""A mail server that keeps what it is sent: `smtp_sink.py FOLDER`. Prints its port, then writes each mail as JSON to a file
of its own, whole or not at all. Addresses choose how it goes: `later@` is put off twice before it is taken, `never@` is refused.
"""
import asyncio
import email
import email.policy
import itertools
import json
import pathlib
import sys

from aiosmtpd.controller import UnthreadedController

folder = pathlib.Path(sys.argv[1])


class Sink:
    def __init__(self):
        self.numbers = itertools.count()
        self.put_off = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("never@"):
            return "550 no such mailbox"
        if address.startswith("later@") and self.put_off < 2:
            self.put_off += 1
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        kept = {
            "to": envelope.rcpt_tos[0],
            "from": str(mail["From"]),
            "subject": str(mail["Subject"]),
            "messageId": str(mail["Message-ID"]),
            "text": mail.get_content(),
        }
        name = f"{next(self.numbers):04}"
        scratch = folder / f"{name}.new"
        scratch.write_text(json.dumps(kept))
        scratch.rename(folder / f"{name}.json")
        return "250 kept"


loop = asyncio.new_event_loop()
controller = UnthreadedController(Sink(), hostname="127.0.0.1", port=0, loop=loop)
controller.begin()
print(controller.server.sockets[0].getsockname()[1], flush=True)
loop.run_forever()
