"""Whether a connection that is given back is gone before the next is opened in its place (D37).

    python -m twisted.trial tests.audit.overlap

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

from tests.scenario.test_sites_at_sink import SitesCase


class Overlap(SitesCase):
    """Connections that the host counts, where limits make one give way to another."""

    async def of_a_domain(self, parting: float, reuse: int) -> None:
        """One domain, four connections, each for `reuse` messages."""
        sink = self.recorder(pause=0.01, parting=parting)
        extra = '[domains."one.test"]\nmax_connections = 4'
        relay = await self.serving(sink, processes=3, zone=f"reuse = {reuse}", extra=extra)
        await self.submit(relay, 100, "one.test")
        await self.arrived(sink, relay, 100)
        self.told(sink.above(4), f"reuse = {reuse}, QUIT answered after {parting} s", sink.most_open, 4)

    def told(self, above: tuple[int, float], what: str, most: int, limit: int) -> None:
        times, seconds = above
        print(f"D37: {what}: at most {most} of {limit} open, above it {times} times, {seconds:.2f} s in all")
        self.assertLessEqual(most, limit)

    async def test_D37_a_domain_whose_connections_are_used_up(self) -> None:
        await self.of_a_domain(0.0, 1)

    async def test_D37_a_host_that_is_slow_to_part(self) -> None:
        await self.of_a_domain(0.5, 1)

    async def test_D37_kept_connections_are_never_too_many(self) -> None:
        await self.of_a_domain(0.5, 1000)

    async def test_D37_seven_domains_of_one_site(self) -> None:
        for_all = "[sites.default]\nmax_connections = 3"
        sink = self.recorder(pause=0.03)
        relay = await self.named(sink, for_all, processes=8)
        await self.submit(relay, 100, "d{n}.shared.test")
        await self.arrived(sink, relay, 100)
        self.told(sink.above(3), "a site of seven domains, 8 children", sink.most_open, 3)
        self.assertLessEqual(sink.most_busy, 3)
