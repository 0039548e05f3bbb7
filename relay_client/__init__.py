"""A client of Zonerelay's API, in two forms with the same methods: `Client` waits, `AsyncClient` is awaited.

    >>> from relay_client import Client, Message
    >>> with Client("http://127.0.0.1:8080") as relay:
    ...     print(relay.messages.send(Message(from_="me@example.com", to="you@example.org", text="Hello.")).id)
"""

from relay_client.asynchronous import AsyncClient
from relay_client.blocking import Client
from relay_client.errors import ApiProblem, NoAnswer, RelayError
from relay_client.messages import Attachment, Mailbox, Message
from relay_client.queue import Wanted

__all__ = [
    "ApiProblem",
    "AsyncClient",
    "Attachment",
    "Client",
    "Mailbox",
    "Message",
    "NoAnswer",
    "RelayError",
    "Wanted",
]
