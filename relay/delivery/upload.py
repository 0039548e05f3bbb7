"""The body of a request while it leaves: a form around the text of a message, pulled no faster than the host reads."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from relay.delivery.form import Form
from relay.delivery.text import Text


@implementer(IBodyProducer)
class Upload:
    """Hands `text` on as it comes. What asks for pieces is told of by the text's carrier; the pieces it carries are to
    be given back here, by `write` and `end`.

    Attributes:
        length: of the whole, in bytes.
    """

    def __init__(self, form: Form, text: Text) -> None:
        self.length = len(form.before) + text.size + len(form.after)
        self._form = form
        self._text = text
        self._consumer: Any = None
        self._done: Deferred[None] = Deferred()
        self._stream: Any = None
        self._paused = self._pumping = self._wanted = False

    def write(self, data: bytes) -> None:
        """A piece of the text."""
        self._consumer.write(data)
        self._pump()

    def end(self, data: bytes) -> None:
        """The last piece: with it the form is complete, in one write."""
        self._stream = None
        self._consumer.write(data + self._form.after)
        self._done.callback(None)

    # -- for the HTTP client

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self._consumer = consumer
        consumer.write(self._form.before)
        self._text.begin(self)  # type: ignore[arg-type]
        return self._done

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        self._stream = None
        self._text.stop()

    # -- for the text, which gives the next piece when it is asked

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._stream = producer
        self._pump()

    def unregisterProducer(self) -> None:
        self._stream = None

    def _pump(self) -> None:
        """Ask for a piece where there is room. One that is there at once asks for the next from here, and not from
        within itself."""
        self._wanted = True
        if self._pumping:
            return
        self._pumping = True
        while self._wanted and self._stream is not None and not self._paused:
            self._wanted = False
            self._stream.resumeProducing()
        self._pumping = False
