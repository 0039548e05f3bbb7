"""`zonerelay route`: what it says is what the relay would do."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.cli import route
from relay.cli.main import main
from relay.config.load import load
from relay.delivery.sts.policy import Mode
from relay.delivery.sts.shelf import Kept, Shelf
from relay.net.dns import NoData, NoSuchDomain
from relay.zone.zones import from_config
from tests.unit.test_cli import never

CONFIG = """
hostname = "relay.example.com"
[listeners.feeder]
[listeners.apps]
endpoint = "tcp:2526"
allow_networks = ["10.0.0.0/8"]
allow_routing_headers = true
[pools]
default = [{ address = "192.0.2.1" }]
news = [
  { address = "192.0.2.11", name = "n1.example.com" },
  { address = "192.0.2.12", name = "n2.example.com" },
  { address = "192.0.2.13", name = "n3.example.com" },
  { address = "192.0.2.14", name = "n4.example.com", ratio = 0.05 },
  { address = "2001:db8::11", name = "n1.example.com" },
]
[zones.News]
pool = "news"
sender_domains = ["news.example.com"]
messages = ["20000/h", "5/s"]
throttling = "100/m"
address = { messages = ["5000/h"] }
[zones.sticky]
pool = "news"
pool_hash = "from"
users = ["bob"]
prefer_ipv6 = true
[zones.hop]
host = "hop.example.com"
port = 26
client_networks = ["10.0.0.0/8"]
[zones.off]
disabled = true
[domains."example.net"]
max_connections = 2
disabled_addresses = ["192.0.2.12"]
ignore_ipv6 = "on"
[sites.Gmail]
max_connections = 7
bytes = ["1GB/h"]
[senders.bob]
messages = ["9/m"]
"""
ID = "1a20169d1ea000beef"


class RouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.path = self.mktemp()
        Path(self.path).write_text(CONFIG)

    def run_with(self, *words: str) -> int:
        self.out.seek(0)
        self.out.truncate()
        self.err.seek(0)
        self.err.truncate()
        return main(["route", "--config", self.path, *words], never)

    def told(self, *words: str, sender: str = "a@news.example.com", to: str = "b@example.org") -> str:
        self.assertEqual(self.run_with("--from", sender, "--to", to, *words), 0, self.err.getvalue())
        self.assertEqual(self.err.getvalue(), "")
        return self.out.getvalue()

    def test_the_site_as_the_dns_has_it(self) -> None:
        class FakeDns:
            def __init__(self, reactor: Any, config: Any) -> None:
                pass

            async def mx(self, domain: str) -> list[tuple[int, str]]:
                if domain == "gone.test":
                    raise NoSuchDomain("gone.test does not exist")
                if domain == "bare.test":
                    raise NoData("bare.test has no MX")
                return [(5, "aspmx.l.google.com")]

        def react(main: Any) -> None:
            done: list[Any] = []
            main(None).addCallback(done.append)
            assert done, "nothing here takes time"

        self.patch(route, "Resolver", FakeDns)
        self.patch(route, "react", react)
        self.assertIn("sites.Gmail.max_connections", self.told("--dns", to="b@hosted.test"))
        self.assertIn("sites.default.max_connections", self.told("--dns", to="b@bare.test"))
        self.assertIn("sites.default.max_connections", self.told("--dns", to="b@[9.9.9.9]"))
        self.assertEqual(self.run_with("--dns", "--from", "a@b.test", "--to", "c@gone.test"), 1)
        self.assertEqual(self.err.getvalue(), "zonerelay: --dns: gone.test: gone.test does not exist\n")

    def asked(self, *words: str, **mail: str) -> dict[str, Any]:
        [way] = json.loads(self.told("--json", *words, **mail))
        found: dict[str, Any] = way
        return found

    def limits(self, *words: str, **mail: str) -> dict[str, str]:
        return {bound["key"]: bound["limit"] for bound in self.asked(*words, **mail)["limits"]}

    def test_tls(self) -> None:
        """A domain's own word holds, but not for a fixed next hop."""
        for to, sender, told in (
            ("b@example.org", "a@news.example.com", "may: encrypted where the host can, with any certificate, else in"),
            ("b@safe.test", "a@news.example.com", "verify: encrypted, with a certificate of the host's"),
            ("b@safe.test", "a@hop.test", "must: encrypted, with any certificate, or not at all, from the first byte"),
        ):
            hop = 'tls = "must"\nimplicit_tls = true\nsender_domains = ["hop.test"]\n[zones.off]'
            safe = '[domains."safe.test"]\ntls = "verify"\n'
            Path(self.path).write_text(CONFIG.replace("[zones.off]", hop) + safe)
            self.assertTrue(self.asked(to=to, sender=sender)["tls"].startswith(told))

    def test_what_a_message_asks_of_tls(self) -> None:
        """By its header, where that is believed; never less than zone and domain; REQUIRETLS; TLS-Required."""
        more = '[domains."safe.test"]\ntls = "verify"\nsts = "off"\n[dns]\ndnssec = true\n'
        Path(self.path).write_text(CONFIG + more)
        less = "asks for less: may"
        for words, to, tls, sts in (
            ("X-Sending-TLS: must", "b@x.test", f"must: .* (X-Sending-TLS: must; zones.news.tls {less}); as",
             "heeded (zones.news.sts)"),
            ("X-Sending-TLS: must", "b@safe.test", 'verify: .* (domains."safe.test".tls); as',
             'not heeded (domains."safe.test".sts)'),
            ("X-Sending-TLS: sts", "b@safe.test", "sts: .* asks for less: verify); as", "heeded (X-Sending-TLS: sts)"),
            ("REQUIRETLS", "b@safe.test", 'verify: .* (domains."safe.test".tls); as .*; REQUIRETLS, which',
             "heeded (REQUIRETLS)"),
            ("REQUIRETLS TLS-Required: No", "b@x.test", f"verify: .* (REQUIRETLS; zones.news.tls {less}); as",
             "heeded (zones.news.sts)"),
            ("TLS-Required: No", "b@x.test", "may: .*; TLSA records are not asked for (TLS-Required: No)",
             "not heeded (TLS-Required: No)"),
        ):  # fmt: skip
            header = words.removeprefix("REQUIRETLS").strip()
            given = ["--require-tls"] * words.startswith("REQUIRETLS") + ["--header", header] * bool(header)
            found = self.asked(*given, to=to, sender="a@news.example.com")
            self.assertRegex(found["tls"], tls.replace("(", r"\(").replace(")", r"\)"))
            self.assertTrue(found["sts"].startswith(sts), found["sts"])
        bounce = self.asked("--require-tls", to="b@safe.test", sender="<>")["tls"]
        self.assertTrue(bounce.endswith("policy to name it; else, for it is a bounce, as without: verify"), bounce)
        told = self.told("--header", "X-Sending-TLS: dane", "--listener", "feeder", sender="a@news.example.com")
        self.assertRegex(told, r"TLS +may: .*\(zones\.news\.tls\)")
        self.assertIn("passed over: X-Sending-TLS: dane, which this listener doesn't believe\n", told)
        self.assertEqual(self.run_with("--header", "X-Sending-TLS: x", "--from", "a@b.test", "--to", "c@d.test"), 1)
        self.assertRegex(self.err.getvalue(), "^zonerelay: X-Sending-TLS: expected one of none, may, ")

    def test_together_and_by_lmtp(self) -> None:
        """Recipients that travel together have one address."""
        many = "recipients_per_transaction = 20\n"
        hop = f'lmtp = true\n{many}sender_domains = ["hop.test"]\n[zones.off]'
        Path(self.path).write_text(CONFIG.replace("[zones.off]", hop).replace("throttling", f"{many}throttling"))
        self.assertIn("the next hop hop.example.com:26 by LMTP (", self.asked(sender="a@hop.test")["to"])
        limits = self.limits(sender="a@hop.test")
        self.assertEqual(limits["zones.hop.recipients_per_transaction"], "20 of one message at a time")
        self.assertEqual({self.asked("--id", f"{ID}.00{seq}")["key"] for seq in (1, 2)}, {ID})

    def test_what_the_domain_asks_for(self) -> None:
        queue = Path(self.mktemp())
        queue.mkdir()
        kept = Kept("kept.test", "2", 1_700_000_000_000, Mode.ENFORCE, ("mx.kept.test", "*.else.test"), 86400)
        Shelf(queue / "sts", "1").write(kept)
        hop = 'tls = "must"\nsender_domains = ["hop.test"]\n[zones.off]'
        said = {"off.test": 'sts = "off"', "clear.test": 'tls = "none"', "sts.test": 'tls = "sts"'}
        more = "".join(f'[domains."{domain}"]\n{text}\n' for domain, text in said.items())
        Path(self.path).write_text(CONFIG.replace("[zones.off]", hop) + more + f"[queue]\npath = '{queue}'\n")
        mx = "enforce, mx.kept.test, *.else.test; id 2, until Wed, 15 Nov 2023 22:13:20 +0000"
        for to, sender, told in (
            ("b@kept.test", "a@news.example.com", f"heeded (zones.news.sts); kept here: {mx}"),
            ("b@kept.test", "a@hop.test", "not heeded: a fixed next hop is none of the domain's hosts"),
            ("b@off.test", "a@news.example.com", 'not heeded (domains."off.test".sts)'),
            ("b@clear.test", "a@news.example.com", 'not heeded (domains."clear.test".tls)'),
            ("b@sts.test", "a@news.example.com", 'heeded (domains."sts.test".tls); no policy of sts.test is kept here'),
        ):
            self.assertEqual(self.asked(to=to, sender=sender)["sts"], told)
        [path] = (queue / "sts").iterdir()
        path.write_bytes(b"x")
        found = self.asked(to="b@kept.test", sender="a@news.example.com")["sts"]
        self.assertIn(f"heeded (zones.news.sts); what is kept here of kept.test can't be read: {path}: ", found)

    def test_dane(self) -> None:
        """Told where answers of the DNS are believed, and it isn't clear from the policy."""
        by_records = "; as their TLSA records ask, where hosts have some ({})"
        for dns, domain, told in (
            ("true", "", by_records.format("zones.news.dane")),
            ("true", 'dane = "on"', by_records.format('domains."safe.test".dane')),
            ("true", 'dane = "off"', '; TLSA records are not asked for (domains."safe.test".dane)'),
            ("true", 'tls = "none"', '(domains."safe.test".tls)'),
            ("true", 'tls = "dane"', 'ask for, or not at all (domains."safe.test".tls)'),
            ("false", "", "(zones.news.tls)"),
        ):
            text = f'{CONFIG}[domains."safe.test"]\n{domain}\n[dns]\ndnssec = {dns}\n'
            Path(self.path).write_text(text)
            said = self.asked(to="b@safe.test", sender="a@news.example.com")["tls"]
            self.assertTrue(said.endswith(told), said)

    def test_what_an_operator_reads(self) -> None:
        self.assertEqual(
            self.told("--id", f"{ID}.002", "--site", "gmail"),
            """b@example.org
  zone      news: zones.news.sender_domains has news.example.com
  to        the mail exchangers of example.org
  pool      news
  IPv4      192.0.2.13, EHLO n3.example.com: slot 19 of 22, of which it has 7, by its id 1a20169d1ea000beef.002
  IPv6      2001:db8::11, EHLO n1.example.com: the only one in use
  order     IPv4 first (zones.news.prefer_ipv6)
  limits    zones.news.connections           10 in each process
            zones.news.processes             1
            zones.news.messages              20000/h, 5/s
            zones.news.throttling            100/m on each connection
            zones.news.address.messages      5000/h
            domains.default.max_connections  5
            sites.Gmail.max_connections      7
            sites.Gmail.bytes                1GB/h
  TLS       may: encrypted where the host can, with any certificate, else in the clear (zones.news.tls)
  MTA-STS   heeded (zones.news.sts); no policy of example.org is kept here
""",
        )

    def test_it_is_what_the_relay_chooses(self) -> None:
        zone = from_config(load(self.path))["news"]
        for seq in range(1, 30):
            name = f"{ID}.{seq:03x}"
            way = self.asked("--id", name)
            local = (way["ipv4"]["address"], way["ipv4"]["name"], way["ipv6"]["address"], way["ipv6"]["name"])
            self.assertEqual(local, zone.pool.choose(name))

    def test_recipients_count_from_001(self) -> None:
        self.run_with("--from", "a@news.example.com", "--to", "b@x.org", "--to", "c@example.net", "--id", ID, "--json")
        ways = json.loads(self.out.getvalue())
        self.assertEqual([way["key"] for way in ways], [f"{ID}.001", f"{ID}.002"])
        self.assertEqual([way["recipient"] for way in ways], ["b@x.org", "c@example.net"])

    def test_without_an_id(self) -> None:
        way = self.asked()
        self.assertEqual(way["ipv4"]["address"], "")
        self.assertTrue(way["ipv4"]["why"].startswith("its id picks one of 192.0.2.11 (7 of 22 slots), "))
        self.assertEqual(self.asked(sender="a@x.org")["ipv4"]["address"], "192.0.2.1")

    def test_by_the_sender(self) -> None:
        way = self.asked("--user", "Bob", sender="a@x.org")
        self.assertEqual((way["zone"], way["rule"], way["key"]), ("sticky", "users", "a@x.org"))
        self.assertTrue(way["ipv4"]["why"].endswith(", by its sender <a@x.org>"))
        self.assertEqual(way["ipv6_preference"], "IPv6 first (zones.sticky.prefer_ipv6)")
        self.assertEqual(self.limits("--user", "Bob", sender="a@x.org")["senders.bob.messages"], "9/m")

    def test_a_domain_with_its_own_table(self) -> None:
        way = self.asked("--id", ID, to="b@EXAMPLE.net")
        self.assertEqual(way["disabled_addresses"], ["192.0.2.12"])
        self.assertNotEqual(way["ipv4"]["address"], "192.0.2.12")
        self.assertEqual(way["ipv6_preference"], 'IPv4 only (domains."example.net".ignore_ipv6)')
        self.assertEqual(self.limits(to="b@example.net")['domains."example.net".max_connections'], "2")
        self.assertIn("  not from  192.0.2.12: disabled_addresses of the domain\n", self.told(to="b@example.net"))

    def test_a_fixed_next_hop(self) -> None:
        told = self.told("--client", "10.1.1.1", "--site", "gmail", sender="a@x.org")
        self.assertIn("  to        the next hop hop.example.com:26 (zones.hop.host)\n", told)
        self.assertNotIn("site", told)

    def test_a_next_hop_with_a_login(self) -> None:
        hop = 'host = "hop.example.com"\nport = 26'
        path = Path(self.path)
        path.write_text(path.read_text().replace(hop, hop + '\nauth_user = "bob"\nauth_password_file = "/none"'))
        told = self.told("--client", "10.1.1.1", sender="a@x.org")
        self.assertIn('(zones.hop.host), logged in as "bob" (zones.hop.auth_user)\n', told)

    def test_a_url(self) -> None:
        """What only sender and host are to know of it isn't told."""
        hop = 'host = "hop.example.com"\nport = 26'
        for url, tls in (
            ("https://me:secret@web.example.com/in", "verify: encrypted, with a certificate of the host's"),
            ("http://web.example.com/in", "none: mail leaves in the clear"),
        ):
            Path(self.path).write_text(CONFIG.replace(hop, f'url = "{url}?key=k"'))
            told = self.told("--client", "10.1.1.1", sender="a@x.org")
            shown = url.replace("me:secret@", "")
            self.assertIn(f"  to        {shown}, by HTTP (zones.hop.url)\n", told)
            self.assertIn(f"  TLS       {tls}", told)
            self.assertIn("(zones.hop.url)", told.partition("TLS")[2].partition("\n")[0])

    def test_a_return_path(self) -> None:
        self.assertNotIn("  sender", self.told())
        section = '[returns]\ndomain = "Back.example.com"\nsecret_file = "x"\nkeep_domains = ["news.example.com"]\n'
        for how, sender, said in (
            ("verp", "a@b.example.com", "<bounces+TOKEN@back.example.com>"),
            ("srs", "a@b.example.com", "<SRS0=HASH=DAY=b.example.com=...@back.example.com>"),
            ("srs", "a@back.example.com", "<a@back.example.com>, as it came: back.example.com keeps its return paths"),
            ("verp", "", ""),
        ):
            Path(self.path).write_text(f'{CONFIG}{section}[zones.default]\nreturn_path = "{how}"\n')
            told = self.told(sender=sender)
            self.assertEqual(f"  sender    {said} (zones.default.return_path)\n" in told, bool(said), told)

    def test_a_proxy(self) -> None:
        hop = 'host = "hop.example.com"\n'
        Path(self.path).write_text(CONFIG.replace(hop, hop + 'egress = "socks5://10.0.0.5:1080"\n'))
        told = self.told("--client", "10.1.1.1", sender="a@x.org")
        self.assertIn("  through   socks5://10.0.0.5:1080 (zones.hop.egress)\n", told)

    def test_where_sending_zone_is_believed(self) -> None:
        header = ("--header", "X-Sending-Zone: sticky")
        for words, zone in (((), "sticky"), (("--listener", "apps"), "sticky"), (("--listener", "feeder"), "news")):
            self.assertEqual(self.asked(*header, *words)["zone"], zone)
        told = self.told(*header, "--listener", "feeder")
        self.assertIn("passed over: X-Sending-Zone: sticky, which this listener doesn't believe\n", told)
        told = self.told("--header", "X-Sending-Zone: off")
        self.assertIn("passed over: X-Sending-Zone: off, for no zone of that name sends\n", told)

    def test_the_users_own_zone(self) -> None:
        users = Path(self.mktemp())
        users.write_text("[users.carol]\nzone = 'sticky'\n[users.dave]\nzone = 'none'\n")
        Path(self.path).write_text(f"{CONFIG}\n[access]\nusers = '{users}'\n")
        self.assertEqual(self.asked("--user", "Carol")["rule"], "user's zone")
        told = self.told("--user", "dave")
        self.assertIn("passed over: the user's zone none, for no zone of that name sends\n", told)
        self.assertEqual(self.asked("--user", "eve")["zone"], "news")
        users.write_text("[users]\ncarol = 1\n")
        self.assertEqual(self.run_with("--from", "a@x.org", "--to", "b@x.org", "--user", "carol"), 1)

    def test_the_null_sender(self) -> None:
        for sender in ("", "<>"):
            self.assertEqual(self.asked(sender=sender)["zone"], "default")

    def test_bad_input(self) -> None:
        """One line, on standard error, and code 1."""
        for words, line in (
            (("--from", "a", "--to", "b@x.org"), 'zonerelay: --from "a": no domain'),
            (("--from", "a@x.org", "--to", "b@"), 'zonerelay: --to "b@": empty domain'),
            (("--from", "a@x.org", "--to", "b@localhost"), 'zonerelay: --to "b@localhost": mail to this machine'),
            (("--from", "", "--to", "b@x.org", "--client", "x"), "zonerelay: --client: expected an IP address"),
            (("--from", "", "--to", "b@x.org", "--id", "7"), "zonerelay: --id: expected a queue id"),
            (("--from", "", "--to", "b@x.org", "--header", "a b"), "zonerelay: --header: expected"),
            (("--from", "", "--to", "b@x.org", "--header", "A: b\r\nX-Sending-Zone: c"), "zonerelay: --header: exp"),
            (("--from", "", "--to", "b@x.org", "--listener", "feedr"), "zonerelay: --listener: expected one of feeder"),
            (("--from", "", "--to", "b@x.org", "--to", "c@x.org", "--id", f"{ID}.001"), "zonerelay: --id: with a SEQ"),
        ):
            self.assertEqual(self.run_with(*words), 1, words)
            self.assertTrue(self.err.getvalue().startswith(line), self.err.getvalue())
            self.assertEqual((self.out.getvalue(), self.err.getvalue().count("\n")), ("", 1))

    def test_what_the_documentation_shows(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "zones.md").read_text()
        Path(self.path).write_text(text.partition("```toml\n")[2].partition("```\n")[0])
        chapter = text.partition("Says what would become")[2].partition("`--header")[0]
        shown = textwrap.dedent(chapter.partition("\n\n")[2])
        command, _, told = shown.replace("\\\n", "").partition("\n")
        words = command.split()
        self.assertEqual(words[:5], ["$", "zonerelay", "route", "--config", "zones.toml"])
        self.assertEqual(self.run_with(*words[5:]), 0)
        self.assertEqual(self.out.getvalue().strip(), told.strip())

    def test_a_bad_configuration(self) -> None:
        Path(self.path).write_text("[zones.a]\npool = 'x'\n")
        self.assertEqual(self.run_with("--from", "", "--to", "b@x.org"), 1)
        self.assertIn(f"{self.path}:2: zones.a.pool: ", self.err.getvalue())
