"""What the changelog answers of a topic that it shares."""

from datetime import UTC, datetime

from schemas.envelope import Message
from services.changelog.bootstrap import deletions_only


async def test_what_is_not_for_the_changelog_is_left_to_the_snapshotter() -> None:
    taken: list[str] = []

    async def handle(message: Message) -> None:
        taken.append(message.type)

    for kind in ("tidewind.segments.delete.v1", "tidewind.backup.request.v1", "tidewind.nonsense.v9"):
        now = datetime(2026, 11, 23, tzinfo=UTC)
        await deletions_only(handle)(Message(id="m", type=kind, source="/t", time=now, key="shop", data={}))
    assert taken == ["tidewind.segments.delete.v1"]
