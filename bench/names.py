"""A DNS server for measurements: any number of domains, each at an address of its own.

    python -m bench.names --port 5353

d<N>.hanging.test has the MX 127.3.x.y (a different one for each N below 60000), d<N>.slow.test the MX 127.4.x.y,
everything else 127.0.0.1. All
domains below shared.test have one MX, so that they are one site; those below double.test have two, and the first
is 127.0.0.8.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

#: Where hosts of different kinds are.
_NETS = {"hanging.test": "127.3", "slow.test": "127.4"}


def address(name: str) -> str:
    """Where the host called mx.<domain> is."""
    label, _, rest = name.removeprefix("mx.").partition(".")
    if rest in _NETS and label[1:].isdigit():
        number = int(label[1:])
        return f"{_NETS[rest]}.{number // 250}.{number % 250 + 1}"
    return "127.0.0.8" if label == "first" else "127.0.0.1"


def exchangers(domain: str) -> list[str]:
    """The hosts that take a domain's mail, with their preferences."""
    if domain.endswith(".double.test"):
        return [f"10 mx.first.{domain}.", f"20 mx.{domain}."]
    return ["10 mx.shared.test."] if domain.endswith(".shared.test") else [f"10 mx.{domain}."]


def answer(question: bytes) -> bytes:
    """The reply to one query."""
    query = dns.message.from_wire(question)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA
    asked = query.question[0]
    name = asked.name.to_text(omit_final_dot=True).lower()
    if asked.rdtype == dns.rdatatype.MX:
        reply.answer.append(dns.rrset.from_text(asked.name, 300, "IN", "MX", *exchangers(name)))
    elif asked.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(asked.name, 300, "IN", "A", address(name)))
    return reply.to_wire()


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.transport.sendto(answer(data), peer)


async def serve(port: int) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Udp, ("127.0.0.1", port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, required=True)
    asyncio.run(serve(p.parse_args().port))
