"""The real `tidewind`, as a process, against a real Kafka, a real MariaDB and the services that `tidewind up` runs."""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tidewind.embedded.mariadb import PrivateMariaDB

LINE_S = 60


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


@dataclass
class Deployment:
    """One deployment's environment, and its `tidewind`."""

    folder: Path
    environment: dict[str, str]
    database: PrivateMariaDB
    up: asyncio.subprocess.Process | None = None
    said: list[str] = field(default_factory=list)

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidewind.cli.main",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )

    async def run(self, *words: str, deadline_s: float = LINE_S) -> Ended:
        process = await self.start(*words)
        try:
            async with asyncio.timeout(deadline_s):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def good(self, *words: str) -> Ended:
        ended = await self.run(*words)
        assert ended.code == 0, f"{' '.join(words)}\n{ended.out}\n{ended.err}\n" + "\n".join(self.said[-40:])
        return ended

    async def start_up(self) -> None:
        self.up = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidewind.cli.main",
            "up",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
            limit=1 << 20,
        )
        ready = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(self.up, ready))
        waiting = asyncio.create_task(ready.wait())
        async with asyncio.timeout(120):
            await asyncio.wait({waiting, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        assert ready.is_set(), "\n".join(self.said)

    async def _listen(self, up: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert up.stdout is not None
        async for line in up.stdout:
            self.said.append(line.decode().rstrip())
            if "ready. In another terminal" in self.said[-1]:
                ready.set()

    def service_pids(self) -> dict[str, int]:
        """The newest pid of each service, as `up` announced it."""
        found = (re.search(r"(\w+) started, pid (\d+)", line) for line in self.said)
        return {hit[1]: int(hit[2]) for hit in found if hit}

    async def end_up(self, number: signal.Signals) -> int:
        assert self.up is not None
        self.up.send_signal(number)
        async with asyncio.timeout(60):
            await self.up.wait()
            await self._listening
        assert self.up.returncode is not None
        return self.up.returncode


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(map(_alive, pids)):
            await asyncio.sleep(0.05)


def _environment(kafka: str, folder: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TIDEWIND_")}
    return kept | {
        "TIDEWIND_KAFKA_BOOTSTRAP": kafka,
        "TIDEWIND_KAFKA_PREFIX": f"cli-{secrets.token_hex(4)}.",
        "TIDEWIND_KAFKA_REPLICATION_FACTOR": "1",
        "TIDEWIND_STORE_URL": (folder / "store").as_uri(),
        "TIDEWIND_KEYRING": f"file:{folder / 'keyring'}",
        "TIDEWIND_TICK_S": "1",
        "TIDEWIND_ALLOW_MANUAL_BACKUPS": "true",
        "COLUMNS": "160",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.fixture(scope="module")
async def deployment(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A deployment with a running `tidewind up` and a database of its own, not yet enrolled."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "store").mkdir()
    database = PrivateMariaDB(folder / "mariadb")
    await database.start()
    environment = _environment(kafka, folder) | {"SHOP": f"root:{database.password}"}
    made = Deployment(folder, environment, database)
    try:
        await made.good("key", "init", str(folder / "keyring"))
        await made.start_up()
        yield made
    finally:
        if made.up is not None and made.up.returncode is None:
            await made.end_up(signal.SIGTERM)
        await database.remove()
        rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def shop(deployment: Deployment) -> Deployment:
    """The deployment with the database enrolled as `shop`, holding a table."""
    await _sql(
        deployment,
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT PRIMARY KEY, x TEXT)",
        "USE shop",
        "INSERT INTO t SELECT seq, SHA2(seq, 256) FROM seq_1_to_5000",
    )
    database = deployment.database
    enrolled = await deployment.good(
        "cluster",
        "enroll",
        "shop",
        "--engine",
        "mariadb",
        "--region",
        "eu-central-1",
        "--endpoint",
        f"{database.host}:{database.port}",
        "--credentials",
        "env:SHOP",
        "-o",
        "json",
    )
    assert enrolled.json["event"] == "tidewind.cluster.enrolled.v1"
    assert enrolled.json["data"]["zone"] == "Europe/Berlin"
    return deployment


async def _sql(deployment: Deployment, *statements: str) -> Any:
    connection = await deployment.database.connect()
    try:
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
            return await cursor.fetchall()
    finally:
        connection.close()


async def _checksum(deployment: Deployment) -> Any:
    return (await _sql(deployment, "CHECKSUM TABLE shop.t EXTENDED"))[0][1]


async def test_topics_are_made_once_and_checked(kafka, tmp_path):
    lone = Deployment(tmp_path, _environment(kafka, tmp_path), PrivateMariaDB(tmp_path))
    checked = await lone.run("topics", "check")
    assert checked.code == 1
    assert "commands.v1" in checked.out
    assert "tidewind topics apply" in checked.out
    applied = await lone.good("topics", "apply", "-o", "json")
    assert {one["action"] for one in applied.json} == {"create"}
    assert (await lone.good("topics", "apply", "-o", "json")).json == []
    assert "All topics are as declared." in (await lone.good("topics", "check")).out


async def test_the_whole_way_of_a_cluster(shop):
    listed = await shop.good("cluster", "list")
    assert "shop" in listed.out
    assert "protected" in listed.out
    assert "another cluster" not in listed.err
    changed = await shop.good("setting", "set", "-c", "shop", "--retention-days", "30", "--backup-time", "04:15")
    assert "daily at 04:15 in Europe/Berlin" in changed.out
    assert "at least 30 days" in (await shop.good("setting", "show", "-c", "shop")).out

    taken = await shop.good("backup", "run", "-c", "shop", "--reason", "before the release", "-o", "json")
    backup = taken.json["data"]["backup_id"]
    assert taken.json["data"]["rows"] >= 5000
    assert backup in (await shop.good("backup", "list", "-c", "shop")).out
    assert "verified" in (await shop.good("backup", "verify", backup)).out
    before = await _checksum(shop)

    await _sql(shop, "UPDATE shop.t SET x = 'oops'")
    damaged = await _checksum(shop)
    planned = await shop.good("restore", "plan", "-c", "shop", "--backup", backup)
    line = re.search(r"tidewind (restore run .*--plan \w+)", planned.out)
    assert line is not None, planned.out
    refused = await shop.run(*line[1].split())
    assert refused.code == 64, "without a terminal there is nobody to type the name"
    restored = await shop.good(*line[1].split(), "--yes", "shop", "-o", "json")
    restore = restored.json["data"]["restore_id"]
    assert await _checksum(shop) == before

    assert "completed" in (await shop.good("restore", "status", restore)).out
    assert restore in (await shop.good("restore", "list")).out
    late = await shop.run("restore", "cancel", restore)
    assert late.code == 65
    assert "[restore-ended]" in late.err
    await shop.good("restore", "undo", restore, "--yes", "shop")
    assert await _checksum(shop) == damaged


async def test_the_same_key_gets_the_same_answer(shop):
    words = ("setting", "set", "-c", "shop", "--retention-days", "14", "--idempotency-key", "once", "-o", "json")
    first, second = await shop.good(*words), await shop.good(*words)
    assert first.json["data"]["job_id"] == second.json["data"]["job_id"]
    other = await shop.run(*words[:5], "15", *words[6:])
    assert other.code == 65
    assert other.json["problem"]["type"] == "urn:tidewind:problem:idempotency-key-reused"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("setting", "set", "-c", "nobody", "--reset"), 66, "[unknown-cluster]"),
        (("cluster", "update", "shop", "--region", "eu-centrl-1"), 64, "eu-central-1"),
        (("cluster", "update", "shop", "--credentials", "env:NOT_SET_ANYWHERE"), 78, "NOT_SET_ANYWHERE"),
        (("cluster", "update", "shop", "--endpoint", "127.0.0.1:1"), 69, "[database-unreachable]"),
        (("restore", "plan", "-c", "shop", "--backup", "bkp_0000000000"), 66, "[unknown-backup]"),
        (("restore", "plan", "-c", "shop", "--to-time", "1 hour ago"), 65, "[target-outside]"),
        (("backup", "delete", "bkp_0000000000", "-c", "shop", "--yes", "shop"), 66, "[unknown-backup]"),
        (("cluster", "show", "shp"), 66, "near  shop"),
    ],
)
async def test_refusals_from_the_services(shop, words, code, said):
    ended = await shop.run(*words)
    assert (ended.code, said in ended.err) == (code, True), ended.out + ended.err


async def test_doctor_finds_a_whole_deployment_well_and_says_what_is_wrong(shop):
    well = await shop.run("doctor", "-o", "json")
    found = {(one["group"], one["level"]) for one in well.json}
    assert {("broker", "ok"), ("topics", "ok"), ("store", "ok"), ("key", "ok"), ("database", "ok")} <= found, well.out
    await shop.good("key", "check")

    (shop.folder / "other").unlink(missing_ok=True)
    await shop.good("key", "init", str(shop.folder / "other"))
    shop_key, shop.environment["TIDEWIND_KEYRING"] = (
        shop.environment["TIDEWIND_KEYRING"],
        f"file:{shop.folder / 'other'}",
    )
    try:
        wrong = await shop.run("key", "check")
    finally:
        shop.environment["TIDEWIND_KEYRING"] = shop_key
    assert wrong.code == 1
    assert "another key than the one of that name" in wrong.out


async def test_watch_tells_events_as_they_happen(shop, interruptible):
    watching = await shop.start("watch", "-c", "shop", "-o", "json", "--since", "1 hour ago")
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(LINE_S):
            first = json.loads(await watching.stdout.readline())
        assert first["type"] == "tidewind.cluster.enrolled.v1"
        watching.send_signal(signal.SIGINT)
        async with asyncio.timeout(LINE_S):
            assert await watching.wait() == 130
    finally:
        if watching.returncode is None:
            watching.kill()
            await watching.wait()


async def test_dead_letters_are_listed_shown_dropped(shop):
    producer = AIOKafkaProducer(bootstrap_servers=shop.environment["TIDEWIND_KAFKA_BOOTSTRAP"])
    await producer.start()
    topic = f"{shop.environment['TIDEWIND_KAFKA_PREFIX']}commands.v1"
    sent = await producer.send_and_wait(topic, b"\x1b[2J not json", key=b"shop")
    await producer.stop()
    name = f"{topic}/{sent.partition}/{sent.offset}"
    async with asyncio.timeout(LINE_S):
        while name not in [one["id"] for one in (await shop.good("dlt", "list", "-o", "json")).json]:
            await asyncio.sleep(0.2)
    shown = await shop.good("dlt", "show", name)
    assert "\\x1b[2J not json" in shown.out
    await shop.good("dlt", "drop", name, "--reason", "a test")
    assert name not in (await shop.good("dlt", "list")).out
    again = await shop.run("dlt", "replay", name)
    assert again.code != 0
    assert "already dropped" in again.err


async def test_a_reader_that_goes_away_is_no_error(shop):
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m tidewind.cli.main backup list -c shop -o json | head -c 1 >/dev/null; "
        "exit ${PIPESTATUS[0]}",
        executable="/bin/bash",
        env=shop.environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert b"Traceback" not in err


async def test_up_starts_a_dead_service_again_and_says_so(shop):
    before = shop.service_pids()
    assert set(before) >= {"scheduler", "snapshotter", "restorer"}
    os.kill(before["restorer"], signal.SIGKILL)
    async with asyncio.timeout(60):
        while shop.service_pids()["restorer"] == before["restorer"]:
            await asyncio.sleep(0.05)
    assert any("restorer was ended by SIGKILL; it is started again" in line for line in shop.said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_up_leaves_nothing_behind(kafka, tmp_path, number):
    (tmp_path / "store").mkdir()
    own = Deployment(tmp_path, _environment(kafka, tmp_path), PrivateMariaDB(tmp_path))
    await own.good("key", "init", str(tmp_path / "keyring"))
    await own.start_up()
    pids = list(own.service_pids().values())
    assert all(map(_alive, pids))
    code = await own.end_up(number)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0), "\n".join(own.said[-20:])
    await _gone(pids)


async def test_up_with_wrong_settings_says_what_is_wrong(kafka, tmp_path):
    broken = Deployment(tmp_path, _environment(kafka, tmp_path), PrivateMariaDB(tmp_path))
    ended = await broken.run("up")
    assert ended.code == 78, ended.out + ended.err
    assert "keyring" in ended.out + ended.err


async def test_without_kafka_the_key_to_repeat_with_is_printed_in_time(tmp_path):
    alone = Deployment(tmp_path, _environment("127.0.0.1:1", tmp_path), PrivateMariaDB(tmp_path))
    ended = await alone.run("setting", "set", "-c", "shop", "--reset", deadline_s=20)
    assert ended.code == 75
    assert re.search(r"--idempotency-key cli-[0-9a-f-]{36}", ended.err)
    assert "Traceback" not in ended.err
