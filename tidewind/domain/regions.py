"""Regions and their time zones.

The shipped table `regions.json` names the regions of the public clouds; a deployment adds its own places, or corrects
the table, with the setting TIDEWIND_REGIONS. A region that nobody knows is refused: falling back to some zone would
run backups at the wrong hour without anyone noticing.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from schemas.replies import FieldError
from tidewind.domain.problems import refused

Regions = Mapping[str, str]
"""Region name to IANA zone. A cloud's region stands under `cloud:name` too; a bare name that several clouds use means
the first of them in the shipped table's order (aws, gcp, azure, then others)."""


@cache
def shipped_regions() -> Regions:
    """The table that comes with Tidewind."""
    clouds = json.loads(files("tidewind.domain").joinpath("regions.json").read_text())["clouds"]
    table: dict[str, str] = {}
    for cloud, regions in clouds.items():
        for name, zone in regions.items():
            table[f"{cloud}:{name}"] = zone
            table.setdefault(name, zone)
    return table


def extend_regions(table: Regions, text: str) -> Regions:
    """The table with a deployment's own regions, which win: `text` is "name=Area/City" pairs separated by commas.

    ValueError names the pair that is wrong."""
    added = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, zone = (part.strip() for part in pair.partition("="))
        if not equals or not name or not zone:
            raise ValueError(f'TIDEWIND_REGIONS: {pair!r} must read name=Area/City, for instance "cellar=Europe/Oslo"')
        if not zone_exists(zone):
            raise ValueError(f"TIDEWIND_REGIONS: {zone!r} of region {name!r} is not a zone of the IANA database")
        added[name] = zone
    return {**table, **added}


def zone_of(region: str, table: Regions) -> str:
    """The zone of a region. Raises Refused (unknown-region) with the nearest names known."""
    zone = table.get(region)
    if zone is not None:
        return zone
    near = get_close_matches(region, table, n=3, cutoff=0.6)
    hint = f"; near it are {', '.join(f'{name} ({table[name]})' for name in near)}" if near else ""
    raise refused(
        "unknown-region",
        f"No time zone is known for region {region!r}{hint}",
        errors=(FieldError(field="region", problem=f"{region!r} is not a known region"),),
    )


def zone_exists(zone: str) -> bool:
    """Whether the IANA database has the zone. The text may be anything."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return False
    return True
