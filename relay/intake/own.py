"""Mail that the relay writes about other mail: composed here, stored by whoever has to write down more with it."""

from __future__ import annotations

from relay.channel.frames import MAX_HEADER
from relay.intake.submission import Intake
from relay.listener.door import Terms
from relay.listener.draft import Draft
from relay.message.envelope import Envelope
from relay.message.values import Origin
from relay.queue.store import Parcel

#: What its door is called, as ZoneMTA calls it.
LISTENER = "bounce"
_ORIGIN = Origin(LISTENER, "127.0.0.1", "localhost", "LOCAL")
_TERMS = Terms(x_originating_ip=False, heed=False)


class OwnMail:
    """The door for it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def parcel(self, text: bytes, envelope: Envelope, zone: str) -> Parcel:
        """A whole message and its deliveries, to be stored as they are; by `zone` where there is one of that name. The
        body of `text`, whose lines end with CRLF, fits into one chunk. Raises Refused."""
        intake = self._intake
        draft = Draft(MAX_HEADER, intake.hashes, _too_long)
        draft.write(text)
        block, body = draft.end()
        composed = intake.composer.compose(
            intake.ids.next(), envelope, block, body, _ORIGIN, _TERMS, intake.now(), zone=zone
        )
        events = intake.steps.queued(composed.message, composed.deliveries)
        return Parcel(composed.message, composed.deliveries, composed.body, events)

    def stored(self, parcel: Parcel) -> None:
        """It is on disk: make it due."""
        self._intake.taken(parcel.message, parcel.deliveries, parcel.last_chunk)


def _too_long(number: int, chunk: bytes) -> None:
    raise ValueError("more than one chunk")
