"""Which type a file is of, by the end of its name, and the other way round. The same on each machine. Pure."""

from __future__ import annotations

from mimetypes import MimeTypes

UNKNOWN = "application/octet-stream"

# Those that Python brings, not those of the machine's files.
_known = MimeTypes()
for _end, _kind in (
    ("7z", "application/x-7z-compressed"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eml", "message/rfc822"),
    ("ics", "text/calendar"),
    ("md", "text/markdown"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("webp", "image/webp"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("gz", "application/gzip"),
):
    _known.add_type(_kind, f".{_end}")


def kind_of(filename: str) -> str:
    """`image/png` for `logo.PNG`; what isn't known is octets."""
    end = filename.rpartition(".")[2].lower()
    return _known.types_map[True].get(f".{end}", UNKNOWN)


def ending_of(kind: str) -> str:
    """`.png` for `image/png`; `.bin` for what isn't known."""
    return _known.guess_extension(kind) or ".bin"
