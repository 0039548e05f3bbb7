"""Key files: which are read, which are refused and why, and how many stay in memory."""

from __future__ import annotations

import base64
import errno
import os
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from relay.dkim.keyfile import KeyUnusable, load
from relay.dkim.keyring import KeyRing
from relay.dkim.names import KeyName, is_domain, key_name, of_file
from tests.unit.dkim_rig import ED25519, OTHER_RSA, RSA, pem, put

#: Nobody makes them so short any more.
SHORT = b"""-----BEGIN PRIVATE KEY-----
MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEAvRhfHkX0v+7gX3lL
bdnIyJxTWMdj8oipbOnYO2v9QcaTMW8Px12KNlqB3IJMJlcyz/rS7ZoMkiNdoTNK
0geVsQIDAQABAkAcGCfhrpEbhxks9i9/xbCwJZG4if9OhIFvnhqzUWsSP3Yz3jSH
z9trZ8omHiLqDfpW//KSRpkpp0RSQCQnAUwBAiEA3UPVSS6O+GNa1YUv031Me0/M
zBq7VG1HkiCYiA9SI0ECIQDax7Q26eEtiqpXw45+cH3jq8Nzy8RPp7Ms31IN5dKG
cQIgJ81E97YdV8cfltsvgD7A3Em9kFWarxQ9VKbyaT9ASkECIQDZT65xMUTrIKZt
AKEkdIaHQ9Cjz44SdQgjlTuC9Hp18QIgQspeluIg/TiaF4CAOgMn7SmUiCgfyMOR
Gx05qLyt7Ps=
-----END PRIVATE KEY-----
"""


def encoded(key: Any, encoding: Encoding, form: PrivateFormat, secret: Any = None) -> bytes:
    return bytes(key.private_bytes(encoding, form, secret or NoEncryption()))


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()

    def put(self, content: Any) -> str:
        return put(self.directory, "example.test.s1.pem", content)

    def refused(self, path: str, words: str) -> None:
        self.assertRegex(str(self.assertRaises(KeyUnusable, load, path)), words)

    def test_K01_what_can_sign(self) -> None:
        small = rsa.generate_private_key(65537, 1024)
        for content, algorithm in (
            (RSA, "rsa-sha256"),
            (ED25519, "ed25519-sha256"),
            (pem(RSA).replace(b"\n", b"\r\n"), "rsa-sha256"),
            (b"comment\n" + pem(ED25519), "ed25519-sha256"),
            (encoded(RSA, Encoding.PEM, PrivateFormat.TraditionalOpenSSL), "rsa-sha256"),
            (small, "rsa-sha256"),
        ):
            key = load(self.put(content))
            self.assertEqual((key.algorithm, key.open_to), (algorithm, ""))

    def test_K01_what_can_not(self) -> None:
        secret = BestAvailableEncryption(b"secret")
        for content, words in (
            (b"", "^it is empty$"),
            (b" \r\n\n", "^it is empty$"),
            (encoded(RSA, Encoding.DER, PrivateFormat.PKCS8), "DER form; expected PEM"),
            (encoded(ED25519, Encoding.DER, PrivateFormat.PKCS8), "DER form; expected PEM"),
            (encoded(RSA, Encoding.PEM, PrivateFormat.PKCS8, secret), "passphrase"),
            (encoded(RSA, Encoding.PEM, PrivateFormat.TraditionalOpenSSL, secret), "passphrase"),
            (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "public key"),
            (ec.generate_private_key(ec.SECP256R1()), "neither an RSA key nor one of Ed25519"),
            (pem(RSA)[:200], "no private key in PEM form"),
            (pem(RSA) * 200, "larger than 65536 bytes"),
            (os.urandom(1000), "no private key in PEM form|DER"),
            (SHORT, "RSA key of 512 bits; those of 1024 to 4096"),
        ):
            self.refused(self.put(content), words)

    def test_K01_numbers_that_do_not_belong_together(self) -> None:
        """A byte of the private exponent is another: nobody could verify what it signs."""
        content = encoded(RSA, Encoding.DER, PrivateFormat.TraditionalOpenSSL)
        numbers = RSA.private_numbers()
        broken = content
        for part in (numbers.d, numbers.dmp1, numbers.dmq1):
            known = part.to_bytes((part.bit_length() + 7) // 8, "big")
            at = content.index(known) + len(known) // 2
            broken = broken[:at] + bytes([broken[at] ^ 1]) + broken[at + 1 :]
        begin, end = b"-----BEGIN RSA PRIVATE KEY-----\n", b"-----END RSA PRIVATE KEY-----\n"
        self.refused(self.put(begin + base64.encodebytes(broken) + end), "damaged")

    def test_K01_what_is_no_file(self) -> None:
        path = self.put(b"")
        os.remove(path)
        self.refused(path, "^it is gone$")
        os.mkdir(path)
        self.refused(path, "^it is a directory$")
        os.rmdir(path)
        os.mkfifo(path)
        self.refused(path, "^it is no file$")
        os.remove(path)
        os.symlink("/dev/zero", path)
        self.refused(path, "^it is no file$")
        os.remove(path)
        os.symlink(os.path.basename(path), path)
        self.refused(path, "can't be read: Too many levels")

    def test_K01_rights(self) -> None:
        path = self.put(RSA)
        os.chmod(path, 0o644)
        self.assertEqual(load(path).open_to, "everybody")
        os.chmod(path, 0)
        if os.geteuid():
            self.refused(path, "can't be read: Permission denied")

    def test_record(self) -> None:
        """RFC 6376 3.6.1, RFC 8463 4: the bare 32 bytes of an Ed25519 key."""
        self.assertRegex(load(self.put(RSA)).record(), r"^v=DKIM1; k=rsa; p=MIGf[A-Za-z0-9+/]+=*$")
        self.assertRegex(load(self.put(ED25519)).record(), r"^v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=$")


class Names(SynchronousTestCase):
    def test_K02_names_that_are_none(self) -> None:
        for domain, selector in (
            ("../../etc/passwd", "s"), ("a/b", "s"), ("a\0b", "s"), ("a" * 64 + ".test", "s"), ("a." * 150, "s"),
            ("", "s"), (".", "s"), ("..", "s"), ("a..b", "s"), (".a", "s"), ("a.", "s"), ("-a.test", "s"),
            ("bücher.test", "s"), ("a b", "s"), ("a\r\nb", "s"), ("a;b", "s"), ("a:b", "s"), ("a=b", "s"), ("a\n", "s"),
            ("a.test", ""), ("a.test", "s/t"), ("a.test", "../s"), ("a.test", "s\0"), ("a.test", "s" * 64),
            ("a.test", "s.t"), ("a.test", "s;"), ("a.test", "s\n"), ("a.test", "ü"), (".".join(["a" * 60] * 4), "s"),
        ):  # fmt: skip
            self.assertRaises(ValueError, key_name, domain, selector)

    def test_files(self) -> None:
        self.assertEqual(of_file("Example.COM.S1.pem"), KeyName("example.com", "s1", "Example.COM.S1.pem"))
        self.assertEqual(of_file("xn--bcher-kva.test._a-b.pem"), None)
        self.assertEqual(of_file("a_b.test.s_1.pem"), KeyName("a_b.test", "s_1", "a_b.test.s_1.pem"))
        for file in ("x.pem", ".pem", "a.s.PEM", "a.s.key", "a..pem", "..s.pem", "a.s.pem.bak", "\udc80.s.pem"):
            self.assertEqual(of_file(file), None, repr(file))

    def test_record(self) -> None:
        self.assertEqual(key_name("Example.test", "S1").record, "s1._domainkey.example.test")
        self.assertTrue(is_domain("localhost"))


class Ring(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.later = 10**20  # Whatever was changed is settled.
        self.ring = KeyRing(self.directory, 3, lambda: self.later)
        self.name = key_name("a.test", "s")

    def public(self, name: KeyName) -> bytes:
        return self.ring.get(name).public()

    def test_K03_the_next_use_sees_a_new_key(self) -> None:
        put(self.directory, self.name.file, RSA)
        first = self.public(self.name)
        self.assertIs(self.ring.get(self.name), self.ring.get(self.name))
        put(self.directory, "new", OTHER_RSA)
        os.rename(f"{self.directory}/new", f"{self.directory}/{self.name.file}")
        self.assertNotEqual(self.public(self.name), first)
        os.remove(f"{self.directory}/{self.name.file}")
        self.assertRaises(KeyUnusable, self.ring.get, self.name)
        put(self.directory, self.name.file, RSA)
        self.assertEqual(self.public(self.name), first)

    def test_K03_written_over_within_one_step_of_the_clock(self) -> None:
        """Neither time nor size tells: what has just been changed is read again."""
        self.later = 0
        path = put(self.directory, self.name.file, RSA)
        first = self.public(self.name)
        before = os.stat(path)
        with open(path, "r+b") as file:
            file.write(pem(OTHER_RSA))
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
        self.assertNotEqual(self.public(self.name), first)

    def test_K01_what_can_not_be_read_now_is_read_again(self) -> None:
        """The file stays as it is when files to open run out."""
        put(self.directory, self.name.file, RSA)
        with patch("os.open", side_effect=OSError(errno.EMFILE, "Too many open files")):
            error = self.assertRaises(KeyUnusable, self.ring.get, self.name)
            self.assertIn("can't be read", str(error))
        self.assertIs(self.ring.get(self.name), self.ring.get(self.name))

    def test_K01_rights_taken_away(self) -> None:
        path = put(self.directory, self.name.file, RSA)
        self.ring.get(self.name)
        os.chmod(path, 0)
        if os.geteuid():
            self.assertRaises(KeyUnusable, self.ring.get, self.name)

    def test_no_more_are_kept_than_that(self) -> None:
        names = [key_name(f"d{number}.test", "s") for number in range(10)]
        for name in names:
            put(self.directory, name.file, ED25519)
            self.ring.get(name)
        self.assertEqual(list(self.ring._kept), [name.file for name in names[-3:]])
        self.ring.get(names[-3])
        self.ring.get(names[0])
        self.assertIn(names[-3].file, self.ring._kept)
