"""The list as CSV (RFC 4180): read from a stream line by line, and written.

The columns are `recipient`, an address or a domain, `tenant`, `reason`, `source`, `created`, `expires`; all but the
first may be empty, or missing. A first line that names columns says in which order they come, and what it names beside
is passed over, so that lists of other senders can be read; without it they come as above. Where a first line names
columns, and none that has recipients, nobody is guessed from the others. A record is one line.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from relay.message.flow import LONGEST, known_as
from relay.suppression import whom
from relay.suppression.entry import SOURCES, Entry, Source, fit_reason

COLUMNS = ("recipient", "tenant", "reason", "source", "created", "expires")
#: What others call the first one, in whatever case and with whatever between the words.
_RECIPIENT = frozenset(
    ("recipient", "address", "domain", "email", "emailaddress", "recipientemail", "recipientaddress")
)
_NO_LETTERS = re.compile("[^a-z]+")
#: Seconds since the epoch, as others write moments.
_seconds = re.compile("[0-9]{9,11}", re.ASCII).fullmatch
#: Longest line (bytes).
LONGEST_LINE = 4096
_LATEST = 253402300799999  # the end of the year 9999 (ms)


#: The line that names the columns.
HEADING = ",".join(COLUMNS).encode() + b"\r\n"


class Line(NamedTuple):
    """A line with its number, from 1: an entry, or what is wrong with it."""

    number: int
    entry: Entry | None
    fault: str = ""


class Reader:
    """Takes a file in any split."""

    def __init__(self, now: Callable[[], int], tenant: str = "", reason: str = "", alone: bool = False) -> None:
        """`now` gives ms since the epoch; `tenant` and `reason` are for lines that have none. `alone`: no line may name
        another tenant."""
        self._now = now
        self._tenant = tenant
        self._alone = alone
        self._reason = reason
        self._rest = b""
        self._skipping = False  # The rest of a line that is too long.
        self._number = 0
        self._columns: tuple[str, ...] = ()

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in it, each with an entry or a fault; empty ones are passed over."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = b""
        for line in lines:
            yield from self._line(line)
        if len(rest) > LONGEST_LINE and not self._skipping:
            yield from self._too_long()
            self._skipping = True
        self._rest = b"" if self._skipping else rest

    def end(self) -> Iterator[Line]:
        """What the last line holds, should it have no end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest)

    def _too_long(self) -> Iterator[Line]:
        self._number += 1
        yield Line(self._number, None, f"longer than {LONGEST_LINE} bytes")

    def _line(self, data: bytes) -> Iterator[Line]:
        if self._skipping:
            self._skipping = False
            return
        if len(data) > LONGEST_LINE:
            yield from self._too_long()
            return
        self._number += 1
        try:
            cells = _cells(data.removeprefix(b"\xef\xbb\xbf") if self._number == 1 else data)
            if not any(cells):
                return
            if not self._columns:
                named = _named(cells)
                self._columns = named or COLUMNS
                if named:
                    return
                if cells[0] and not {"@", "."} & set(cells[0]):
                    # Names that nobody knows. One column has what it has; which of several does, who can say.
                    self._columns = COLUMNS[:1] if len(cells) == 1 else ("",)
                    raise ValueError("expected a recipient, or names of columns: recipient, address, domain or email")
            yield Line(self._number, self._entry(cells))
        except ValueError as error:
            yield Line(self._number, None, str(error))

    def _entry(self, cells: list[str]) -> Entry:
        """Raises ValueError."""
        given = {name: cell for name, cell in zip(self._columns, cells, strict=False) if name and cell}
        recipient = given.get("recipient", "")
        if not recipient:
            raise ValueError("no recipient")
        try:
            about = whom.address(recipient) if "@" in recipient[1:] else whom.domain(recipient)
        except ValueError as error:
            raise ValueError(f"recipient: {error}") from None
        created, expires = _moment("created", given), _moment("expires", given)
        if expires and expires <= self._now():
            raise ValueError("expires: it has passed")
        return Entry(
            about,
            self._whose(given["tenant"]) if "tenant" in given else self._tenant,
            fit_reason(given.get("reason", self._reason)),
            _source(given.get("source", "import")),
            min(created, self._now()),
            expires,
        )

    def _whose(self, text: str) -> str:
        """Raises ValueError."""
        tenant = tenant_of(text)
        if self._alone and tenant != self._tenant:
            raise ValueError("tenant: expected your own or none")
        return tenant


def tenant_of(text: str) -> str:
    """A tenant as it is kept. Raises ValueError."""
    if len(text) > LONGEST or not text.isprintable():
        raise ValueError(f"tenant: expected up to {LONGEST} printable characters")
    return known_as(text)


def _cells(data: bytes) -> list[str]:
    """Raises ValueError."""
    try:
        rows = list(csv.reader([data.decode("utf-8").rstrip("\r")], strict=True))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"no CSV: {error}") from None
    return [unicodedata.normalize("NFC", cell.strip()) for cell in rows[0]] if rows else []


def _named(first: list[str]) -> tuple[str, ...]:
    """What the columns are, by a line that names them; () where it doesn't."""
    names = [cell.lower() for cell in first]
    recipient = next((name for name in names if _NO_LETTERS.sub("", name) in _RECIPIENT), None)
    if recipient is None:
        return ()
    return tuple("recipient" if name == recipient else name if name in COLUMNS[1:] else "" for name in names)


def _source(text: str) -> Source:
    for source in SOURCES:
        if source == text:
            return source
    raise ValueError(f"source: expected one of {', '.join(SOURCES)}")


def _moment(name: str, given: dict[str, str]) -> int:
    """Milliseconds since the epoch, 0 where there is none. Raises ValueError."""
    text = given.get(name)
    if text is None:
        return 0
    try:
        moment = datetime.fromtimestamp(int(text), UTC) if _seconds(text) else datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        ms = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f'{name}: expected a moment such as "2026-12-01T08:00:00Z"') from None
    if not 0 < ms <= _LATEST:
        raise ValueError(f"{name}: expected a moment between 1970 and 9999")
    return ms


def written(entries: Iterable[Entry]) -> bytes:
    """Lines for entries, with the columns as they usually are."""
    text = io.StringIO()
    csv.writer(text).writerows(
        (one.whom, one.tenant, one.reason, one.source, _iso(one.created), _iso(one.expires)) for one in entries
    )
    return text.getvalue().encode()


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") if ms else ""
