"""An authoritative name server that signs its zones (RFC 4034, 4035), and unbound, which validates them.

What is to be bogus is changed after it was signed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.protocol import DatagramProtocol

from tests.scenario.interop import ROOT, absent

UNBOUND = ROOT / ".peers" / "unbound" / "usr" / "sbin" / "unbound"


class Zone:
    """One zone.

    Attributes:
        anchor: its DS record as a line, "" where it isn't signed.
    """

    def __init__(self, origin: str, records: str, signed: bool, bogus: str = "") -> None:
        """`records` are lines of a zone file, names relative; those in `bogus` replace others of their name and type
        that have been signed."""
        head = "$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
        self._zone = dns.zone.from_text(head + records, origin, relativize=False)
        self.origin = self._zone.origin
        assert self.origin is not None
        self.anchor = ""
        if signed:
            private = ec.generate_private_key(ec.SECP256R1())
            # Flags 257: it signs keys and records both.
            public = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
            dns.dnssec.sign_zone(self._zone, keys=[(private, public)], lifetime=86400)
            self.anchor = f"{self.origin} DS {dns.dnssec.make_ds(self.origin, public, 'SHA256')}"
        for line in bogus.splitlines():
            name, kind, data = line.split(" ", 2)
            rrset = dns.rrset.from_text(dns.name.from_text(name, self.origin), 60, "IN", kind, data)
            self._zone.replace_rdataset(rrset.name, rrset.to_rdataset())
        self._names = sorted(self._zone.nodes)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """With its signatures, and proof of what isn't there."""
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        name, kind = query.question[0].name, query.question[0].rdtype
        node = self._zone.get_node(name)
        for wanted in (kind, dns.rdatatype.CNAME):
            if self._put(response.answer, name, wanted):
                return response
        assert self.origin is not None
        self._put(response.authority, self.origin, dns.rdatatype.SOA)
        if node is not None:
            self._put(response.authority, name, dns.rdatatype.NSEC)
            return response
        self._put(response.authority, self._before(name), dns.rdatatype.NSEC)
        if not self._is_above(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
            above = name.parent()
            while not self._is_above(above):
                above = above.parent()
            self._put(response.authority, self._before(dns.name.Name((b"*", *above.labels))), dns.rdatatype.NSEC)
        return response

    def _put(self, section: list[dns.rrset.RRset], name: dns.name.Name, kind: Any) -> bool:
        """The records of this type, and what signs them."""
        node: dns.node.Node | None = self._zone.get_node(name)
        found = node and node.get_rdataset(dns.rdataclass.IN, kind)
        if not node or not found:
            return False
        for rdataset in (found, node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.RRSIG, kind)):
            if rdataset:
                rrset = dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
                if rrset not in section:
                    section.append(rrset)
        return True

    def _before(self, name: dns.name.Name) -> dns.name.Name:
        """The last name that there is before one that there isn't."""
        return max(one for one in self._names if one < name)

    def _is_above(self, name: dns.name.Name) -> bool:
        return any(one.is_subdomain(name) for one in self._names)


class Authoritative(DatagramProtocol):
    """Answers for its zones; whatever else is asked is refused."""

    def __init__(self, *zones: Zone) -> None:
        self._zones = zones

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        query = dns.message.from_wire(datagram)
        for zone in self._zones:
            assert zone.origin is not None
            if query.question[0].name.is_subdomain(zone.origin):
                response = zone.answer(query)
                break
        else:
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.REFUSED)
        assert self.transport is not None
        self.transport.write(response.to_wire(max_size=65535), addr)


class Unbound:
    """A validating resolver that knows these zones and no others."""

    def __init__(self, directory: str, port: int, authority: int, *zones: Zone) -> None:
        """`authority` is the port of the Authoritative. Raises what says that there is no unbound."""
        if not UNBOUND.exists():
            raise absent("unbound")
        self._config = Path(directory, "unbound.conf")
        self._log = Path(directory, "unbound.log")
        anchors = "".join(f'  trust-anchor: "{zone.anchor}"\n' for zone in zones if zone.anchor)
        stubs = "".join(f"stub-zone:\n  name: {zone.origin}\n  stub-addr: 127.0.0.1@{authority}\n" for zone in zones)
        self._config.write_text(f"""server:
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  log-time-ascii: yes
  module-config: "validator iterator"
  num-threads: 1
  do-ip6: no
  do-not-query-localhost: no
  qname-minimisation: no
  local-zone: "test." nodefault
{anchors}remote-control:
  control-enable: no
{stubs}""")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [str(UNBOUND), "-d", "-c", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def ready(self) -> bool:
        """It answers."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"unbound has ended: {self._log.read_text()[-2000:]}")
        return "start of service" in self._log.read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
