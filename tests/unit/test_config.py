"""The configuration file: read as a whole, or refused with everything that is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config import endpoints
from relay.config.lines import key_lines, line_of
from relay.config.load import LARGEST, ConfigError, load, load_with_warnings, parse
from relay.config.schema import Config

#: A broken file, and for each line of the answer what follows "f" in it.
BROKEN = {
    # no TOML at all
    "{": [":1:1: not TOML: "],
    'hostname = "x': [": not TOML: "],
    "[queue]\n[queue]\n": [":2:7: not TOML: "],
    "[zones.a]\n[zones.b]\n[zones.a]\n": [":3:9: not TOML: "],
    "a = " + "[" * 5000: [": "],
    # unknown keys
    "\nhostnam = 'x'\n": [':2: hostnam: unknown key; did you mean "hostname"?'],
    "[qeue]\nsync = true\n": [':1: qeue: unknown key; did you mean "queue"?'],
    "[dkim]\nxyzzy = 1\n": [":2: dkim.xyzzy: unknown key; expected one of "],
    '[domains."a.example"]\nmax_conections = 1\n': [
        ':2: domains."a.example".max_conections: unknown key; did you mean "max_connections"?'
    ],
    # wrong types and ranges
    "queue = 1\n": [":1: queue: expected a table, got 1"],
    "zones = []\n": [":1: zones: expected a table, got a list"],
    "hostname = 5\n": [":1: hostname: expected a string without control characters, got 5"],
    'name = "a\\r\\nb"\n': [':1: name: expected a string without control characters, got "a\\r\\nb"'],
    "[queue]\nsync = 1\n": [":2: queue.sync: expected true or false, got 1"],
    "[queue]\nretry = '5m'\n": [':2: queue.retry: expected a list, got "5m"'],
    "[queue]\nretry = []\n": [":2: queue.retry: expected at least one step"],
    "[backoff]\npauses = []\n": [":2: backoff.pauses: expected at least one pause"],
    '[events]\nkeep = "0s"\n[suppression]\nbounces = "recipient"\n': [
        ':4: suppression.bounces: expected "off", for events.keep is 0'
    ],
    "[backoff]\nunreachable = []\n": [":2: backoff.unreachable: expected at least one pause"],
    "[queue]\nretry = ['5m', 0, 'x']\n": [
        ':2: queue.retry[1]: expected a duration such as "4h" (ms, s, m, h, d, w) or a number of seconds ab',
        ":2: queue.retry[2]: expected a duration",
    ],
    "[queue]\nmemory = -1\nmin_free = '3 parsecs'\n": [
        ":2: queue.memory: expected a size",
        ":3: queue.min_free: expected a size",
    ],
    "[zones.default]\nport = 99999\n": [
        ":2: zones.default.port: expected a whole number from 1 to 65535, got 99999"
    ],
    "[zones.default]\nconnections = 0\nprocesses = 1.5\nidle = nan\n": [
        ":2: zones.default.connections: expected a whole number from 1 to",
        ":3: zones.default.processes: expected a whole number from 1 to",
        ":4: zones.default.idle: expected a duration",
    ],
    "[listeners.feeder]\nbare_newlines = 'normalise'\nauth = 0\n": [
        ':2: listeners.feeder.bare_newlines: expected one of "normalize", "reject", got "normalise"; did you',
        ":3: listeners.feeder.auth: expected true or false, got 0",
    ],
    "[listeners.feeder]\nprocesses = 2\nendpoint = 'haproxy:tcp:2525'\n": [
        ':2: listeners.feeder.processes: expected 0 with the endpoint "haproxy:tcp:2525": receivers can share tcp'
    ],
    "[pools]\ndefault = [{ name = 'a' }, 5]\n": [
        ":2: pools.default[0].address: missing",
        ":2: pools.default[1]: expected a table, got 5",
    ],
    # what does not go together
    "[dkim]\non_bad_key = 'drop'\ncanonicalization = 'relaxed'\n": [
        ':2: dkim.on_bad_key: expected one of "defer", "unsigned", got "drop"',
        ":3: dkim.canonicalization: expected one of ",
    ],
    "[zones.default]\ntls = 'dane'\n[domains.'a.test']\ntls = 'dane'\n": [
        ':2: zones.default.tls: expected dns.dnssec = true beside "dane"',
        ':4: domains."a.test".tls: expected dns.dnssec = true beside "dane"',
    ],
    "[dns]\ndnssec = true\n[zones.a]\ntls = 'dane'\nhost = 'a.test'\n[zones.b]\ntls = 'dane'\ndane = false\n": [
        ':4: zones.a.tls: expected "none", "may", "must" or "verify" for a fixed next hop, got "dane"',
        ':8: zones.b.dane: expected true, for tls is "dane"',
    ],
    "[dns]\ndnssec = true\n[zones.default]\ntls = 'dane'\n"
    "[domains.'a.test']\ndane = 'off'\n[domains.'b.test']\ntls = 'dane'\ndane = 'off'\n"
    "[domains.'c.test']\ntls = 'may'\ndane = 'off'\n": [
        ':6: domains."a.test".dane: expected another tls beside "off", for that is "dane"',
        ':9: domains."b.test".dane: expected another tls beside "off", for that is "dane"',
    ],
    "[zones.a]\nurl = 'https://u:secret@a b/'\n[zones.b]\nurl = 'ftp://x/'\n": [
        ':2: zones.a.url: expected a URL such as "https://mail.example.com/incoming": it is no URL in ASCII without bl',
        ":4: zones.b.url: expected a URL such as",
    ],
    "[zones.a]\negress = 'socks5://u:secret@10.0.0.5:1080'\n[zones.b]\negress_user = 'x'\n": [
        ':2: zones.a.egress: expected a proxy such as "socks5://10.0.0.5:1080": who logs in there stands in egress',
        ":3: zones.b.egress: expected a proxy, for there is an egress_user",
        ":4: zones.b.egress_user: expected either egress_password_file or egress_password_variable, for there is an",
    ],
    "[zones.a]\negress = 'socks5://10.0.0.5:1080'\nlmtp = true\nhost = '/run/lmtp'\n": [
        ":2: zones.a.egress: expected none: a socket on this machine is reached by no proxy",
    ],
    "[zones.a]\negress_password_file = '/x'\n": [":1: zones.a.egress_user: expected a name to log in with, for there"],
    "[zones.a]\negress = 'socks5://[::1]:1'\negress_user = 'x'\negress_password_variable = 's 3 cret'\n": [
        ":4: zones.a.egress_password_variable: expected the name of an environment variable",
    ],
    "[zones.a]\negress = 'haproxy://10.0.0.5:2525'\negress_user = 'x'\negress_password_file = '/x'\n": [
        ":2: zones.a.egress: expected addresses in the zone's pool that can be named to the proxy, got \"0.0.0.0\"",
        ":3: zones.a.egress_user: expected it with socks5:// alone: haproxy:// knows no logins",
    ],
    "[zones.a]\nlmtp = true\n[zones.b]\nlmtp = true\nhost = 'x'\n[zones.c]\nhost = '/run/lmtp'\n": [
        ":1: zones.a.host: expected the host that LMTP is spoken to, got none: mail exchangers speak SMTP",
        ":3: zones.b.port: expected the port of an LMTP server, such as 24: on 25 is SMTP (RFC 2033 5)",
        ":7: zones.c.host: expected a host name or IP address or, with lmtp, the path of a socket, got \"/run/lmtp\"",
    ],
    f"[zones.a]\nlmtp = true\nimplicit_tls = true\nhost = '/{'x' * 107}'\n": [
        ":3: zones.a.implicit_tls: expected false: a socket on this machine has no port for TLS",
        ":4: zones.a.host: expected the path of a socket, 107 bytes at most",
    ],
    "[zones.a]\nurl = 'http://x/'\nlmtp = true\nrecipients_per_transaction = 2\n": [
        ":3: zones.a.lmtp: expected it where there is a host: to a url mail goes by HTTP",
        ":4: zones.a.recipients_per_transaction: expected 1: by HTTP each recipient's mail is a request",
    ],
    "[zones.a]\nrecipients_per_transaction = 1001\n": [
        ":2: zones.a.recipients_per_transaction: expected a whole number from 1 to 1000, got 1001"
    ],
    "[zones.a]\nurl = 'http://x/'\nhost = 'y'\nimplicit_tls = true\ntls = 'must'\n": [
        ':2: zones.a.url: expected https://, for tls is "must"',
        ":3: zones.a.host: expected either host or url: mail goes to one of them",
        ":4: zones.a.implicit_tls: expected it where mail goes by SMTP; https:// in url says the same",
    ],
    "[dkim]\nkeys = ''\n": [':2: dkim.keys: expected a directory, got ""'],
    "[dkim]\nheader_fields = ['Subject']\noversign = []\n": [
        ":2: dkim.header_fields: expected From among them: a signature without it is none"
    ],
    "[dkim]\nadditional_header_fields = ['X-A', 'Received', 'a b', 'a:b', '', 'DKIM-Signature']\n": [
        ':2: dkim.additional_header_fields[1]: expected a field that stays as it is on the way, got "Received"',
        ':2: dkim.additional_header_fields[2]: expected the name of a header field, got "a b"',
        ':2: dkim.additional_header_fields[3]: expected the name of a header field, got "a:b"',
        ':2: dkim.additional_header_fields[4]: expected the name of a header field, got ""',
        ":2: dkim.additional_header_fields[5]: expected a field that stays as it is on the way",
    ],
    "[dkim]\noversign = ['X-A', 'from']\n": [
        ':2: dkim.oversign[0]: expected one of header_fields or additional_header_fields, got "X-A"'
    ],
    "[tls_reports]\norganization = 'x'\n": [':1: tls_reports.sender: expected it beside organization, got ""'],
    "[tls_reports]\nsender = 'a@b.test'\n": [':1: tls_reports.organization: expected it beside sender, got ""'],
    "[tls_reports]\ncontact = 'x'\ndomain = 'a b'\n": [
        ":2: tls_reports.contact: expected organization and sender beside it",
        ':3: tls_reports.domain: expected a domain in ASCII (xn--...), got "a b"',
        ":3: tls_reports.domain: expected organization and sender beside it",
    ],
    f"[tls_reports]\norganization = '{'x' * 201}'\nsender = 'a@[192.0.2.1]'\n": [
        ":2: tls_reports.organization: expected 200 characters at most",
        ':3: tls_reports.sender: expected an address such as "tls-reports@example.com", got "a@[192.0.2.1]"',
    ],
    "[bounces]\nmailer_daemon = 'a@b.test, c@d.test'\nzone = 'bounce'\n[zones.bounces]\nmailer_daemon = 'x'\n": [
        ':2: bounces.mailer_daemon: expected an address such as "Mail <mailer-daemon@[HOSTNAME]>", got',
        ':3: bounces.zone: expected the name of a zone (bounces, default), got "bounce"; did you mean "bounces"?',
        ":5: zones.bounces.mailer_daemon: expected an address such as",
    ],
    "[bounces]\nreturn_full_size = '1MB'\ndisabled_listeners = ['feeder', 'api', 'feader']\n": [
        ':2: bounces.return_full_size: expected "128KB" at most, got 1048576 bytes',
        ':3: bounces.disabled_listeners[2]: expected the name of a listener (api, feeder), got "feader"',
    ],
    "[bounces]\nper_sender = '100'\n[zones.default]\nbounce_zone = 'b'\n": [
        ':2: bounces.per_sender: expected a rate such as "100/s"',
        ':4: zones.default.bounce_zone: expected the name of a zone (default), got "b"',
    ],
    "[dkim]\narc = 'a b'\n": [':2: dkim.arc: expected a domain in ASCII (xn--...), got "a b"'],
    "[dkim]\nexpire = '1d'\n": [":2: dkim.expire: expected timestamp = true beside it"],
    "[dkim]\nexpire = '1m'\ntimestamp = true\n": [':2: dkim.expire: expected "1h" or more, or 0 for ever'],
    "[dkim]\nrequired_domains = ['a.test', '../b', 'b\u00fc.test', 'c.test.']\n": [
        ':2: dkim.required_domains[1]: expected a domain in ASCII (xn--...), got "../b"',
        ":2: dkim.required_domains[2]: expected a domain in ASCII",
        ":2: dkim.required_domains[3]: expected a domain in ASCII",
    ],
    "[zones.default]\npool = 'defalt'\n": [
        ':2: zones.default.pool: expected the name of a pool (default), got "defalt"; did you mean "default"?'
    ],
    "[pools]\na = [{ address = '10.0.0.1' }]\n[zones.z]\npool = 'a'\n": [
        ':1: pools: expected a pool "default"'
    ],
    "[pools]\ndefault = []\n": [":2: pools.default: expected at least one address"],
    "[pools]\ndefault = [{ address = 'mail.example' }]\n": [
        ':2: pools.default[0].address: expected an IP address, got "mail.example"'
    ],
    "[pools]\ndefault = [{ address = '::1', name = 'a b' }]\n": [
        ":2: pools.default[0].name: expected a host name"
    ],
    "[zones.a]\n[zones.A]\n[zones.'b c']\n": [
        ':2: zones.A: differs from "a" by case alone',
        ':3: zones."b c": expected a name of letters',
    ],
    "[senders.'Me@a.test']\n[senders.'me@A.test']\n[senders.'']\n": [
        ':2: senders."me@A.test": differs from "Me@a.test" by case alone',
        ':3: senders."": expected the name of a user, got ""',
    ],
    "[warmups.slow]\n[warmups.Slow]\n[warmups.'b c']\n": [
        ':2: warmups.Slow: differs from "slow" by case alone',
        ':3: warmups."b c": expected a name of letters',
    ],
    "[warmups.slow]\ndays = []\n": [":2: warmups.slow.days: expected at least one day, got an empty list"],
    "[listeners.feeder]\nendpoint = 'tcp:99999'\n": [":2: listeners.feeder.endpoint: expected an endpoint"],
    "[listeners.feeder]\nendpoint = 'tpc:25'\n[channel]\nendpoint='tcp:x'\n": [
        ":2: listeners.feeder.endpoint: expected an endpoint",
        ":4: channel.endpoint: expected an endpoint",
    ],
    "[api]\nendpoint = 'tcp:2525:interface=127.0.0.1'\n": [":2: api.endpoint: expected a port of its own"],
    "[channel]\nendpoint = 'unix:/run/x'\n": [
        ':2: channel.endpoint: expected a TCP endpoint such as "tcp:8081:interface=127.0.0.1" (children connect '
        'to its host and port), got "unix:/run/x"'
    ],
    "[channel]\nendpoint = 'systemd:domain=INET:index=0'\n": [":2: channel.endpoint: expected a TCP endpoint"],
    "[listeners.feeder]\nallow_networks = ['10.0.0.1/8', 'home']\n": [
        ":2: listeners.feeder.allow_networks[0]: expected a network, got an address in one; did you mean",
        ":2: listeners.feeder.allow_networks[1]: expected a network",
    ],
    "[listeners.a]\nendpoint = 'unix:/run/x'\n[listeners.b]\nendpoint = 'unix:/run/x:mode=660'\n": [
        ":4: listeners.b.endpoint: expected a path of its own"
    ],
    "[listeners.feeder]\ntls = 'implicit'\n": [
        ':1: listeners.feeder.certificate: expected the file of a certificate, for tls is "implicit"'
    ],
    "[zones.a]\ntls = 'sts'\nhost = 'hop.test'\n": [
        ':2: zones.a.tls: expected another, got "sts": MTA-STS is of domains, and there is a fixed next hop'
    ],
    "[zones.a]\ntls = 'sts'\nsts = false\n": [':3: zones.a.sts: expected true, for tls is "sts"'],
    "[domains.'a.test']\ntls = 'sts'\nsts = 'off'\n": [
        ':3: domains."a.test".sts: expected "on" or "zone", for tls is "sts"'
    ],
    "[timeouts]\nsts = '2m'\n": [':2: timeouts.sts: expected "1m" at most, got 120 s'],
    "[listeners.feeder]\nrequire_tls = true\n": [':2: listeners.feeder.require_tls: on, but tls is "off"'],
    "[listeners.feeder]\ntls = 'starttls'\ncertificate = 'a'\nrequire_tls = true\nwithout = ['STARTTLS']\n": [
        ':4: listeners.feeder.require_tls: on, but STARTTLS is in "without"'
    ],
    "[listeners.feeder]\nproxy_networks = ['10.0.0.5', '10.0.0.7/24', 'haproxy']\n": [
        ":2: listeners.feeder.proxy_networks[2]: expected the address or network of a balancer"
    ],
    "[listeners.feeder]\nxclient_networks = ['::1', 'mx', '0.0.0.0/0', '::/0']\n": [
        ":2: listeners.feeder.xclient_networks[1]: expected the address or network of a trusted relay",
        ":2: listeners.feeder.xclient_networks[2]: expected the addresses of a trusted relay, got 0.0.0.0/0",
        ":2: listeners.feeder.xclient_networks[3]: expected the addresses of a trusted relay, got ::/0",
    ],
    "[listeners.feeder]\nmax_memory = '1MB'\n": [
        ":2: listeners.feeder.max_memory: expected 8MB or more, or 0 for no bound"
    ],
    "[channel]\nlease = '1s'\n": [":2: channel.lease: expected a longer time than channel.heartbeat"],
    "[dns]\nnameservers = ['ns.example', '::1:53x', '127.0.0.1:0']\n": [
        ":2: dns.nameservers[0]: expected an address",
        ":2: dns.nameservers[1]: expected an address",
        ":2: dns.nameservers[2]: expected an address",
    ],
    "[zones.default]\nhost = 'a b'\n": [":2: zones.default.host: expected a host name or IP address"],
    "[zones.a]\nauth_user = 'bob'\nauth_mechanisms = []\n[zones.b]\nauth_password_file = 'x'\ninsecure_auth = true\n": [
        ":1: zones.a.host: expected a next hop, for there is an auth_user",
        ":2: zones.a.auth_user: expected either auth_password_file or auth_password_variable",
        ":3: zones.a.auth_mechanisms: expected at least one way to log in",
        ":4: zones.b.auth_user: expected a name to log in with, for there is auth_password_file",
        ":4: zones.b.auth_user: expected a name to log in with, for there is insecure_auth",
    ],
    "[zones.a]\nhost = 'mx'\nauth_mechanisms = ['NTLM']\n": [":3: zones.a.auth_mechanisms[0]: expected "],
    f"[zones.a]\nhost = 'mx'\nauth_user = '{'a' * 256}'\nauth_password_variable = 'my password'\n": [
        ":3: zones.a.auth_user: expected a name of 255 characters at most",
        ":4: zones.a.auth_password_variable: expected the name of an environment variable",
    ],
    "[sites.gmial]\nmax_connections = 5\n": [
        ":1: sites.gmial: expected mx, the names of its mail exchangers, or the name of a provider that is known, "
        'got "gmial"; did you mean "gmail"?'
    ],
    "[sites.xyzzy]\nreuse = 5\n[sites.'a b']\nmx = ['mx.a.example']\n": [
        ":1: sites.xyzzy: expected mx",
        ':3: sites."a b": expected a name of letters',
    ],
    "[sites.default]\nmx = ['mx.a.example']\n": [":2: sites.default.mx: expected nothing"],
    "[sites.a]\nmx = ['*', '*.', 'mx*.a.example', '*.*.a.example', 'a b', '', 'MX.a.example.', '*.a.example']\n"
    "[sites.b]\nmx = ['mx.A.example']\n": [
        ':2: sites.a.mx[0]: expected a host such as "mx.example.com", or "*.example.com" for all below, got "*"',
        ":2: sites.a.mx[1]: expected a host",
        ":2: sites.a.mx[2]: expected a host",
        ":2: sites.a.mx[3]: expected a host",
        ":2: sites.a.mx[4]: expected a host",
        ":2: sites.a.mx[5]: expected a host",
        ':4: sites.b.mx[0]: expected a pattern of its own, got "mx.A.example", which sites.a has',
    ],
    "[zones.default]\nthrottling = '5'\naddresses = ['192.0.2.1', 'eth0']\nblock_domains = ['*.x.test']\n": [
        ':2: zones.default.throttling: expected a rate such as "100/s", "60/m", "1000/h" or "50000/d", got "5"',
        ':3: zones.default.addresses[1]: expected an IP address, got "eth0"',
        ':4: zones.default.block_domains[0]: expected a domain such as "example.com", got "*.x.test"',
    ],
    "[zones.default]\nsender_domains = ['@x.test']\nrecipient_domains = ['[192.0.2.1]', 'a b']\n": [
        ':2: zones.default.sender_domains[0]: expected a domain such as "example.com", got "@x.test"',
        ":3: zones.default.recipient_domains[1]: expected a domain",
    ],
    "[zones.default]\nclient_networks = ['10.0.0.1/8', 'home', '::1']\n": [
        ':2: zones.default.client_networks[0]: expected a network, got an address in one; did you mean "10.0.0.0/8"?',
        ":2: zones.default.client_networks[1]: expected a network such as",
    ],
    "[zones.default.routing_headers]\n'X Y' = ['a']\nX-Z = []\n": [
        ':2: zones.default.routing_headers."X Y": expected the name of a header, got "X Y"',
        ":3: zones.default.routing_headers.X-Z: expected at least one value",
    ],
    "[zones.default]\ninterface = 'no-such-if'\n": [
        ":2: zones.default.interface: expected an interface of this machine (lo"
    ],
    "[domains.'a.test']\ndisabled_addresses = ['192.0.2.1', 'x']\n": [
        ':2: domains."a.test".disabled_addresses[1]: expected an IP address, got "x"'
    ],
    "[pools]\ndefault = [{ address = '192.0.2.1', ratio = 1 }, { address = '192.0.2.2', ratio = 1 }]\n": [
        ":2: pools.default: expected one IPv4 address with the ratio 1 (only this one), got 2"
    ],
    "[pools]\ndefault = [{ address = '::1', ratio = 0 }, { address = '192.0.2.2', ratio = 0 }]\n": [
        ":2: pools.default: every ratio is 0, so no address is ever used"
    ],
    "[pools]\ndefault = [{ address = '::1', ratio = 0.5 }, { address = '::2', ratio = 0.5 }, { address = '::3' }]\n": [
        ":2: pools.default: expected ratios of its IPv6 addresses that leave something for those without one, got 1 to"
    ],
    "[pools]\ndefault = [{ address = '::1', ratio = -0.5 }]\n": [
        ":2: pools.default[0].ratio: expected a number from 0 to 1, or -1 for none, got -0.5"
    ],
    "[pools]\ndefault = [{ address = '::1', warmup = 'defalt', warmup_since = '2026-13-01' }]\n": [
        ':2: pools.default[0].warmup: expected the name of a plan in warmups (default), got "defalt"; did you mean',
        ':2: pools.default[0].warmup_since: expected the first day, such as "2026-12-01", got "2026-13-01"',
    ],
    "pools.default = [{ address = '::1', warmup = 'default' }, { address = '::2', warmup_since = '2026-12-01' }]": [
        ":1: pools.default[0].warmup_since: expected the first day, such as \"2026-12-01\", for there is a warmup",
        ":1: pools.default[1].warmup: expected the name of a plan, for there is a warmup_since",
    ],
    "hostname = 'a..b'\nname = ' '\n": [":1: hostname: expected a host name", ":2: name: expected printable"],
}

#: As relays under measurement are configured.
BENCH = """hostname = "relay.test"
[queue]
path = "/tmp/x/queue"
sync = true
[listeners.feeder]
endpoint = "tcp:12525:interface=127.0.0.1"
max_size = "1GB"
processes = 0
[api]
endpoint = "tcp:18080:interface=127.0.0.1"
[channel]
endpoint = "tcp:18081:interface=127.0.0.1"
[pools]
default = [{ address = "0.0.0.0", name = "relay.test" }]
[zones.default]
pool = "default"
host = "127.0.0.1"
port = 12526
processes = 2
connections = 20
[domains.default]
max_connections = 1000
"""


class Reading(TestCase):
    def test_values(self) -> None:
        config = parse(BENCH, "bench")
        self.assertEqual("relay.test", config.hostname)
        self.assertEqual(2**30, config.listeners["feeder"].max_size)
        self.assertEqual(
            ("127.0.0.1", 12526, 2, 20),
            tuple(
                getattr(config.zones["default"], key) for key in ("host", "port", "processes", "connections")
            ),
        )
        self.assertEqual(1000, config.domains["default"].max_connections)
        self.assertEqual("0.0.0.0", config.pools["default"][0].address)

    def test_units_and_plain_numbers(self) -> None:
        config = parse("[queue]\nretry = ['5m', 7, 0.5]\nmemory = 4096\nmin_free = '1KB'\n", "f")
        self.assertEqual((300.0, 7.0, 0.5), config.queue.retry)
        self.assertTrue(all(type(step) is float for step in config.queue.retry))
        self.assertEqual((4096, 1024), (config.queue.memory, config.queue.min_free))

    def test_nothing_said_is_the_default(self) -> None:
        """G01: an empty file, and headers without keys."""
        empty = parse("", "f")
        self.assertTrue(empty.hostname)
        self.assertEqual(Config(hostname=empty.hostname), empty)
        self.assertEqual(empty, parse("[queue]\n[listeners]\n[pools]\n[zones.default]\n", "f"))

    def test_byte_order_mark(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(b"\xef\xbb\xbfhostname = 'a.example'\n")
        self.assertEqual("a.example", load(path).hostname)

    def test_sites(self) -> None:
        config = parse("[sites.Gmail]\nreuse = 5\n[sites.a]\nmx = ['*.A.example', 'mx.b.example.']\n", "f")
        self.assertEqual(["Gmail", "a"], list(config.sites))
        self.assertEqual(("*.A.example", "mx.b.example."), config.sites["a"].mx)

    def test_paths_stay_as_they_are(self) -> None:
        self.assertEqual("some/queue", parse("[queue]\npath = 'some/queue'\n", "f").queue.path)


class Refusing(TestCase):
    """G01, G03: one line for each fault: file, line, key, what was expected and what was found."""

    def lines(self, text: str) -> tuple[str, ...]:
        return self.assertRaises(ConfigError, parse, text, "f").problems

    def test_broken_files(self) -> None:
        self.assertGreater(len(BROKEN), 20)
        for text, answers in BROKEN.items():
            lines = self.lines(text)
            self.assertEqual(len(answers), len(lines), (text, lines))
            for answer, line in zip(answers, lines, strict=True):
                self.assertTrue(line.startswith("f" + answer), f"{line!r} is not f{answer!r}")

    def test_all_at_once(self) -> None:
        """Everything that is wrong is named, in the order of the file."""
        lines = self.lines(
            "[queue]\nretry = ['x']\nsnc = 1\n[zones.a]\nport = 0\npool = 'b'\n[api]\ntimeout = 0\n"
        )
        self.assertEqual(
            ["2: queue.retry[0]", "3: queue.snc", "5: zones.a.port", "6: zones.a.pool", "8: api.timeout"],
            [":".join(line.split(":")[1:3]) for line in lines],
        )

    def test_a_value_that_does_not_fit_is_blamed_once(self) -> None:
        """Its default stands in while the rest is checked, and is not blamed for it."""
        self.assertEqual(1, len(self.lines("[channel]\nlease = 'x'\nheartbeat = '9s'\n")))

    def test_messages_are_one_short_line(self) -> None:
        """L01, L02: what a file says cannot forge or flood what is said about it."""
        for line in self.lines('"a\\nb" = 1\nhostname = "' + "x" * 5000 + '"\n["\\u2028\\u001b[2J"]\n'):
            self.assertEqual([line], line.splitlines())
            self.assertTrue(line.isprintable(), line)
            self.assertLess(len(line), 400)

    def test_numbers_too_long_to_be_any(self) -> None:
        self.assertEqual(
            ("f: expected TOML, got a number with too many digits",), self.lines("[queue]\nmemory = " + 5000 * "9")
        )
        for key in ("memory", "max_age"):
            for sign in ("0x", "0b"):
                (line,) = self.lines(f"[queue]\n{key} = {sign}{20_000 * '1'}")
                self.assertTrue(line.startswith(f"f:2: queue.{key}: expected "), line)
                self.assertTrue(line.endswith("..."), line)

    def test_files(self) -> None:
        directory = self.mktemp()
        os.mkdir(directory)
        self.assertEqual(
            f"{directory}: expected a file, got a directory",
            str(self.assertRaises(ConfigError, load, directory)),
        )
        missing = os.path.join(directory, "none")
        self.assertEqual(
            f"{missing}: cannot be read: No such file or directory",
            str(self.assertRaises(ConfigError, load, missing)),
        )
        self.assertRaises(ConfigError, load, "a\0b")
        large = Path(directory, "large")
        large.write_bytes(b"#" * (LARGEST + 1))
        self.assertIn("expected at most", str(self.assertRaises(ConfigError, load, large)))
        latin = Path(directory, "latin")
        latin.write_bytes(b"# one\nname = '\xe4'\n")
        self.assertEqual(
            f"{latin}:2: expected UTF-8, got byte 0xe4", str(self.assertRaises(ConfigError, load, latin))
        )
        pipe = os.path.join(directory, "pipe")
        os.mkfifo(pipe)
        self.assertEqual(f"{pipe}: expected a plain file", str(self.assertRaises(ConfigError, load, pipe)))

    @given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
    @example("[[zones]]")
    @example("pools.default.x = 1")
    @example("zones.default = 1")
    def test_any_text(self, text: str) -> None:
        try:
            parse(text, "f")
        except ConfigError as error:
            self.assertTrue(error.problems)


class OpenRelay(TestCase):
    """G02: a listener that would take mail from everybody is refused."""

    def refused(self, endpoint: str, networks: list[str]) -> bool:
        try:
            parse(f"[listeners.feeder]\nendpoint = '{endpoint}'\nallow_networks = {networks}\n", "f")
        except ConfigError as error:
            self.assertIn("is an open relay", str(error))
            return True
        return False

    def test_everybody(self) -> None:
        for endpoint in (
            "tcp:2525",
            "tcp:2525:interface=192.0.2.1",
            "tcp6:2525",
            "tcp:2525:interface=\\:\\:",
        ):
            for networks in (["0.0.0.0/0"], ["::/0"], ["10.0.0.0/8", "0.0.0.0/1"]):
                self.assertTrue(self.refused(endpoint, networks), (endpoint, networks))

    def test_own_clients(self) -> None:
        self.assertFalse(self.refused("tcp:2525", ["10.0.0.0/8", "fd00::/16"]))
        self.assertFalse(self.refused("tcp:2525:interface=127.0.0.1", ["0.0.0.0/0"]))
        self.assertFalse(self.refused("tcp:2525:interface=\\:\\:1", ["0.0.0.0/0"]))
        self.assertFalse(self.refused("unix:/tmp/x", ["0.0.0.0/0"]))


class Logins(TestCase):
    def wrong(self, listener: str, access: str = "") -> str:
        try:
            parse(f"hostname = 'a.example'\n[listeners.feeder]\n{listener}\n[access]\n{access}\n", "f")
        except ConfigError as error:
            return str(error)
        return ""

    def test_somebody_can_log_in(self) -> None:
        users = "users = 'users.toml'"
        self.assertEqual("", self.wrong("auth = true\ninsecure_auth = true", users))
        self.assertEqual("", self.wrong("auth = true\ninsecure_auth = true", ""), "with an API key")
        self.assertEqual("", self.wrong("auth = true\ninsecure_auth = true", "url = 'https://[::1]:8443/x?y=1'"))
        for listener, access, why in (
            ("auth = true\ninsecure_auth = true\nmechanisms = ['EXTERNAL']", "", "expected access.users or access.url"),
            ("auth = true", users, "nobody could log in without TLS"),
            ("auth = true\ninsecure_auth = true\nwithout = ['AUTH']", users, '"AUTH" is needed'),
        ):
            self.assertIn(why, self.wrong(listener, access))

    def test_a_certificate_of_the_api(self) -> None:
        for api, why in (
            ("key = 'a.key'", "expected the file of a certificate, for there is a key"),
            ("endpoint = 'ssl:8443'\ncertificate = 'a.pem'", "it has its own"),
        ):
            self.assertIn(why, self.wrong("", f"\n[api]\n{api}"))

    def test_limits(self) -> None:
        self.assertEqual("", self.wrong("", "messages = ['60/m', '1000/h']\nrecipients = ['010/d']"))
        for limit in ("60", "0/m", "60/s", "-1/m", "6 0/m"):
            self.assertIn('expected a limit such as "60/m"', self.wrong("", f"messages = ['{limit}']"))

    def test_where_logins_are_asked_for(self) -> None:
        for url in (
            "x", "ftp://a/", "http://", "http://a:x/", "http://a:0/", "http://[::1/", "http://u:p@a/", "http://a b/",
        ):  # fmt: skip
            self.assertIn("expected a URL such as", self.wrong("", f"url = '{url}'"), url)


class Warnings(TestCase):
    def warnings(self, text: str) -> list[str]:
        path = self.mktemp()
        Path(path).write_text(text)
        return [line.removeprefix(path) for line in load_with_warnings(path)[1]]

    def test_none(self) -> None:
        self.assertEqual([], self.warnings("hostname = 'relay.example.com'\n"))

    def test_each(self) -> None:
        text = (
            "hostname = 'relay'\n[queue]\nsync = false\n[channel]\nendpoint = 'tcp:1'\n"
            "[listeners.a]\nallow_networks = []\nkey = 'a.pem'\n[zones.default]\ndisabled = true\n"
        )
        self.assertEqual(
            [
                ":3: queue.sync",
                ":1: hostname",
                ":5: channel.endpoint",
                ":7: listeners.a.allow_networks",
                ":8: listeners.a.key",
                ":10: zones.default.disabled",
            ],
            [":".join(line.split(":")[:3]).rstrip() for line in self.warnings(text)],
        )

    def test_keys_that_can_be_read_on_the_way(self) -> None:
        begin = "hostname = 'relay.example.com'\n[api]\n"
        for more in ("", "endpoint = 'unix:/tmp/a'\n", "endpoint = 'tcp:8443'\ncertificate = 'a.pem'\n",
                     "endpoint = 'ssl:8443:privateKey=a.pem'\n"):  # fmt: skip
            self.assertEqual([], self.warnings(begin + more), more)
        [line] = self.warnings(begin + "endpoint = 'tcp:8080'\n")
        self.assertIn("api.endpoint: from outside no key is taken without TLS", line)
        [line] = self.warnings(begin + "endpoint = 'tcp:8080'\ninsecure_auth = true\n")
        self.assertIn("api.insecure_auth: keys and passwords can be read on the way", line)

    def test_whom_a_password_may_be_told(self) -> None:
        begin = "hostname = 'a.example'\n[zones.out]\nhost = 'mx'\nauth_user = 'bob'\nauth_password_file = 'x'\n"
        self.assertEqual([], self.warnings(begin + "tls = 'verify'\n"))
        for more, place in (
            ("", ":2: zones.out.tls: expected"),
            ("implicit_tls = true\n", ":2: zones.out.tls: expected"),
            ("tls = 'must'\n", ":6: zones.out.tls: expected"),
            ("insecure_auth = true\n", ":6: zones.out.insecure_auth: the password can be read"),
        ):
            [line] = self.warnings(begin + more)
            self.assertTrue(line.startswith(place), line)

    def test_who_could_send_without_a_login_G02(self) -> None:
        begin = "hostname = 'a.example'\n[access]\nusers = 'u'\n[listeners.a]\n"
        for networks in ("10.0.0.0/8", "127.0.0.0/8', '::1', '192.168.0.0/16', 'fd00::/16"):
            self.assertEqual([], self.warnings(f"{begin}allow_networks = ['{networks}']\n"))
        for networks in ("192.0.0.0/8", "8.8.8.0/24", "2a00::/16", "100.64.0.0/10"):
            told = self.warnings(f"{begin}allow_networks = ['{networks}']\n")
            self.assertEqual([f":5: listeners.a.allow_networks: {networks} is not private: "
                              "whoever is there sends without a login"], told)  # fmt: skip
            self.assertEqual([], self.warnings(
                f"{begin}allow_networks = ['{networks}']\nauth = true\ninsecure_auth = true\nendpoint = 'unix:/x'\n"
            ))  # fmt: skip
        told = self.warnings(f"{begin}allow_networks = ['0.0.0.0/0']\nendpoint = 'tcp:25'\nopen_relay = true\n")
        self.assertIn("listeners.a.open_relay: strangers in these networks can send mail to anywhere", "".join(told))

    def test_name_servers_that_are_believed(self) -> None:
        begin = "hostname = 'a.example'\n[dns]\n"
        for text, warned in (
            ("dnssec = true\nnameservers = ['127.0.0.1', '127.0.0.1:5353', '::1', '[::1]:53']", ""),
            ("nameservers = ['9.9.9.9']", ""),
            ("dnssec = true", ":3: dns.dnssec: on: whatever servers /etc/resolv.conf names are believed"),
            ("dnssec = true\nnameservers = ['::1', '9.9.9.9:53']", ':4: dns.nameservers[1]: "9.9.9.9:53" is not this'),
            ("dnssec = true\nnameservers = ['[2620:fe::fe]:53']", ':4: dns.nameservers[0]: "[2620:fe::fe]:53" is not'),
        ):
            told = self.warnings(f"{begin}{text}\n")
            self.assertEqual(len(told), bool(warned), told)
            self.assertTrue("".join(told).startswith(warned), told)

    def test_passwords_that_others_know(self) -> None:
        begin = "hostname = 'a.example'\n[access]\n"
        for text, warned in (
            ("url = 'http://users.example.com/x'", "access.url: http to another machine"),
            ("demo = true", "access.demo: on: anybody knows"),
            ("url = 'http://127.0.0.1:8080/test-auth'", ""),
            ("url = 'http://localhost/x'", ""),
            ("url = 'https://users.example.com/x'", ""),
            ("users = 'u'\n[listeners.a]\nauth = true\ninsecure_auth = true\nendpoint = 'tcp:25'", "insecure_auth"),
        ):
            told = self.warnings(begin + text + "\n")
            self.assertEqual(len(told), bool(warned), told)
            self.assertIn(warned, "".join(told))

    def test_who_is_believed(self) -> None:
        networks = "['10.0.0.0/8', '192.0.2.1', '8.8.8.0/24']"
        text = f"hostname = 'a.test'\n[listeners.a]\nproxy_networks = {networks}\nxclient_networks = {networks}\n"
        self.assertEqual(
            [
                f":{line}: listeners.a.{key}: 8.8.8.0/24 is not private: whoever is there may say to be anybody"
                for line, key in ((3, "proxy_networks"), (4, "xclient_networks"))
            ],
            self.warnings(text),
        )


class Endpoints(TestCase):
    def test_what_they_say(self) -> None:
        self.assertEqual(endpoints.Endpoint("tcp", 25, ""), endpoints.read("tcp:25"))
        self.assertEqual(
            endpoints.Endpoint("tcp", 25, "::1"), endpoints.read("tcp:port=25:interface=\\:\\:1")
        )
        self.assertEqual(endpoints.Endpoint("unix", path="/run/x"), endpoints.read("unix:/run/x"))
        self.assertEqual("/run/x", endpoints.read("unix:mode=600:address=/run/x").path)
        self.assertEqual(endpoints.Endpoint("systemd"), endpoints.read("systemd:domain=INET:index=0"))

    def test_what_they_cannot_say(self) -> None:
        for text in ("", "tcp", "25", "tcp:-1", "tcp:65536", "tcp:25:interface=eth0", "tcp:25:colour=red"):
            self.assertRaises(ValueError, endpoints.read, text)


    def test_what_is_added(self) -> None:
        for text, added in [
            ("tcp:25", ":backlog=1024"),
            ("tcp:25:127.0.0.1", ":backlog=1024"),
            ("tcp:25:127.0.0.1:5", ""),
            ("tcp:25:interface=\\:\\:1:backlog=5", ""),
            ("tcp6:25", ":backlog=1024"),
            ("tcp6:25:5", ""),
            ("unix:/run/x", ":backlog=1024:lockfile=0"),
            ("unix:/run/x:660", ":backlog=1024:lockfile=0"),
            ("unix:/run/x:660:5", ":lockfile=0"),
            ("unix:/run/x:660:5:1", ""),
            ("unix:/run/x:mode=660:backlog=5:lockfile=1", ""),
            ("systemd:domain=INET:index=0", ""),
        ]:
            self.assertEqual(text + added, endpoints.complete(text))
            if not text.startswith("systemd"):
                endpoints.read(text + added)


class Lines(TestCase):
    def test_where_keys_stand(self) -> None:
        text = 'a = 1\n[b."c.d"]\n# e = 1\n"f=g" = """\nh = 1\n"""\ni.j = [\n  "k = 1",\n]\n'
        text += '[[l]]\nm = "=" # = \n'
        self.assertEqual(
            {
                ("a",): 1,
                ("b", "c.d"): 2,
                ("b", "c.d", "f=g"): 4,
                ("b", "c.d", "i", "j"): 7,
                ("l",): 10,
                ("l", "m"): 11,
            },
            key_lines(text),
        )

    def test_nearest(self) -> None:
        lines = {("a",): 1, ("a", "b"): 2}
        self.assertEqual(
            [2, 2, 1, None],
            [line_of(lines, path) for path in (("a", "b"), ("a", "b", "[0]"), ("a", "c"), ("d",))],
        )
