"""All sender children: spawned per zone and process, watched, replaced when they end.

Spawning is fork and exec of `python -m relay.delivery`, with no descriptor but its pipes.
A child that ends soon after its start is replaced later and later, so that a crash loop in
one zone costs the others nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

import relay
from relay.channel.briefing import Briefing
from relay.channel.frames import Hello, Ping, Welcome
from relay.channel.journal import Acceptance, decode, left_behind
from relay.channel.link import Link
from relay.children.child import Child

_log = Logger()

#: Pauses before a child is replaced (seconds): at once at first, doubling while children
#: keep ending within _SOON of their hello.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SOON = 3.0
#: Heartbeats without a word from the child until it is killed. Times the interval it has
#: to be longer than a lease lasts in the child without a heartbeat.
_MISSED = 8


class Work(Protocol):
    """Who uses the children."""

    def joined(self, child: Child) -> None: ...
    def frame(self, child: Child, frame: Any) -> None: ...
    def gone(self, child: Child, accepted: Sequence[Acceptance], crashed: bool) -> Deferred[None]:
        """Fires when the acceptances are on disk: only then the journal is removed."""


class _Post:
    """A place for one child, filled again and again."""

    __slots__ = ("child", "heard", "missed", "pause", "waiting", "zone")

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.child: Child | None = None
        self.pause = _FIRST_PAUSE
        self.waiting: IDelayedCall | None = None
        self.heard = 0
        self.missed = 0


class Roster:
    """The children of all zones."""

    def __init__(
        self,
        reactor: Any,
        briefing: Callable[[str, str], Briefing],
        welcome: Welcome,
        journals: Path,
        work: Work,
    ) -> None:
        """`briefing(zone, child id)` makes what a new child is told."""
        self._reactor = reactor
        self._briefing = briefing
        self._welcome = welcome
        self._journals = journals
        self._work = work
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

    def start(self, zones: Sequence[tuple[str, int]]) -> None:
        """Spawn the children: (zone, how many)."""
        self._posts = [_Post(zone) for zone, count in zones for _ in range(count)]
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

    def admit(self, hello: Hello, link: Link) -> Child | None:
        """The child that says hello, if it is expected and not yet here."""
        for child in self.children():
            if child.id == hello.child and child.zone == hello.zone and child.expects_link():
                return child
        return None

    # -- spawning

    def _spawn(self, post: _Post) -> None:
        if self._stopping is not None:
            return
        self._born += 1
        name = f"{self._welcome.epoch:08x}-{self._born}"
        child = Child(
            self._briefing(post.zone, name),
            self._welcome,
            self._reactor,
            joined=self._work.joined,
            said=self._work.frame,
            ended=lambda child, crashed: self._ended(post, child, crashed),
        )
        post.child, post.missed = child, 0
        here = str(Path(relay.__file__).parent.parent)
        try:
            self._reactor.spawnProcess(
                child,
                sys.executable,
                [sys.executable, "-m", "relay.delivery", post.zone],
                env={"PYTHONPATH": here, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                childFDs={0: "w", 1: "r", 2: "r"},
            )
        except OSError as error:
            _log.error("no child for zone {zone}: {error}", zone=post.zone, error=str(error))
            post.child = None
            self._respawn_later(post)

    def _respawn_later(self, post: _Post) -> None:
        if self._stopping is None:
            post.waiting = self._reactor.callLater(post.pause, self._spawn, post)
            post.pause = min(post.pause * 2, _LONGEST_PAUSE)

    def _ended(self, post: _Post, child: Child, crashed: bool) -> None:
        journals = read_journals(left_behind(self._journals, child.id))
        accepted = [entry for entries in journals.values() for entry in entries]
        maybeDeferred(self._work.gone, child, accepted, crashed).addCallbacks(
            lambda _: remove(list(journals)),
            lambda failure: _log.failure("journal of {child} is kept", failure, child=child.id),
        )
        post.child = None
        if child.since is not None and self._reactor.seconds() - child.since > _SOON:
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


def read_journals(files: Sequence[Path]) -> dict[Path, list[Acceptance]]:
    """The entries of the given journals. One that can't be read is logged, missing here, and
    to be kept."""
    journals: dict[Path, list[Acceptance]] = {}
    for file in files:
        try:
            journals[file], damaged = decode(file.read_bytes())
        except OSError as error:
            _log.error("journal {file} can't be read and is kept: {error}", file=str(file), error=str(error))
            continue
        if damaged:
            _log.warn("journal {file}: {n} damaged lines passed over", file=str(file), n=damaged)
    return journals


def remove(files: Sequence[Path]) -> None:
    """Remove journals whose entries are on disk. One that stays does no harm: what it tells
    of is no longer in the queue when it is read again."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            _log.warn("journal {file} can't be removed: {error}", file=str(file), error=str(error))
