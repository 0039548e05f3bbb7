"""TLS of listeners: which certificate whom is shown, replaced files, clients' certificates, old versions.

Client and server are two OpenSSL connections in memory; over sockets in test_entrance.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Listener
from relay.net import tls as module
from relay.net.credentials import names, read
from relay.net.tls import LOOK, TICKET_KEY_AGE, ServerTls, TlsUnusable, certificate_names, description, server_tls
from tests.unit.certificates import Authority, Pair

AUTHORITY = Authority()
DEFAULT = AUTHORITY.server("mail.example.com")


class Wire:
    """A handshake in memory; `server` stands for the transport too."""

    def __init__(self, tls: ServerTls, name: bytes = b"", **options: Any) -> None:
        former: Wire | None = options.get("again")
        context = SSL.Context(SSL.TLS_CLIENT_METHOD) if former is None else former.client.get_context()
        shown: Pair | None = options.get("certificate")
        if shown is not None and former is None:
            context.use_certificate(shown.certificate)
            context.use_privatekey(shown.key)
        if "newest" in options:
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_max_proto_version(options["newest"])
        self.client = SSL.Connection(context, None)
        self.client.set_connect_state()
        if name:
            self.client.set_tlsext_host_name(name)
        if former is not None:
            session = former.client.get_session()
            assert session is not None
            self.client.set_session(session)
        self.server = tls.options.serverConnectionForTLS(None)  # type: ignore[arg-type]
        self.server.set_accept_state()
        self.shake()

    def getHandle(self) -> SSL.Connection:
        return self.server

    def shake(self) -> None:
        for _ in range(6):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                for step in (one.do_handshake, lambda one=one: one.recv(100)):
                    try:
                        step()
                    except SSL.WantReadError:
                        pass
                try:
                    other.bio_write(one.bio_read(1 << 16))
                except SSL.WantReadError:
                    pass

    @property
    def taken_up(self) -> bool:
        """Whether it is an earlier session."""
        return bool(SSL._lib.SSL_session_reused(self.server._ssl))  # type: ignore[attr-defined]

    @property
    def shown(self) -> int:
        certificate = self.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.serial_number


class TlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.directory = Path(self.mktemp())
        self.folder = self.directory / "names"
        self.folder.mkdir(parents=True)
        self.certificate = DEFAULT.write(self.directory / "mail.pem")
        self.section = Listener(tls="starttls", certificate=self.certificate)

    def tls(self, **keys: Any) -> ServerTls:
        section = Listener(**{"tls": "starttls", "certificate": self.certificate, **keys})
        return ServerTls(section, self.clock.seconds)

    def put(self, path: str | Path, content: bytes) -> None:
        """As certbot does it: another file under the same name."""
        Path(f"{path}.new").write_bytes(content)
        os.replace(f"{path}.new", path)

    def replace(self, path: str | Path, content: bytes) -> None:
        """The same, and a second passes."""
        self.put(path, content)
        self.clock.advance(LOOK)


class Handshakes(TlsCase):
    def test_what_is_spoken(self) -> None:
        wire = Wire(self.tls())
        self.assertEqual(wire.shown, DEFAULT.number)
        self.assertEqual(description(wire), "TLSv1.3 TLS_AES_256_GCM_SHA384")
        self.assertEqual(certificate_names(wire), ())

    def test_tls_1_2(self) -> None:
        wire = Wire(self.tls(), newest=SSL.TLS1_2_VERSION)
        self.assertRegex(description(wire), "^TLSv1.2 ECDHE-ECDSA-(AES...-GCM|CHACHA20)-")

    def test_older_versions_are_refused(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            error = self.assertRaises(SSL.Error, Wire, self.tls(), newest=version)
            self.assertIn("unsupported protocol", str(error))

    def test_renegotiation_is_refused_S44(self) -> None:
        wire = Wire(self.tls(), newest=SSL.TLS1_2_VERSION)
        self.assertTrue(wire.client.renegotiate())
        error = self.assertRaises(SSL.Error, wire.shake)
        self.assertIn("no renegotiation", str(error))
        self.assertEqual(wire.server.total_renegotiations(), 0)

    def test_not_secure(self) -> None:
        self.assertEqual(description(object()), "")
        self.assertEqual(certificate_names(object()), ())
        self.assertEqual(description(type("Plain", (), {"getHandle": lambda self: 7})()), "")

    def test_before_the_handshake(self) -> None:
        wire = Wire(self.tls())
        wire.server = self.tls().serverConnectionForTLS(None)  # type: ignore[arg-type]
        wire.server.set_accept_state()
        self.assertEqual((description(wire), certificate_names(wire)), ("", ()))

    def test_sessions_are_taken_up_until_the_ticket_key_is_too_old(self) -> None:
        tls = self.tls()
        first = Wire(tls, newest=SSL.TLS1_2_VERSION)
        self.assertTrue(Wire(tls, again=first).taken_up)
        self.clock.advance(TICKET_KEY_AGE)
        self.assertFalse(Wire(tls, again=first).taken_up)

    def test_off(self) -> None:
        self.assertIsNone(server_tls(Listener(), self.clock.seconds))
        self.assertIsInstance(server_tls(self.section, self.clock.seconds), ServerTls)


class Unusable(TlsCase):
    """A start with such files is refused, with the key, the file and the reason in one line."""

    def refused(self, **keys: str) -> str:
        error = self.assertRaises(TlsUnusable, self.tls, **keys)
        self.assertNotIn("\n", str(error))
        return str(error).replace(str(self.directory), "DIR")

    def file(self, content: bytes) -> str:
        path = self.directory / "bad.pem"
        path.write_bytes(content)
        return str(path)

    def test_certificates(self) -> None:
        for content, reason in [
            (b"", "no certificate in PEM form is in it"),
            (DEFAULT.key_pem, "no certificate in PEM form is in it"),
            (DEFAULT.pem[:100], "no certificate in PEM form is in it"),
            (b"\0" * (1 << 20) + b"\0", "it is larger than 1048576 bytes"),
        ]:
            said = self.refused(certificate=self.file(content))
            self.assertTrue(said.startswith(f"certificate: DIR/bad.pem: {reason}"), said)
        said = self.refused(certificate=str(self.directory / "none.pem"))
        self.assertEqual(said, "certificate: DIR/none.pem: it can't be read: No such file or directory")
        self.assertIn("Is a directory", self.refused(certificate=str(self.directory)))

    def test_keys(self) -> None:
        for content, reason in [
            (DEFAULT.chain_pem, "no private key in PEM form is in it"),
            (DEFAULT.locked(b"secret"), "the private key in it is locked by a passphrase"),
            (AUTHORITY.key_pem, "it does not fit the first certificate in DIR/mail.pem"),
        ]:
            said = self.refused(key=self.file(content))
            self.assertTrue(said.startswith(f"key: DIR/bad.pem: {reason}"), said)
        said = self.refused(key=str(self.directory / "none.key"))
        self.assertEqual(said, "key: DIR/none.key: it can't be read: No such file or directory")

    def test_the_rest(self) -> None:
        self.assertEqual(
            self.refused(certificates=self.certificate), "certificates: DIR/mail.pem: expected a directory"
        )
        said = self.refused(client_ca=self.file(b"?"))
        self.assertTrue(said.startswith("client_ca: DIR/bad.pem: no certificate"), said)
        weak = AUTHORITY.server("a.example", key=rsa.generate_private_key(65537, 1024))
        said = self.refused(certificate=self.file(weak.pem))
        self.assertEqual(said, "certificate: DIR/bad.pem: OpenSSL refuses it: ee key too small")

    def test_a_chain_and_a_key_of_its_own(self) -> None:
        (self.directory / "chain.pem").write_bytes(DEFAULT.chain_pem + AUTHORITY.chain_pem)
        (self.directory / "own.key").write_bytes(DEFAULT.key_pem)
        files = str(self.directory / "chain.pem"), str(self.directory / "own.key")
        self.assertEqual(len(read(*files).chain), 2)
        wire = Wire(self.tls(certificate=files[0], key=files[1]))
        chain = wire.client.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(chain, [DEFAULT.certificate, AUTHORITY.certificate])


class Replaced(TlsCase):
    """K03 for certificates: what is read again, when, and what a bad replacement does."""

    def test_the_new_one_is_shown_within_a_second(self) -> None:
        tls, renewed = self.tls(), AUTHORITY.server("mail.example.com")
        open_one = Wire(tls)
        with capturedLogs() as events:
            self.replace(self.certificate, renewed.pem)
            self.assertEqual(Wire(tls).shown, renewed.number)
        self.assertEqual([event["log_format"] for event in events], ["{file}: read again, expires {expires}"])
        open_one.client.send(b"still here")
        open_one.server.bio_write(open_one.client.bio_read(1000))
        self.assertEqual(open_one.server.recv(100), b"still here")
        self.assertEqual(tls.expires, renewed.certificate.not_valid_after_utc)

    def test_files_are_looked_at_once_a_second(self) -> None:
        tls = self.tls()
        looks: list[str] = []
        stamp = module.credentials.stamp
        self.patch(module.credentials, "stamp", lambda path: looks.append(path) or stamp(path))
        for _ in range(5):
            Wire(tls)
        self.assertEqual(looks, [])
        self.clock.advance(LOOK)
        Wire(tls), Wire(tls)
        self.assertEqual(looks.count(self.certificate), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_crowd_of_handshakes_does_not_put_it_off(self) -> None:
        tls, renewed = self.tls(), AUTHORITY.server("mail.example.com")
        self.put(self.certificate, renewed.pem)
        shown = []
        for _ in range(8):
            self.clock.advance(LOOK / 4)
            shown.append(Wire(tls).shown)
        self.assertEqual(shown, [DEFAULT.number] * 3 + [renewed.number] * 5)

    def test_a_broken_one_leaves_the_former(self) -> None:
        tls = self.tls()
        other = AUTHORITY.server("mail.example.com")
        for content in (b"", DEFAULT.chain_pem + other.key_pem, None):
            with capturedLogs() as events:
                if content is None:
                    os.remove(self.certificate)
                    self.clock.advance(LOOK)
                else:
                    self.replace(self.certificate, content)
                for _ in range(3):
                    self.assertEqual(Wire(tls).shown, DEFAULT.number)
                    self.clock.advance(LOOK)
            (event,) = events
            self.assertEqual(event["file"], self.certificate)
            self.assertEqual(event["then"], "the former certificate stays in use")
        self.replace(self.certificate, other.pem)
        self.assertEqual(Wire(tls).shown, other.number)

    def test_certificate_and_key_one_after_the_other(self) -> None:
        key = str(self.directory / "mail.key")
        Path(key).write_bytes(DEFAULT.key_pem)
        tls, renewed = self.tls(key=key), AUTHORITY.server("mail.example.com")
        with capturedLogs() as events:
            self.replace(self.certificate, renewed.chain_pem)
            self.assertEqual(Wire(tls).shown, DEFAULT.number)
            self.replace(key, renewed.key_pem)
            self.assertEqual(Wire(tls).shown, renewed.number)
        self.assertEqual(len(events), 2)


class Names(TlsCase):
    """RFC 6066 3: the certificate of the name that was asked for."""

    def setUp(self) -> None:
        super().setUp()
        self.one = AUTHORITY.server("one.example.com")
        self.wild = AUTHORITY.server("*.example.com")
        self.one.write(self.folder / "one.example.com.pem")
        (self.folder / "*.example.com.pem").write_bytes(self.wild.chain_pem)
        (self.folder / "*.example.com.key").write_bytes(self.wild.key_pem)
        self.server = self.tls(certificates=str(self.folder))

    def shown(self, name: bytes) -> int:
        return Wire(self.server, name).shown

    def test_which(self) -> None:
        for name, expected in [
            (b"one.example.com", self.one),
            (b"ONE.example.COM", self.one),
            (b"two.example.com", self.wild),
            (b"a.two.example.com", DEFAULT),
            (b"example.com", DEFAULT),
            (b"mail.example.com.", DEFAULT),
            (b"*.example.com", DEFAULT),
            (b"../mail", DEFAULT),
            (b"..", DEFAULT),
            (b"\xc3\xa9.example.com", DEFAULT),
            (b"x" * 255, DEFAULT),
            (b"", DEFAULT),
        ]:
            self.assertEqual(self.shown(name), expected.number, name)

    def test_one_more_and_one_less(self) -> None:
        two = AUTHORITY.server("two.example.com")
        self.assertEqual(self.shown(b"two.example.com"), self.wild.number)
        two.write(self.folder / "two.example.com.pem")
        self.assertEqual(self.shown(b"two.example.com"), two.number)
        with capturedLogs() as events:
            os.remove(self.folder / "two.example.com.pem")
            self.clock.advance(LOOK)
            self.assertEqual(self.shown(b"two.example.com"), self.wild.number)
        self.assertEqual(events, [])

    def test_replaced(self) -> None:
        self.assertEqual(self.shown(b"one.example.com"), self.one.number)
        renewed = AUTHORITY.server("one.example.com")
        self.replace(self.folder / "one.example.com.pem", renewed.pem)
        self.assertEqual(self.shown(b"one.example.com"), renewed.number)
        with capturedLogs() as events:
            self.replace(self.folder / "one.example.com.pem", b"?")
            self.assertEqual(self.shown(b"one.example.com"), renewed.number)
        self.assertEqual(len(events), 1)

    def test_broken_from_the_start(self) -> None:
        """It is said once, and the others beside it do."""
        (self.folder / "bad.example.com.pem").write_bytes(b"?")
        with capturedLogs() as events:
            for _ in range(3):
                self.assertEqual(self.shown(b"bad.example.com"), self.wild.number)
                self.clock.advance(LOOK)
        (event,) = events
        self.assertEqual(event["then"], "it is not used")
        self.one.write(self.folder / "bad.example.com.pem")
        self.clock.advance(LOOK)
        self.assertEqual(self.shown(b"bad.example.com"), self.one.number)

    def test_many_are_not_all_kept(self) -> None:
        self.patch(module, "MOST_NAMES", 2)
        for name in ("a.example.com", "b.example.com", "c.example.com"):
            self.one.write(self.folder / f"{name}.pem")
            self.assertEqual(self.shown(name.encode()), self.one.number)
        self.assertEqual(len(self.server._named), 2)
        self.assertEqual(self.shown(b"a.example.com"), self.one.number)

    def test_trouble_is_logged_and_the_default_shown(self) -> None:
        def breaks(name: str) -> None:
            raise KeyError("bug")

        self.server._find = breaks  # type: ignore[method-assign]
        self.assertEqual(self.shown(b"one.example.com"), DEFAULT.number)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class ClientCertificates(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.ca = str(self.directory / "ca.pem")
        Path(self.ca).write_bytes(AUTHORITY.chain_pem)
        self.server = self.tls(client_ca=self.ca)
        self.emails = AUTHORITY.client("x", ["user@example.com"], ["host.example.com"])

    def test_names(self) -> None:
        for pair, expected in [
            (self.emails, ("user@example.com", "host.example.com")),
            (AUTHORITY.client("host.example.com"), ("host.example.com",)),
            (AUTHORITY.client("two words"), ()),
            (AUTHORITY.client("a\0b"), ()),
            (AUTHORITY.client("x", ["x" * 5000 + "@example.com", "b@example.com"]), ("b@example.com",)),
        ]:
            self.assertEqual(certificate_names(Wire(self.server, certificate=pair)), expected)
            self.assertEqual(names(pair.certificate), expected)

    def test_none_is_needed(self) -> None:
        self.assertEqual(certificate_names(Wire(self.server)), ())

    def test_none_is_asked_for_without_an_authority(self) -> None:
        self.assertEqual(certificate_names(Wire(self.tls(), certificate=self.emails)), ())

    def test_of_another_authority(self) -> None:
        other = Authority("Test CA").client("user@example.com")
        server_cert = AUTHORITY.server("user@example.com")  # not for clients
        for pair in (other, server_cert):
            error = self.assertRaises(SSL.Error, Wire, self.server, certificate=pair)
            self.assertIn("certificate verify failed", str(error))

    def test_names_of_the_folder_check_too(self) -> None:
        AUTHORITY.server("one.example.com").write(self.folder / "one.example.com.pem")
        server = self.tls(client_ca=self.ca, certificates=str(self.folder))
        wire = Wire(server, b"one.example.com", certificate=self.emails)
        self.assertEqual(certificate_names(wire)[0], "user@example.com")
        other = Authority("Test CA").client("user@example.com")
        self.assertRaises(SSL.Error, Wire, server, b"one.example.com", certificate=other)

    def test_another_authority_takes_over(self) -> None:
        new = Authority("New CA")
        self.assertEqual(len(certificate_names(Wire(self.server, certificate=self.emails))), 2)
        self.replace(self.ca, new.chain_pem)
        self.assertRaises(SSL.Error, Wire, self.server, certificate=self.emails)
        self.assertEqual(certificate_names(Wire(self.server, certificate=new.client("a@b.c"))), ("a@b.c",))

    def test_no_session_is_taken_up(self) -> None:
        """Its certificate would not be checked again."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            first = Wire(self.server, certificate=self.emails, newest=version)
            again = Wire(self.server, again=first)
            self.assertFalse(again.taken_up)
            self.assertEqual(len(certificate_names(again)), 2)

    def test_an_extension_that_is_none(self) -> None:
        class Broken:
            @property
            def extensions(self) -> x509.Extensions:
                raise ValueError("invalid tag")

        self.assertEqual(names(Broken()), ())  # type: ignore[arg-type]
