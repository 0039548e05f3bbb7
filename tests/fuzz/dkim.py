"""Whose mail it is, chains of seals, and records of keys: what strangers write that signing depends on."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from relay.config.schema import SIGNED
from relay.dkim.arc import seal
from relay.dkim.author import author_domain
from relay.dkim.canon import RelaxedBody
from relay.dkim.chain import FAIL, MOST, PASS, chain_of, is_sealed, judged
from relay.dkim.fields import Choice
from relay.dkim.keyfile import Key
from relay.dkim.names import is_domain, key_name
from relay.dkim.record import faults, is_test, tags_of
from relay.message.headers import HeaderBlock, HeaderCollector
from tests.fuzz.choices import crlf, head, long

_RSA = Key(rsa.generate_private_key(65537, 1024))
_ED25519 = Key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
_OURS = key_name("relay.example", "s")
_SENDERS = ("", "x@envelope.example", "postmaster", "x@[192.0.2.1]")
_CHOICE = Choice((*SIGNED, "DKIM-Signature"), ("From",), every=("DKIM-Signature",))
#: That of the chains in the corpus, whose private half nobody has kept, and their body.
_PUBLISHED = (
    "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDZHKvVAelkKBDkAg/PklUo3MRGXrd2CzfHA8zDWJt3rW8/UbrlrS"
    "88V6AR+63fpVGNNFJnDmi2/V6hH1V2bsvh5Dy9lYdG0IXAzIltKKBbUFzuSK0K9eeiKvlNL8PnxG41TQE09vI6rf9pyDR07o5HxC"
    "AjYP3rutnhj3t8vwpdVwIDAQAB"
)
_BODY = b"body\r\n"


def _header(data: bytes) -> HeaderBlock:
    """What of it the door lets in as a header."""
    collector = HeaderCollector(1 << 20)
    found = collector.feed(crlf(data))
    return (found or collector.end())[0]


def author(data: bytes) -> None:
    """The domain is one that can sign, and stands in From, or in MAIL FROM where From names nobody. A second author
    elsewhere leaves none."""
    (options,), rest = head(data, 1)
    sender = _SENDERS[options & 3]
    block = _header(long(rest, 20_000))
    domain = author_domain(block, sender)
    if not domain:
        return
    assert is_domain(domain)
    written = " ".join(block.all("From"))
    # Blanks and comments may stand between its labels.
    named = not written.isascii() or all(label in written.lower() for label in domain.split("."))
    assert named or domain == sender.rpartition("@")[2].lower(), domain
    assert author_domain(HeaderBlock(block.raw + b"From: x@" + domain.encode() + b"\r\n"), sender) in (domain, "")
    both = author_domain(HeaderBlock(block.raw + b"From: x@elsewhere.example\r\n"), sender)
    # Where nobody is named the envelope's has stood in.
    assert both == "" or domain in ("elsewhere.example", sender.rpartition("@")[2]), both


def arc(data: bytes) -> None:
    """A chain is judged, whatever is in it, and goes on: what we add is good where the chain was, and what was good
    dkimpy calls so."""
    block = _header(long(data, 40_000))
    chain = chain_of(block)
    assert is_sealed(block) or not any(name == b"arc-seal" for _, name in chain.parts)
    assert 0 <= chain.length <= 99 and len(chain.records()) <= 100
    assert all(is_domain(name.replace("._domainkey.", ".", 1)) for name in chain.records())
    assert isinstance(chain.simple_body, bool)
    simple, relaxed = sha256(_BODY).digest(), _relaxed()
    digest = simple if chain.simple_body else relaxed
    records = dict.fromkeys(chain.records(), _PUBLISHED)
    verdict = judged(chain, block, digest, records)
    assert verdict in (PASS, FAIL)
    if verdict == PASS:
        assert 0 < chain.length < MOST and _pass_by_dkimpy(block)
    if chain.ended:
        return
    fields = seal(_RSA, _OURS, block, chain, verdict, relaxed, _CHOICE, "mx.relay.example", 1_700_000_000)
    assert fields.isascii() and fields.endswith(b"\r\n") and max(map(len, fields.split(b"\r\n"))) < 998
    whole = HeaderBlock(fields + block.raw)
    longer = chain_of(whole)
    assert longer.length == chain.length + 1 and longer.broken == chain.broken
    records[_OURS.record] = _RSA.record()
    after = judged(longer, whole, simple if longer.simple_body else relaxed, records)
    assert after == PASS if verdict == PASS and longer.length < MOST else after in (PASS, FAIL)


def _relaxed() -> bytes:
    body = RelaxedBody()
    body.update(_BODY)
    return body.digest()


def _pass_by_dkimpy(block: HeaderBlock) -> bool:
    import dkim as dkimpy

    try:
        arc = dkimpy.ARC(block.raw + b"\r\n" + _BODY)
        verdict, _, _ = arc.verify(dnsfunc=lambda name, timeout=5: _PUBLISHED.encode())
    except (dkimpy.MessageFormatError, IndexError):
        return True  # It reads no line behind one that is no field, and no signature without a blank behind its colon.
    return bool(verdict == dkimpy.CV_Pass)


def record(data: bytes) -> None:
    """A record is good for a key when it has that key; what is wrong with others can be shown."""
    texts = [text.decode("latin-1") for text in long(data, 20_000).split(b"\xfe")]
    for key in (_RSA, _ED25519):
        right = key.record()
        for found in (texts, [*texts, right], [right.replace("v=DKIM1; ", texts[0])]):
            wrong = faults(key, found)
            assert all(line.isprintable() and len(line) < 300 for line in wrong), wrong
            if not wrong:
                assert any(right.rpartition("p=")[2] in "".join(text.split()) for text in found)
        assert faults(key, [right]) == [] and isinstance(is_test(texts), bool)
    for text in texts:
        tags = tags_of(text)
        assert tags is None or all(value == "".join(value.split()) for value in tags.values())
