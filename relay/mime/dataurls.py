"""Nodemailer's `attachDataUrls`: images that an HTML text has in it become parts beside it, for more readers. Pure."""

from __future__ import annotations

import re

from relay.mime import content, kinds
from relay.mime.entity import Entity, leaf
from relay.mime.parameter import parsed
from relay.mime.unfit import Unfit

#: Images of one text.
_MOST = 200
_images = re.compile(r"""(<img\b[^<>]{0,1024}?\ssrc\s{0,20}=\s{0,20}["']?)(data:[^"'<>\s]+)""", re.IGNORECASE)


def taken_out(field: str, html: str, seed: str) -> tuple[str, list[Entity]]:
    """The text with `cid:` where the images were, and these. Ids are made of `seed`. Raises Unfit."""
    found: list[Entity] = []

    def take(match: re.Match[str]) -> str:
        if len(found) == _MOST:
            raise Unfit(field, f"more than {_MOST} images as data: URLs")
        kind = parsed(content.data_kind(match[2][:500]))
        if kind is None or not kind[0].startswith("image/"):
            raise Unfit(field, "expected an image in a data: URL")
        data = content.data_url(field, match[2])
        number = len(found) + 1
        cid = f"image-{number}.{seed}@data"
        name = f"image-{number}{kinds.ending_of(kind[0])}"
        more = f"Content-Disposition: inline; filename={name}\r\nContent-ID: <{cid}>\r\n"
        found.append(leaf(kind[0], {"name": name}, data, "base64", more))
        return f"{match[1]}cid:{cid}"

    return _images.sub(take, html), found
