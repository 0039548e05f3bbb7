"""What refusals mean, by the operator's rules and then by ours; and what that makes of an outcome.

The operator's file is looked at while there are refusals, once a second at most, and read again when it was
replaced. A file that can't be used leaves the former rules in their place, and says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec.structs
from twisted.logger import Logger

from relay.bounce.diagnosis import Diagnosis
from relay.bounce.rule import Rule
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import BadRules, read, shipped
from relay.bounce.said import Said, said
from relay.message.values import Outcome, Result

_log = Logger()

#: How old the knowledge of the file may be (seconds).
LOOK = 1.0
#: Diagnoses that are remembered; a reply that differs from another by ids and addresses alone is the same.
REMEMBERED = 5000

#: Where a conversation is about the message. What is said before is about us, whatever the message.
_ABOUT_IT = frozenset(("mail", "rcpt", "data", "body", "dot"))


class Diagnoses:
    """One for the relay."""

    def __init__(self, path: str, seconds: Callable[[], float]) -> None:
        """`path` is the operator's file, "" for none. `seconds` is a clock that never jumps."""
        self._path = path
        self._seconds = seconds
        self._stamp: tuple[int, int, int] | None = None
        self._looked = seconds()
        self._ours = shipped()
        #: Whether the file has been replaced by one that can't be used.
        self.stale = False
        self._take(())

    def start(self) -> None:
        """Read the operator's file. Raises BadRules."""
        if self._path:
            self._stamp = _stamp(self._path)
            self._take(read(self._path))

    @property
    def rules(self) -> dict[str, int]:
        """How many rules are in force: the operator's, and ours."""
        return {"own": len(self._book) - len(self._ours), "shipped": len(self._ours)}

    def of(self, reply: str, code: int = 0) -> Diagnosis:
        """What a reply means. `code` is for one that doesn't begin with it."""
        self._look()
        key = said(reply, code)
        known = self._known.pop(key, None)
        if known is None:
            known = self._book.diagnosis(key)
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
        # The last to be used is the last to go.
        self._known[key] = known
        return known

    def judged(self, outcome: Outcome, by_http: bool = False) -> tuple[Outcome, Diagnosis | None]:
        """An outcome as its reply is to be taken, and the diagnosis; None where it comes of no reply.

        The rules decide whether it is final where the reply is one of SMTP's to the message. What is said before it
        comes to that never is; and the codes of HTTP mean what `relay.delivery.verdict` makes of them.
        """
        if outcome.category != "reply" or outcome.code < 300:
            return outcome, None
        diagnosis = self.of(outcome.response, outcome.code)
        if not by_http and outcome.stage in _ABOUT_IT:
            result = Result.BOUNCED if diagnosis.action == "reject" else Result.DEFERRED
            if result is not outcome.result:
                outcome = msgspec.structs.replace(outcome, result=result)
        elif outcome.result is Result.BOUNCED:
            diagnosis = msgspec.structs.replace(diagnosis, action="reject")
        elif diagnosis.action == "reject":
            diagnosis = msgspec.structs.replace(diagnosis, action="defer")
        return outcome, diagnosis

    # -- inside

    def _take(self, own: Sequence[Rule]) -> None:
        self._book = Rulebook((*own, *self._ours))
        self._known: dict[Said, Diagnosis] = {}

    def _look(self) -> None:
        now = self._seconds()
        if not self._path or now - self._looked < LOOK:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            own = read(self._path)
        except BadRules as error:
            self.stale = True
            for problem in error.problems:
                _log.error("bounce rules: {problem}", problem=problem)
            _log.error("bounce rules: those of before stay in force")
            return
        self.stale = False
        self._take(own)
        _log.info("bounce rules: {path}: {n} rules", path=self._path, n=len(own))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
