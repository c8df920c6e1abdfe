"""The changelog as it is started, beside no other service: what it answers of a topic that it shares."""

from pathlib import Path

from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient

CLUSTER = "shop"


async def test_it_answers_deletions_of_its_log_and_leaves_the_rest_to_the_snapshotter(
    kafka: str, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path / "tidewind", kafka)
    await deployment.make_topics()
    try:
        await deployment.start("changelog")
        async with PlainClient(kafka, deployment.prefix) as client:
            for kind, body in (
                ("tidewind.backup.run.v1", {"cause": "manual"}),
                ("tidewind.backup.verify.v1", {"backup_id": "bkp_0123456789"}),
                ("tidewind.nonsense.v9", {}),
            ):
                await client.send("backups", kind, {"cluster_id": CLUSTER, **body})
            last = await client.send(
                "backups",
                "tidewind.segments.delete.v1",
                {
                    "cluster_id": CLUSTER,
                    "history": "hst_0123456789",
                    "through": 1,
                    "reason": "it is older than 90 days",
                },
            )
            answer = await client.reply(last)
            # One key, so one partition in and one out: what was sent before would have been answered before.
            answered = [record["headers"]["correlation-id"] for record in client.seen["replies"]]
    finally:
        print(deployment.logs())
        await deployment.close()
    assert answer["type"] == "tidewind.command.rejected.v1", answer
    assert answered == [last]
