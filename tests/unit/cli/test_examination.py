"""What `doctor` says of topics, store, key and database."""

from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from schemas.commands import BackupSetting, Endpoint
from tests.unit.cli.stand_ins import NOW
from tidewind.cli.examination import kafka_failed, look_at_database, look_at_key, look_at_store, look_at_topics
from tidewind.domain import keys
from tidewind.domain.records import BackupOutcome, RegistryEntry, Repository
from tidewind.ports.bus import BusUnavailable
from tidewind.ports.engine import DatabaseError, Finding, Preflight, ServerFacts
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.keyring import Keyring

JOB = "00000000-0000-5000-8000-000000000000"


@dataclass
class Difference:
    topic: str = "tidewind.commands.v1"
    action: str = "create"
    text: str = "does not exist"
    fix: str = "tidewind topics apply"
    hinders: bool = True


def _topics(*found):
    async def plan():
        return found

    return SimpleNamespace(plan=plan)


async def test_topics():
    broker = SimpleNamespace(brokers=("kafka-1:9092",))
    (first, second) = await look_at_topics(_topics(), broker, 12, replicas=1)
    assert (first.level, first.text) == ("ok", "kafka-1:9092, 1 broker, 12 partitions a topic")
    assert (second.group, second.level) == ("topics", "ok")
    found = await look_at_topics(
        _topics(Difference(), Difference(action="advise", hinders=False)), broker, 12, replicas=1
    )
    assert [one.level for one in found] == ["ok", "error", "warn"]
    assert found[1].fix.startswith("tidewind topics apply ")


async def test_topics_that_are_all_missing_are_one_line():
    broker = SimpleNamespace(brokers=("kafka-1:9092",))
    missing = [Difference(topic=f"tidewind.t{number}") for number in range(11)]
    found = await look_at_topics(_topics(*missing), broker, 12, replicas=1)
    assert [one.text for one in found[1:]] == ["tidewind.t0 and 10 more topics do not exist yet"]


async def test_one_broker_cannot_hold_three_replicas():
    broker = SimpleNamespace(brokers=("kafka-1:9092",))
    found = await look_at_topics(_topics(Difference()), broker, 12, replicas=3)
    assert [one.level for one in found] == ["ok", "error", "error"]
    assert found[1].fix.startswith("export TIDEWIND_KAFKA_REPLICATION_FACTOR=1")
    made = await look_at_topics(_topics(), broker, 12, replicas=3)
    assert [one.level for one in made] == ["ok", "ok"], "topics that are there need no broker more"


def test_kafka_that_does_not_answer():
    found = kafka_failed(BusUnavailable("Kafka at x:1 did not answer"))
    assert found.level == "error"
    assert "TIDEWIND_KAFKA_BOOTSTRAP" in str(found.fix)


@pytest.mark.parametrize(
    ("off_s", "conditional", "single", "levels"),
    [
        (0, True, False, ["ok"]),
        (60, True, False, ["ok", "warn"]),
        (600, True, False, ["ok", "error"]),
        (0, False, False, ["ok", "error"]),
        (0, False, True, ["ok", "warn"]),
    ],
)
async def test_the_store(off_s, conditional, single, levels):
    async def now():
        return NOW + timedelta(seconds=off_s)

    found = await look_at_store(
        SimpleNamespace(now=now), url="s3://b", conditional=conditional, single_writer=single, now=NOW
    )
    assert [one.level for one in found] == levels
    assert all(one.fix for one in found if one.level != "ok")


@pytest.fixture
def keyring(tmp_path):
    ring = Keyring.generate("prod-2026", SystemRandomness())
    (tmp_path / "keyring").write_text(ring.to_text())
    return ring


def _settings(tmp_path):
    (tmp_path / "store").mkdir(exist_ok=True)
    return StoreSettings(url=(tmp_path / "store").as_uri(), keyring=f"file:{tmp_path / 'keyring'}")


def _outcome(number):
    return BackupOutcome(
        cluster_id="shop",
        backup_id=f"bkp_000000000{number}",
        job_id=JOB,
        result="completed",
        attempt=1,
        cause="slot",
        started_at=NOW,
        ended_at=NOW,
        engine="mariadb",
        engine_version="10.11.19",
        manifest_key=f"snapshots/shop/bkp_000000000{number}/a0001/manifest.json",
    )


async def _store_of_two(store, ring):
    marker = Repository(
        deployment="prod", partitions=12, created_at=NOW, key_id=ring.active, key_check=ring.check_value(ring.active)
    )
    await store.inner.put(keys.REPOSITORY, marker.to_bytes())
    for number in (1, 2):
        outcome = _outcome(number)
        await store.put(keys.outcome("shop", outcome.backup_id), outcome.to_bytes())
        await store.put(outcome.manifest_key, b"{}")


async def test_a_key_that_reads_every_backup(tmp_path, keyring):
    async with open_store(_settings(tmp_path)) as store:
        (empty,) = await look_at_key(store, store.inner, keyring, "env:KEY")
        assert (empty.level, "still empty" in empty.text) == ("ok", True)
        await _store_of_two(store, keyring)
        (found,) = await look_at_key(store, store.inner, keyring, "env:KEY")
    assert (found.level, found.text) == ("ok", "prod-2026 (env:KEY), backups readable: 2 of 2")


async def test_a_backup_under_a_key_that_is_missing(tmp_path, keyring):
    async with open_store(_settings(tmp_path)) as store:
        await _store_of_two(store, keyring)
    both = keyring.with_newest("lost", SystemRandomness())
    (tmp_path / "keyring").write_text(both.to_text())
    async with open_store(_settings(tmp_path)) as store:
        await store.put(keys.outcome("shop", "bkp_0000000003"), _outcome(3).to_bytes())
    (tmp_path / "keyring").write_text(keyring.to_text())
    async with open_store(_settings(tmp_path)) as store:
        found = await look_at_key(store, store.inner, keyring, "env:KEY")
    assert [one.level for one in found] == ["error", "error"]
    assert "backups readable: 2 of 3" in found[0].text
    assert "lost" in found[1].text


async def test_wrong_keyrings(tmp_path, keyring):
    other = Keyring.generate("prod-2026", SystemRandomness())
    foreign = Keyring.generate("dev", SystemRandomness())
    async with open_store(_settings(tmp_path)) as store:
        await _store_of_two(store, keyring)
        for ring, said in (
            (other, "another key than the one of that name"),
            (foreign, "is not in the keyring, which holds dev"),
            (None, "encryption is off here"),
        ):
            (found,) = await look_at_key(store, store.inner, ring, "env:KEY")
            assert found.level == "error"
            assert said in found.text
            assert found.fix


ENTRY = RegistryEntry(
    cluster_id="shop",
    revision=1,
    engine="mariadb",
    engine_version="10.11.19",
    server_identity="1-a",
    region="r",
    zone="UTC",
    endpoints=(Endpoint(host="db-1", port=3306),),
    credentials="env:TIDEWIND_TEST_SHOP",
    setting=BackupSetting(),
    created_at=NOW,
    changed_at=NOW,
    job_id=JOB,
    first_slot_date="2026-11-23",
)
FACTS = ServerFacts(engine="mariadb", version="10.11.19", identity="1-a", zone="UTC", position="0-1-5", now=NOW)


def _engine(outcome):
    async def preflight(address, login, restore_login):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return SimpleNamespace(preflight=preflight)


async def test_the_database(monkeypatch):
    monkeypatch.setenv("TIDEWIND_TEST_SHOP", "root:secret")
    finding = Finding(subject="grants", level="error", text="lacks BINLOG MONITOR", fix="GRANT …")
    found = await look_at_database(ENTRY, _engine(Preflight(facts=FACTS, findings=(finding,))), named=False)
    assert [(one.group, one.level, one.fix) for one in found] == [
        ("database", "ok", None),
        ("grants", "error", "GRANT …"),
    ]
    moved = Preflight(facts=replace(FACTS, identity="2-b"), findings=())
    found = await look_at_database(ENTRY, _engine(moved), named=True)
    assert [(one.group, one.level) for one in found] == [("shop database", "ok"), ("shop database", "warn")]
    down = _engine(DatabaseError("database-unreachable", "db-1:3306 did not answer", "look at it"))
    (found,) = await look_at_database(ENTRY, down, named=False)
    assert (found.level, found.text, found.fix) == ("error", "db-1:3306 did not answer", "look at it")
    (found,) = await look_at_database(ENTRY, None, named=False)
    assert found.level == "warn"
    monkeypatch.delenv("TIDEWIND_TEST_SHOP")
    (found,) = await look_at_database(ENTRY, down, named=False)
    assert "TIDEWIND_TEST_SHOP is not set" in found.text
