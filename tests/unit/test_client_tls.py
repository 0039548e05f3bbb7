"""Handshakes with hosts: which come about, and what their certificates are found to be worth."""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, load_certificate
from twisted.trial.unittest import SynchronousTestCase

from relay.net.client_tls import ClientTls, Handshake, TlsUnusable
from relay.net.dane import Dane
from tests.unit.certificates import Authority, Pair
from tests.unit.test_dane import record


def serving(
    shown: Pair, *between: Pair, newest: int = SSL.TLS1_3_VERSION, certificate: X509 | None = None
) -> SSL.Connection:
    """A server that shows a certificate, or this one for its key instead, and speaks no newer TLS than that."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(newest)
    context.use_certificate(certificate or X509.from_cryptography(shown.certificate))
    context.use_privatekey(shown.key)
    for one in between:
        context.add_extra_chain_cert(X509.from_cryptography(one.certificate))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    return server


class HandshakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority()
        self.file = self.mktemp()
        with open(self.file, "wb") as file:
            file.write(self.authority.chain_pem)
        self.tls = ClientTls(self.file)

    def shaken(self, server: SSL.Connection, host: str = "mx.test", permissive: bool = False) -> Handshake:
        """Raises SSL.Error."""
        handshake = self.tls.to(host, permissive)
        client = handshake.clientConnectionForTLS(None)  # type: ignore[arg-type]
        client.set_connect_state()
        for _ in range(20):
            for one, other in ((client, server), (server, client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    other.bio_write(one.bio_read(1 << 16))
                except SSL.WantReadError:
                    pass
        return handshake

    def test_a_host_that_proves_itself(self) -> None:
        handshake = self.shaken(serving(self.authority.server("other.test", "mx.test")))
        self.assertEqual((handshake.error, handshake.distrust()), (0, ""))
        self.assertRegex(handshake.description(), r"^TLSv1\.3 TLS_[A-Z0-9_]+$")

    def test_a_certificate_that_libraries_do_not_expect(self) -> None:
        """The authority has signed it, and OpenSSL trusts it; its version is none that there is."""
        pair, old = self.authority.server("mx.test"), bytes.fromhex("a003020102")
        made = self.authority.forged(pair, old, bytes.fromhex("a003020103"))
        server = serving(pair, certificate=load_certificate(FILETYPE_ASN1, made))
        handshake = self.shaken(server)
        self.assertEqual((handshake.error, handshake.distrust()), (0, "the certificate can't be read"))

    def test_names(self) -> None:
        for shown, host, fine in (
            ("*.mx.test", "one.mx.test", True),
            ("*.mx.test", "a.one.mx.test", False),
            ("*.test", "mx.test", False),
            ("mx.test", "MX.test.", True),
            ("mx.test", "mx.test.evil.example", False),
            ("mx.test", "192.0.2.1", False),
        ):
            distrust = self.shaken(serving(self.authority.server(shown)), host).distrust()
            self.assertEqual(distrust == "", fine, (shown, host, distrust))

    def test_D25_certificates_that_prove_nothing(self) -> None:
        """They serve where nothing has to be proven, and are told from those that do."""
        old = self.authority.server("mx.test", days=-1)
        for shown, words in (
            (Authority("mx.test"), "self-signed"),
            (Authority("Somebody").server("mx.test"), "unable to get local issuer certificate"),
            (old, "expired"),
            (self.authority.server("else.test"), "another host"),
            (self.authority.client("mx.test", hosts=["mx.test"]), "not made for servers"),
        ):
            handshake = self.shaken(serving(shown))
            self.assertIn(words, handshake.distrust())
            self.assertEqual(handshake.error == 0, words == "another host")
            self.assertTrue(handshake.description())

    def test_old_versions_only_where_that_is_better_than_nothing(self) -> None:
        for newest in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            shown = self.authority.server("mx.test")
            self.assertRaises(SSL.Error, self.shaken, serving(shown, newest=newest))
            handshake = self.shaken(serving(shown, newest=newest), permissive=True)
            self.assertIn("TLSv1", handshake.description())
        self.assertIn("TLSv1.2", self.shaken(serving(shown, newest=SSL.TLS1_2_VERSION)).description())

    def test_authorities_that_are_none(self) -> None:
        self.assertRaises(TlsUnusable, ClientTls(self.mktemp()).to, "mx.test")

    def test_the_systems_own(self) -> None:
        self.tls = ClientTls()
        self.assertIn("not trusted", self.shaken(serving(self.authority.server("mx.test"))).distrust())

    def test_D27_tlsa_records(self) -> None:
        """Whoever the authorities of the system are, the records decide; all of the chain that is shown counts."""
        authority = Authority("Nobody's")
        shown = authority.server("mx.test")
        for records, fine in (
            ((record(3, shown),), True),
            ((record(2, authority),), True),
            ((record(3, authority),), False),
            ((), False),
        ):
            handshake = self.shaken(serving(shown, authority))
            doubt = handshake.mismatch(Dane("mx.test", ("mx.test",), records))
            self.assertEqual(doubt is None, fine, records)
            self.assertNotEqual(handshake.error, 0)
