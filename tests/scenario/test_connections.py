"""How many connections are open at a time, and to whom: counted at the sink, with several children."""

from __future__ import annotations

from tests.scenario.test_sites_at_sink import SitesCase


class AtATime(SitesCase):
    async def test_D37_connections_of_a_domain_over_eight_children(self) -> None:
        sink = self.recorder(pause=0.1)
        relay = await self.serving(sink, processes=8, extra='[domains."one.test"]\nmax_connections = 5')
        await self.submit(relay, 100, "one.test")
        await self.until(lambda: len(sink.taken) == 100, 60, "all of it", relay)
        self.assertEqual(sink.most_open, 5)

    async def test_a_site_without_a_table_shares_the_default(self) -> None:
        """One exchanger makes seven domains one site: three connections at once for all of them, not each,
        though one domain's have to give way to another's all the time."""
        sink = self.recorder(pause=0.1)
        relay = await self.named(sink, "[sites.default]\nmax_connections = 3", processes=8)
        await self.submit(relay, 60, "d{n}.shared.test")
        await self.arrived(sink, relay, 60)
        self.assertEqual((sink.most_open, sink.most_busy), (3, 3))

    async def test_connections_of_a_zone_with_three_children(self) -> None:
        await self.of_a_zone(3)

    async def test_connections_of_a_zone_with_eight(self) -> None:
        await self.of_a_zone(8)

    async def test_connections_of_an_address(self) -> None:
        sink = await self.counted(8, zone="address = { max_connections = 4 }")
        self.assertEqual(sink.most_open, 4)

    async def test_connections_of_a_user_at_work(self) -> None:
        sink = await self.counted(8, user="me", extra="[senders.me]\nmax_connections = 4")
        self.assertEqual(sink.most_busy, 4)
