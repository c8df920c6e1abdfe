"""What is known of a point's base is known of the point."""

from types import SimpleNamespace

from schemas.events import RestorePoint
from services.restorer.handlers.points import planned_origin
from tests.unit.restorer.bench import BACKUP, manifest, outcome
from tidewind.domain.catalogue import CatalogueEntry


async def test_a_point_is_as_suspect_as_the_backup_it_begins_at():
    base = outcome(suspect=("it holds no tables",))

    async def backup(*_):
        return CatalogueEntry(outcome=base, tombstone=None, verification=None)

    async def get(_):
        return manifest().to_bytes()

    tools = SimpleNamespace(
        catalogue=SimpleNamespace(backup=backup), store=SimpleNamespace(get=get), open_store=None, archived=None
    )
    plan = {
        "base": BACKUP,
        "legs": [],
        "timeline": "main",
        "cut": "0-1-100",
        "cut_history": "hst_1",
        "point": RestorePoint(precision="clock").model_dump(mode="json"),
    }
    origin = await planned_origin(tools, "shop", plan)
    assert origin.suspect == base.suspect
