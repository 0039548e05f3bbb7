"""Mail objects as Nodemailer's users write them, of all its fields: the input of nodemailer_objects.js."""

from __future__ import annotations

from typing import Any

#: Two people, as most of the mails have them.
ENDS = {"from": "Me <me@example.com>", "to": "you@example.org"}
MAILS: list[dict[str, Any]] = [
    {**ENDS, "subject": "hello", "text": "hello world!"},
    {
        "from": {"name": "Jürgen, d. Ä.", "address": "j@müller.example"},
        "to": ["A B <a@example.org>", {"name": "世界", "address": "b@example.org"}, "Us: c@example.org, d@x.example;"],
        "cc": "e@example.org",
        "bcc": "f@example.org",
        "replyTo": ["g@example.org", "h@example.org"],
        "subject": "Grüße an alle, die das lesen, und an die, die es nicht lesen, weil es zu lang ist",
        "text": "Grüße\n.\nFrom here\nblanks \n",
        "html": "<p>Größe</p>" * 50,
    },
    {**ENDS, "text": "привет", "icalEvent": {"method": "request", "content": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"}},
    {
        **ENDS,
        "html": '<img src="cid:logo">',
        "watchHtml": "<b>w</b>",
        "amp": "<html amp4email></html>",
        "attachments": [
            {"filename": "logo.png", "cid": "logo", "content": {"$buffer": "89504e470d0a1a0a00ff"}},
            {"filename": "Prüfung & 'mehr'.csv", "content": "a;b\nä;c\n"},
            {"content": "3q2+7w==", "encoding": "base64", "contentType": "application/x-own"},
            {"filename": "x.pdf", "path": "data:application/pdf;base64,JVBERg=="},
            {"contentType": "message/rfc822", "content": "Subject: in\r\n\r\nhere\r\n"},
        ],
    },
    {
        **ENDS,
        "text": {"content": "Z2V0cmVubnQ=", "encoding": "base64"},
        "alternatives": [
            {"contentType": "text/x-markdown", "content": "# x"},
            {"contentType": "text/html", "content": "<p>"},
        ],
        "headers": {"X-One": "1", "X-Two": ["2", "drei ü"], "X-Three": {"prepared": True, "value": "v"}},
        "messageId": "<fixed@example.com>",
        "inReplyTo": "1@example.com",
        "references": ["1@example.com", "<2@example.com>"],
        "date": {"$date": "2026-11-27T15:00:00Z"},
        "priority": "high",
        "list": {"unsubscribe": {"url": "https://example.com/" + "x" * 300, "comment": "now"}},
    },
    {**ENDS, "html": "<p>", "envelope": {"from": "bounce@example.com", "to": ["x@example.org", "y@example.org"]}},
    {**ENDS, "html": '<img src="data:image/gif;base64,R0lG">', "attachDataUrls": True},
    {**ENDS, "raw": "From: me@example.com\r\nTo: you@example.org\r\nX-Own: 1\r\n\r\nas it is\r\n"},
]  # fmt: skip
