"""Limits by one child and by eight, as the host counts; by three children they are among the scenarios.

The module isn't called test_*, so that `make test` doesn't find it.
"""

from __future__ import annotations

from tests.scenario.test_sites_at_sink import SitesCase


class OneAndEight(SitesCase):
    async def test_a_rate_of_a_zone(self) -> None:
        await self.paced(1, 20, zone='messages = ["20/s"]')

    async def test_a_rate_of_a_zone_by_eight(self) -> None:
        await self.paced(8, 20, zone='messages = ["20/s"]')

    async def test_seven_domains_that_share_a_rate(self) -> None:
        await self.shared(1)

    async def test_seven_domains_that_share_a_rate_by_eight(self) -> None:
        await self.shared(8)

    async def test_connections_of_a_zone(self) -> None:
        await self.of_a_zone(1)

    async def test_connections_of_a_zone_by_eight(self) -> None:
        await self.of_a_zone(8)
