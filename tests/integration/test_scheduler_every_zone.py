"""The rule of daily slots in every IANA zone over five years: too long for the fast suites, and needs no server."""

import pytest

from tests.property.test_slots import ZONES, five_years_in

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_every_zone_for_five_years(part: int) -> None:
    assert len(ZONES) > 590
    assert {"UTC", "EST5EDT", "Japan", "Cuba", "Europe/Berlin", "America/Argentina/Ushuaia"} <= set(ZONES)
    five_years_in(ZONES[part::PARTS])
