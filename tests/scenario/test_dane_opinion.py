"""D27: what OpenSSL's own DANE, to which Python has no way, makes of the same certificates and records."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from relay.net.dane import Dane
from relay.net.tlsa import Record, usable
from tests.scenario.interop import program
from tests.unit.certificates import Authority, Pair
from tests.unit.test_dane import record, said
from tests.unit.test_tlsa import der

HOST = "mx.test"


def chains() -> Iterator[tuple[list[Pair], Authority]]:
    """What hosts may show, and be right or wrong with, and their root."""
    root, other = Authority("Root"), Authority("Root")
    middle, old = Authority("Middle", root), Authority("Old", root, days=-1)
    narrow, customer = Authority("Narrow", root, permitted="else.test"), Authority("No CA", root, certifies=False)
    leaf = middle.server(HOST)
    yield [leaf, middle, root], root
    yield [leaf, root, middle], root
    yield [leaf, middle], root
    yield [leaf, root], root
    yield [leaf, other, middle], root
    yield [middle.server("else.test"), middle], root
    yield [middle.server("*.test"), middle], root
    yield [middle.common(HOST), middle], root
    yield [middle.server(HOST, days=-1), middle], root
    yield [middle.client(HOST, hosts=(HOST,)), middle], root
    for one in (old, narrow, customer):
        yield [one.server(HOST), one, root], root
    yield [root.server(HOST)], root
    yield [root.server(HOST, days=-1)], root
    yield [leaf], root
    yield [leaf, Authority("Middle", other)], root
    alone = Authority(HOST)
    yield [alone], alone


def subject(pair: Pair) -> object:
    return pair.certificate.subject


class Opinion(TestCase):
    timeout = 120

    async def test_D27_openssl_agrees(self) -> None:
        openssl = program("openssl")
        for number, (shown, root) in enumerate(chains()):
            cases = [record(3, shown[0]), record(2, shown[0], 0, 0)]
            for pair in dict.fromkeys((*shown[1:], root)):
                if pair.certificate.not_valid_after_utc < datetime.now(UTC):
                    continue  # OpenSSL has no eye for the date of an authority that is itself below another; we have.
                cases.append(record(2, pair))
            if shown[0] is not root:
                cases.append(record(2, root, 0, 0))
            if shown[0] is not root and all(one is root or subject(one) != subject(root) for one in shown):
                # OpenSSL looks no further than to one of the authority's name; we know by its key that it isn't meant.
                cases.append(record(2, root, 1, 0))
            ours = [self.ours(shown, one) for one in cases]
            theirs = await deferToThread(self.theirs, openssl, shown, cases)
            for one, mine, opinion in zip(cases, ours, theirs, strict=True):
                self.assertEqual(mine == "", opinion, f"chain {number}, {one}: {mine or 'trusted'}")

    def ours(self, shown: Sequence[Pair], one: Record) -> str:
        return said([der(pair) for pair in shown], Dane(HOST, (HOST,), usable([one])), datetime.now(UTC))

    def theirs(self, openssl: str, shown: Sequence[Pair], records: Sequence[Record]) -> list[bool]:
        """Whether its client trusts its server, by each of the records alone."""
        own, above = self.mktemp(), self.mktemp()
        shown[0].write(own)
        with open(above, "wb") as file:
            file.writelines(pair.chain_pem for pair in shown[1:])
        nothing = subprocess.DEVNULL
        more = ("-cert_chain", above) if shown[1:] else ()
        words = (openssl, "s_server", "-accept", "127.0.0.1:0", "-cert", own, *more, "-naccept", str(len(records)))
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=nothing) as server:
            try:
                assert server.stdout is not None
                port = next(line.split(b":")[-1].strip() for line in server.stdout if line.startswith(b"ACCEPT 127."))
                return [self._agrees(openssl, port.decode(), one) for one in records]
            finally:
                server.kill()

    def _agrees(self, openssl: str, port: str, one: Record) -> bool:
        done = subprocess.run(
            (
                openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-dane_tlsa_domain", HOST, "-verify_return_error",
                "-dane_ee_no_namechecks", "-brief", "-dane_tlsa_rrdata", " ".join((*map(str, one[:3]), one.data.hex())),
            ),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=10,
        )  # fmt: skip
        return done.returncode == 0
