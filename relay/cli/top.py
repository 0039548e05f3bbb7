"""`zonerelay top`: how the relay stands, on a terminal, for as long as somebody looks."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from relay.cli.api import Api, ApiError, NoAnswer, api_arguments, asking
from relay.cli.command import Command, Start
from relay.cli.screen import colours, print_json
from relay.cli.sse import told
from relay.cli.topscreen import History, Line, Reading, screen

_QUIT = b"qQ\x03\x04"
#: Seconds until a relay that doesn't answer is asked again.
_AGAIN = 1.0
#: Between two readings (seconds).
_LONGEST = 3600
#: Another screen without cursor; and back.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_LOOKS = {"": "", "title": "\x1b[7m", "head": "\x1b[1m", "bad": "\x1b[31m"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", metavar="SECONDS", type=_seconds, default=1, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="print it once and end, as where there is no terminal")
    parser.add_argument("--json", action="store_true", help="print once what the API says")
    api_arguments(parser)


def _seconds(text: str) -> int:
    """Raises ValueError."""
    seconds = int(text)
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{seconds} is not from 1 to {_LONGEST}")
    return seconds


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Shows it until `q` or an interrupt."""

    def ask(api: Api) -> None:
        try:
            if arguments.once or arguments.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
                _once(api, arguments.json)
            else:
                _Top(api, arguments.every).run()
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ApiError("what answers is no relay that tells how it stands") from None

    try:
        return asking(arguments, ask)
    except KeyboardInterrupt:
        return 0


def readings(api: Api, every: int) -> Iterator[Reading]:
    """One each so many seconds, until the relay goes. Raises as `Api.ask`."""
    for name, standing in told(api.take(f"/v1/stream?events=false&counters={every}")):
        if name == "counters":
            zones = api.ask("GET", "/v1/zones")["zones"]
            backoffs = api.ask("GET", "/v1/backoff?limit=20")["backoff"]
            limits = api.ask("GET", "/v1/limits?waiting=true&limit=20")["limits"]
            yield Reading(standing, zones, backoffs, limits)


def _once(api: Api, as_json: bool) -> None:
    """The second, for the first has no rates."""
    history = History()
    reading = next((one for one in readings(api, 1) if one.standing["rates"] is not None), None)
    if reading is None:
        raise NoAnswer(f"no answer from the relay at {api.url}: it ends")
    if as_json:
        print_json(reading._asdict())
        return
    history.add(reading.standing["rates"])
    size = shutil.get_terminal_size((120, 0))
    for line in screen(reading, history, api.url, "", time.time(), size.columns, sys.maxsize):
        print(line.text)


class _Top:
    """What is on the screen. A thread asks the relay, so that keys are heard meanwhile."""

    def __init__(self, api: Api, every: int) -> None:
        self._api = api
        self._every = every
        self._colours = colours()
        self._history = History()
        self._reading: Reading | None = None
        self._trouble = ""
        self._failure: Exception | None = None
        self._news, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def run(self) -> None:
        """Raises ApiError and what `screen` raises."""
        threading.Thread(target=self._watch, daemon=True).start()
        with _terminal(self._tell):
            while self._failure is None:
                self._draw()
                ready, _, _ = select.select([sys.stdin, self._news], [], [])
                if self._news in ready:
                    os.read(self._news, 4096)
                if sys.stdin in ready:
                    keys = os.read(sys.stdin.fileno(), 64)
                    if not keys or set(keys) & set(_QUIT):
                        return
        raise self._failure

    # -- in the thread

    def _watch(self) -> None:
        while True:
            try:
                for reading in readings(self._api, self._every):
                    self._history.add(reading.standing["rates"])
                    self._reading, self._trouble = reading, ""
                    self._tell()
                self._trouble = "the relay ends; asking again …"
            except NoAnswer as error:
                self._trouble = str(error)
            except Exception as error:
                self._failure = error
            self._tell()
            if self._failure is not None:
                return
            time.sleep(_AGAIN)

    def _tell(self) -> None:
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:
            pass  # It is full of such news.

    # -- the screen

    def _draw(self) -> None:
        width, height = shutil.get_terminal_size()
        lines = screen(self._reading, self._history, self._api.url, self._trouble, time.time(), width, height)
        # Over what is there, and in one go: nothing flickers.
        sys.stdout.write("\x1b[H" + "\r\n".join(self._inked(line, width) for line in lines) + "\x1b[J")
        sys.stdout.flush()

    def _inked(self, line: Line, width: int) -> str:
        ink = _LOOKS[line.look] if self._colours else ""
        if not ink:
            return line.text + "\x1b[K"
        return f"{ink}{line.text.ljust(width) if line.look == 'title' else line.text}\x1b[0m\x1b[K"


@contextmanager
def _terminal(resized: Callable[[], None]) -> Iterator[None]:
    """Keys come one by one, unseen, and the screen is ours; in the end all is as it was."""
    before = termios.tcgetattr(sys.stdin)
    handlers: dict[int, Any] = {
        signal.SIGWINCH: lambda *_: resized(),
        signal.SIGTERM: lambda *_: sys.exit(128 + signal.SIGTERM),
        signal.SIGTSTP: signal.SIG_IGN,
    }
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        tty.setcbreak(sys.stdin)
        sys.stdout.write(_BEGIN)
        yield
    finally:
        sys.stdout.write(_END)
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        for number, handler in former.items():
            signal.signal(number, handler)


COMMAND = Command("top", "watch rates, zones, queue, connections and back-offs", _arguments, run)
