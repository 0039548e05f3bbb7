"""From, To and the like of a mail object: text, objects, lists and lists of lists. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from relay.mime.mailbox import Group, Mailbox, Named, mailbox, mailboxes
from relay.mime.mailobject import Person
from relay.mime.unfit import LONGEST, Unfit, one_line

#: Characters of a list for each address that it may have.
_LONGEST_OF_ONE = 320


def people(field: str, given: object, most: int) -> list[Named]:
    """Whom a field names, at most `most`; nobody where it is None, false or "". `given` is one of the forms that
    relay.mime.mailobject has for it. Raises Unfit."""
    if not given:
        return []
    found: list[Named] = []
    count = 0
    for place, one in _each(field, given):
        more: list[Named] = []
        if isinstance(one, str):
            text = one_line(place, one, max(LONGEST, most * _LONGEST_OF_ONE))
            more = mailboxes(place, text, most)
        elif isinstance(one, Person):
            more = [_person(place, one, most)]
        count += sum(len(named.mailboxes) if isinstance(named, Group) else 1 for named in more)
        if count > most:
            raise Unfit(field, f"more than {most} addresses")
        found += more
    return found


def _each(field: str, given: object) -> Iterator[tuple[str, object]]:
    if isinstance(given, list):
        for number, one in enumerate(given):
            yield from _each(f"{field}[{number}]", one)
    elif given:
        yield field, given


def _person(field: str, given: Person, most: int) -> Named:
    name = one_line(f"{field}.name", given.name or "")
    if given.group is None:
        return mailbox(f"{field}.address", name, one_line(f"{field}.address", given.address or ""))
    members = people(f"{field}.group", given.group, most)
    if any(isinstance(one, Group) for one in members):
        raise Unfit(f"{field}.group", "expected no group within a group")
    return Group(name, tuple(one for one in members if isinstance(one, Mailbox)))
