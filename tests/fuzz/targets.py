"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz import (
    bounces,
    client,
    desk,
    dkim,
    doors,
    files,
    frames,
    http,
    mime,
    names,
    reports,
    returns,
    server,
    sts,
    text,
)


class Target(NamedTuple):
    """`one` takes an input; `longest` bounds it (bytes); `share` says how many of a campaign's
    inputs are for this target, beyond the least, against those of the others: fast ones take more."""

    one: Callable[[bytes], None]
    longest: int = 512
    share: int = 1


TARGETS = {
    "server": Target(server.server, 2048, 1),
    "command": Target(names.command, 512, 20),
    "client": Target(client.client, 1024, 1),
    "client_login": Target(client.client_login, 512, 1),
    "reply_reader": Target(client.reply_reader, 512, 1),
    "reply": Target(names.reply, 256, 1),
    "body": Target(text.body, 512, 1),
    "stuffing": Target(text.stuffing, 512, 1),
    "chunks": Target(text.chunks, 512, 1),
    "headers": Target(text.headers, 512, 1),
    "lines": Target(text.lines, 256, 1),
    "long_lines": Target(text.long_lines, 512, 1),
    "dkim_body": Target(text.dkim_body, 512, 1),
    "author": Target(dkim.author, 512, 1),
    "arc": Target(dkim.arc, 4096, 1),
    "dkim_record": Target(dkim.record, 512, 1),
    "address": Target(names.address, 400, 20),
    "address_list": Target(names.address_list, 512, 1),
    "date": Target(names.date, 128, 20),
    "received": Target(names.received, 512, 1),
    "parameters": Target(names.parameters, 512, 20),
    "release": Target(names.release, 64, 20),
    "channel": Target(frames.channel, 1024, 1),
    "desk": Target(desk.desk, 256, 1),
    "journal": Target(frames.journal_lines, 512, 20),
    "queue_key": Target(frames.queue_key, 128, 20),
    "queue_record": Target(frames.queue_record, 512, 20),
    "proxy": Target(doors.proxy, 512, 20),
    "login": Target(doors.login, 512, 20),
    "scram": Target(doors.scram, 256, 20),
    "scram_keys": Target(doors.scram_keys, 256, 20),
    "http": Target(http.http, 1024, 1),
    "people": Target(mime.people, 512, 1),
    "mail": Target(mime.mail, 2048, 1),
    "resolver": Target(doors.resolver, 512, 1),
    "tls_record": Target(reports.tls_record, 512, 20),
    "tls_answer": Target(reports.tls_answer, 512, 20),
    "sts_record": Target(sts.sts_record, 256, 20),
    "sts_policy": Target(sts.sts_policy, 512, 20),
    "refusal": Target(bounces.refusal, 512, 1),
    "returned": Target(returns.returned, 4096, 1),
    "return_path": Target(returns.return_path, 256, 20),
    "pattern": Target(bounces.pattern, 256, 20),
    "rules": Target(bounces.rules, 1024, 1),
    "config": Target(files.config, 1024, 1),
    "users": Target(files.users, 1024, 1),
    "suppressions": Target(files.suppressions, 1024, 1),
}
