"""All children of one trade: spawned for each place, watched, replaced when they end.

Senders have zones, receivers have listeners; what else they differ in is their trade's to say.
Spawning is fork and exec of `python -m relay.delivery` or `relay.reception`, with no descriptor
but its pipes and what the trade gives it. A child that ends soon after its start is replaced later
and later, so that a crash loop in one place costs the others nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

import relay
from relay.channel.briefing import Briefing
from relay.channel.codec import Tongue
from relay.channel.frames import Hello, Ping, Welcome
from relay.channel.link import Link
from relay.children.child import Child

_log = Logger()

#: Pauses before a child is replaced (seconds): at once at first, doubling while children
#: keep ending soon after their hello.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
#: Heartbeats without a word from the child until it is killed. Times the interval it has
#: to be longer than a lease lasts in the child without a heartbeat.
_MISSED = 8


class Trade(Protocol):
    """What the children of a roster are there for.

    Attributes:
        place: what a place of theirs is called: a zone, a listener.
        mark: leads the numbers of children, so that no two trades have the same.
        module: what a child runs; its place is the argument.
        tongue: what they say to the master.
        soon: an end within so many seconds of the hello counts as soon.
    """

    place: str
    mark: str
    module: str
    tongue: Tongue
    soon: float

    @property
    def briefing(self) -> Callable[[str, str], Briefing]:
        """Makes what a new child is told, of its place and its id."""

    @property
    def joined(self) -> Callable[[Child], None]:
        """Told of each that said hello."""

    @property
    def frame(self) -> Callable[[Child, Any], None]:
        """Told what they say. Raises BadFrame for what one may not say now."""

    def descriptors(self, place: str) -> dict[int, int]:
        """What a child has beside its pipes: its number there, and here."""

    def ended(self, child: Child, crashed: bool) -> None:
        """Told when a process has ended and all it said has been read."""


class Staff(NamedTuple):
    """The children in one place: how many there are to be, have said hello, and have crashed since the start."""

    wanted: int
    here: int
    crashes: int


class _Post:
    """A place for one child, filled again and again."""

    __slots__ = ("child", "crashes", "heard", "missed", "pause", "place", "waiting")

    def __init__(self, place: str) -> None:
        self.place = place
        self.child: Child | None = None
        self.pause = _FIRST_PAUSE
        self.waiting: IDelayedCall | None = None
        self.heard = 0
        self.missed = 0
        self.crashes = 0


class Roster:
    """The children of one trade."""

    def __init__(self, reactor: Any, trade: Trade, welcome: Welcome) -> None:
        self._reactor = reactor
        self._trade = trade
        self._welcome = welcome
        self._posts: list[_Post] = []
        self._born = 0
        self._stopping: Deferred[None] | None = None
        self._beat: IDelayedCall | None = None
        self._beats = 0
        self._last_beat = 0.0

    @property
    def epoch(self) -> int:
        """The number of this start, the first part of every child's id."""
        return self._welcome.epoch

    # -- life

    def start(self, places: Sequence[tuple[str, int]]) -> None:
        """Spawn the children: (place, how many)."""
        self._posts = [_Post(place) for place, count in places for _ in range(count)]
        for post in self._posts:
            self._spawn(post)
        self._last_beat = self._reactor.seconds()
        self._beat = self._reactor.callLater(self._welcome.heartbeat, self._heartbeat)

    def stop(self) -> Deferred[None]:
        """Ask all to leave; fires when the last is gone."""
        self._stopping = Deferred()
        for post in self._posts:
            if post.waiting is not None and post.waiting.active():
                post.waiting.cancel()
            if post.child is not None:
                post.child.quit()
        stopped = self._stopping
        self._check_stopped()
        return stopped

    def kill(self) -> None:
        """End all at once."""
        for post in self._posts:
            if post.child is not None:
                post.child.kill()

    def _check_stopped(self) -> None:
        if self._stopping is not None and not any(post.child for post in self._posts):
            if self._beat is not None and self._beat.active():
                self._beat.cancel()
            stopping, self._stopping = self._stopping, None
            stopping.callback(None)

    def children(self) -> list[Child]:
        """Those that live."""
        return [post.child for post in self._posts if post.child is not None]

    def staff(self) -> dict[str, Staff]:
        """How it stands with them, by place."""
        found: dict[str, Staff] = {}
        for post in self._posts:
            wanted, here, crashes = found.get(post.place, (0, 0, 0))
            linked = post.child is not None and post.child.linked
            found[post.place] = Staff(wanted + 1, here + linked, crashes + post.crashes)
        return found

    def admit(self, hello: Hello, link: Link) -> Child | None:
        """The child that says hello, if it is expected and not yet here."""
        for child in self.children():
            if child.id == hello.child and child.place == hello.place and child.expects_link():
                return child
        return None

    # -- spawning

    def _spawn(self, post: _Post) -> None:
        if self._stopping is not None:
            return
        self._born += 1
        trade, place = self._trade, post.place
        child = Child(
            trade.briefing(place, f"{self._welcome.epoch:08x}-{trade.mark}{self._born}"),
            trade.tongue,
            self._welcome,
            self._reactor,
            joined=trade.joined,
            said=trade.frame,
            ended=lambda child, crashed: self._ended(post, child, crashed),
        )
        post.child, post.missed = child, 0
        here = str(Path(relay.__file__).parent.parent)
        try:
            self._reactor.spawnProcess(
                child,
                sys.executable,
                [sys.executable, "-m", trade.module, place],
                env={"PYTHONPATH": here, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                childFDs={0: "w", 1: "r", 2: "r", **trade.descriptors(place)},
            )
        except OSError as error:
            _log.error("no child for {what} {place}: {error}", what=trade.place, place=place, error=str(error))
            post.child = None
            post.crashes += 1
            self._respawn_later(post)

    def _respawn_later(self, post: _Post) -> None:
        if self._stopping is None:
            post.waiting = self._reactor.callLater(post.pause, self._spawn, post)
            post.pause = min(post.pause * 2, _LONGEST_PAUSE)

    def _ended(self, post: _Post, child: Child, crashed: bool) -> None:
        try:
            self._trade.ended(child, crashed)
        except Exception:
            _log.failure("trouble after the end of {child}", child=child.id)
        post.child = None
        post.crashes += crashed
        if child.since is not None and self._reactor.seconds() - child.since > self._trade.soon:
            post.pause = _FIRST_PAUSE
        self._respawn_later(post)
        self._check_stopped()

    # -- heartbeats

    def _heartbeat(self) -> None:
        """A child that misses several beats in a row is killed. Beats count, not time: when
        the master itself stood still, its children have not been silent."""
        now = self._reactor.seconds()
        late = now - self._last_beat > 3 * self._welcome.heartbeat
        self._last_beat = now
        self._beats += 1
        for post in self._posts:
            child = post.child
            if child is None or not child.linked:
                continue
            if late or child.heard != post.heard:
                post.missed = 0
            else:
                post.missed += 1
            post.heard = child.heard
            if post.missed >= _MISSED:
                _log.error("child {child} is silent and is killed", child=child.id)
                child.kill()
            child.send(Ping(self._beats))
        self._beat = self._reactor.callLater(self._welcome.heartbeat, self._heartbeat)
