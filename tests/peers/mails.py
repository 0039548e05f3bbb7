"""Mails to be written as MIME that have much to get wrong: names, subjects, file names and texts of all kinds.

Each says what it means by itself: a reader has to see its subject, people, texts and files as they stand here. None
looks like an encoded word, which readers decode wherever it stands: clients that encode by themselves count on it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

#: Two people, as most of the mails have them.
ENDS = {"from": {"name": "Me", "address": "me@example.com"}, "to": [{"name": "You", "address": "you@example.org"}]}

#: In Latin letters with marks, Cyrillic, Greek, Arabic, Hebrew with points, Devanagari, Thai, Chinese, Japanese,
#: Korean; emoji, of which one is several code points; letters with marks that stand by themselves.
SCRIPTS = (
    "Übergrößenträger für die Straße nach Łódź, Žižkov und Ærøskøbing, größer als je zuvor",
    "Счёт за услуги связи за ноябрь: оплатите, пожалуйста, до двадцать пятого декабря сего года",
    "Ο λογαριασμός σας για τον Νοέμβριο είναι έτοιμος και θα τον βρείτε στο συνημμένο αρχείο",
    "فاتورة شهر نوفمبر جاهزة الآن ويمكنكم الاطلاع عليها في الملف المرفق بهذه الرسالة",
    "שָׁלוֹם עֲלֵיכֶם, החשבונית שלך מוכנה ומצורפת להודעה הזאת לעיונך",
    "नवंबर महीने का आपका बिल तैयार है और इस संदेश के साथ संलग्न है, कृपया देखें",
    "ใบแจ้งหนี้ประจำเดือนพฤศจิกายนของท่านพร้อมแล้วและแนบมากับข้อความนี้",
    "您的十一月账单已经准备好了，请查看附件中的文件，如有任何问题请随时与我们联系，谢谢您的惠顾",
    "十一月分のご請求書ができあがりましたので、添付ファイルをご確認くださいますようお願いいたします",
    "십일월 청구서가 준비되었습니다. 첨부된 파일을 확인하시고 궁금한 점이 있으면 언제든지 연락해 주십시오",
    "The whole family 👨‍👩‍👧‍👦 went to Scotland 🏴󠁧󠁢󠁳󠁣󠁴󠁿 and then to Rome 🇮🇹 with 👩🏽‍🚀 and came back ❤️‍🔥",
    "e\u0301te\u0301 a\u030angstro\u0308m, written with marks that stand by themselves, a n\u0303 after them",
)

_OCTETS = bytes(range(256))

#: What people call files, and themselves, that isn't easy to write down.
NAMES = (
    "plain.pdf",
    'with "quotes" and \\ backslashes\\.pdf',
    "semicolon; comma, equals=1; filename=x.pdf",
    "it's 100% \"sure\", isn't it*.pdf",
    "utf-8''not%20encoded.pdf",
    "(brackets) [more] {of them} <all>.pdf",
    "blanks  inside   of it .pdf",
    "Rechnung für Müller & Söhne – ‚November‘.pdf",
    "счёт за услуги связи за ноябрь, который надо оплатить до двадцать пятого декабря.pdf",
    "您的十一月账单已经准备好了请查看附件中的文件如有任何问题请随时与我们联系谢谢您的惠顾再见.pdf",
    "👨‍👩‍👧‍👦 family.pdf",
    "x" * 200 + ".pdf",
    "ä" * 120 + ".pdf",
)

PEOPLE = (
    "Plain Name",
    "Comma, Name",
    'Quote "the" Name',
    "Back\\slash \\\" Name",
    "Dot. Name Jr.",
    "Colon: Semi; Name",
    "At <other@example.net> Name",
    "(Brackets) [in] a Name",
    "O'Neill & Söhne, d. Ä.",
    "Двадцать Пять Имён, которые не помещаются в одну строку заголовка",
    "山田 太郎",
    "👩🏽‍🚀 Astronaut",
    "Name " * 30 + "end",
)


def everybody() -> list[dict[str, str]]:
    """A mailbox for each name."""
    return [{"name": name, "address": f"n{number}@example.org"} for number, name in enumerate(PEOPLE)]


def file(name: str, octets: bytes, **more: str) -> dict[str, Any]:
    """An attachment."""
    return {"filename": name, "content": b64encode(octets).decode(), "encoding": "base64", **more}


_PNG = b"\x89PNG\r\n\x1a\n" + _OCTETS
MAILS: list[dict[str, Any]] = [
    *({**ENDS, "subject": subject, "text": f"{subject}.\n" * 3} for subject in SCRIPTS),
    {**ENDS, "subject": "two  blanks   three, and " + "many words " * 40 + "to fold", "text": "no end of a line"},
    {**ENDS, "subject": "word" * 200, "text": "a word of 800 letters"},
    {**ENDS, "subject": "word" * 400, "text": "a word that no line holds"},
    {**ENDS, "subject": "a: b; c=\"d\" <e@f.example> (g), \\h", "text": "signs that mean something elsewhere"},
    {
        "from": {"name": 'The "Shop", Inc.', "address": "shop@example.com"},
        "replyTo": [{"name": "Größe & Söhne", "address": "help@example.com"}],
        "to": everybody(),
        "cc": [{"name": f"Somebody, number {number}", "address": f"c{number}@example.org"} for number in range(40)],
        "subject": "to many",
        "text": "hello",
    },
    {**ENDS, "to": [{"name": "", "address": '"\\"x,\\\\"@example.org'}], "subject": "a local part", "text": "quoted"},
    {
        **ENDS,
        "subject": "files",
        "text": "all kinds of names",
        "attachments": [file(name, name.encode()) for name in NAMES],
    },
    {
        **ENDS,
        "subject": "octets",
        "text": "what there is in files",
        "attachments": [
            file("empty.bin", b"", contentType="application/x-none"),
            file("octets.bin", _OCTETS * 40),
            file("plain.csv", b"a,b\n1,2\n"),
            file("ends.txt", b"dos\r\nunix\nmac\rno end", contentType="text/plain; charset=utf-8"),
            file("latin.txt", "Größe\r\n".encode("latin-1"), contentType="text/plain; charset=iso-8859-1"),
            file("boundary.txt", b"--=_1\r\n--=_1--\r\n\r\n.\r\nFrom me\r\n"),
        ],
    },
    {
        **ENDS,
        "subject": "images in the text",
        "text": "two images",
        "html": '<p>Größe <img alt="1" src="cid:one@example.com"> <img alt="2" src="cid:two+2/$@example.com"></p>',
        "attachments": [
            file("one.png", _PNG, cid="one@example.com"),
            file("zwei größer.png", _PNG * 2, cid="two+2/$@example.com"),
            file("beside.pdf", b"%PDF-1.4\n"),
        ],
    },
    {
        **ENDS,
        "subject": "an invitation",
        "text": "come",
        "html": "<p>come</p>",
        "icalEvent": {
            "method": "REQUEST",
            "filename": "Einladung für dich.ics",
            "content": "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n",
        },
    },
    {**ENDS, "subject": "a long line", "text": "x" * 998 + "\n" + "y" * 999 + "\n" + "z" * 5000 + "\nend\n"},
    {**ENDS, "subject": "blanks", "text": "\n\nbegins below\n blanks  \n\ttabs\t\n=3D =\n.\n..\nFrom me\n--\n \n\n"},
    {**ENDS, "subject": "7bit", "encoding": "7bit", "text": "l" * 998 + "\n" + "m" * 77 + "\n"},
    {**ENDS, "subject": "base64", "encoding": "base64", "text": "Größe\n" * 100, "html": "<p>Größe</p>\n" * 100},
    {**ENDS, "subject": "quoted", "encoding": "quoted-printable", "text": "ж" * 500 + "\n", "html": "ж" * 500},
    {
        **ENDS,
        "subject": "a list",
        "text": "leave",
        "list": {
            "unsubscribe": [[{"url": "https://example.com/u/" + "x" * 300, "comment": "now"}, "leave@example.com"]],
            "help": "help@example.com?subject=help",
            "id": {"url": "list.example.com", "comment": "Die größte, \"beste\" Liste"},
        },
        "headers": {
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "X-Long": "größer " * 100 + "als",
            "X-Campaign": "a" * 900,
        },
        "references": [f"<{number}.{'r' * 40}@example.com>" for number in range(60)],
        "inReplyTo": "<59@example.com>",
        "messageId": "<a.b+c=d/e@example.com>",
        "date": "2026-11-27T15:00:00Z",
        "priority": "high",
    },
]
