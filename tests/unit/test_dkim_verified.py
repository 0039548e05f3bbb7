"""Signatures as receivers see them: dkimpy always, OpenDKIM where it is installed."""

from __future__ import annotations

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from relay.config.schema import SIGNED
from tests.unit.dkim_rig import (
    ED25519,
    FOR_DKIMPY,
    FOR_OPENDKIM,
    FOR_OPENDKIM_SIMPLE,
    OPENDKIM,
    RSA,
    batches,
    opendkim,
    put,
    records,
    signed,
    signer,
    verdicts,
)

FORMS = ("relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
TEXT = b"From: A <a@example.test>\r\nSubject:  hi\r\n\tthere\r\nTo: b@x.test\r\n\r\nbody\r\n"


class Verified(SynchronousTestCase):
    """How many odd messages of each form; the audit has more."""

    dkimpy_messages = 60
    opendkim_messages = 60

    def setUp(self) -> None:
        self.directory = self.mktemp()
        put(self.directory, "example.test.rsa.pem", RSA)

    def test_K05_odd_messages_by_dkimpy(self) -> None:
        put(self.directory, "example.test.ed.pem", ED25519)
        published = records(self.directory)
        seen = 0
        for form in FORMS:
            for batch in batches(self.directory, form, FOR_DKIMPY, 5, self.dkimpy_messages):
                for message in batch:
                    self.assertEqual(verdicts(message, published), [True, True], message)
                    seen += 1
        self.assertEqual(seen, self.dkimpy_messages * len(FORMS))

    def test_K05_odd_messages_by_opendkim(self) -> None:
        if not OPENDKIM:
            raise SkipTest("OpenDKIM is not installed (make peers): signatures NOT VERIFIED by it")
        published = records(self.directory)
        for form in FORMS:
            odd = FOR_OPENDKIM_SIMPLE if form.startswith("simple") else FOR_OPENDKIM
            for batch in batches(self.directory, form, odd, 6, self.opendkim_messages):
                self.assertEqual(opendkim(self.mktemp(), batch, published), [])

    def test_K05_no_header_at_all(self) -> None:
        """Without From a signature is of the envelope's domain, and says that there is no From."""
        for text in (b"\r\nbody\r\n", b"\r\n", b"no header\r\n"):
            result, message = signed(signer(self.directory), text, "x@example.test")
            self.assertIn(b" h=from", result.fields)
            self.assertEqual(verdicts(message, records(self.directory)), [True])

    def test_what_is_changed_is_noticed(self) -> None:
        """The tests above could fail."""
        message = signed(signer(self.directory), TEXT)[1]
        published = records(self.directory)
        for old, new in (
            (b"body", b"b0dy"),
            (b"hi", b"ho"),
            (b"To: b", b"To: c"),
            (b"q=dns", b"q=dnt"),
            (b"From: A", b"From: evil@x.test\r\nFrom: A"),
            (b"Subject:", b"Subject: more\r\nSubject:"),
        ):
            changed = message.replace(old, new, 1)
            self.assertNotEqual(changed, message)
            try:
                said = verdicts(changed, published)
            except Exception:
                said = [False]
            self.assertEqual(said, [False], (old, new))
            if OPENDKIM and old != b"q=dns":
                self.assertNotEqual(opendkim(self.mktemp(), [changed], published), [], (old, new))

    def test_every_field_of_the_list(self) -> None:
        """All that is there is signed, each once, the lowest where there are several."""
        fields = b"".join(f"{name}: value of {name}\r\n".encode() for name in SIGNED[1:])
        head = TEXT.partition(b"\r\n\r\n")[0]
        text = b"".join((b"References: upper\r\n", head, b"\r\nX-Other: x\r\n", fields, b"\r\nbody\r\n"))
        result, message = signed(signer(self.directory, oversign=()), text)
        tag = result.fields.replace(b"\r\n ", b"").partition(b" h=")[2].partition(b";")[0].decode()
        self.assertEqual(tag.split(":"), [name.lower() for name in SIGNED])
        published = records(self.directory)
        self.assertEqual(verdicts(message, published), [True])
        self.assertEqual(verdicts(message.replace(b"upper", b"other"), published), [True])
        self.assertEqual(verdicts(message.replace(b"X-Other: x", b"X-Other: y"), published), [True])
        for name in SIGNED[1:]:
            changed = message.replace(f"value of {name}\r".encode(), b"another\r")
            self.assertEqual(verdicts(changed, published), [False], name)
