"""What the demo is played on: a broker in this process, a database, a store and the services, all private and all gone
afterwards.

Everything lies in one folder. The environment given to the services holds a reference to the database's secret, never
the secret in a message.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.topics import DEFAULT_PARTITIONS, TOPICS
from tidewind.embedded.broker import EmbeddedBroker
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.embedded.tree import ProcessTree, TreeError, children

READY_S: Final = 60.0
SECRET: Final = "TIDEWIND_DEMO_SHOP"  # noqa: S105 - the name of a variable
CREDENTIALS: Final = f"env:{SECRET}"
ACCOUNT: Final = "tidewind"
"""The account the services use, with the rights that a restore needs."""
TICK_S: Final = 0.5
SESSION_S: Final = 6


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`environment` is what the services run with, and what the CLI needs to speak to them."""

    folder: Path
    database: PrivateMariaDB
    environment: Mapping[str, str]
    tree: ProcessTree

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def store(self) -> Path:
        return self.folder / "store"


class StageFailed(RuntimeError):
    """A server or service of the demo ended. `details` are the last lines of its log."""

    def __init__(self, why: str, details: tuple[str, ...]) -> None:
        super().__init__(why)
        self.details = details


@asynccontextmanager
async def set_up(folder: Path, *, keyring: str, on_built: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start everything, several things at a time; stop it all at the end, also if setting up was interrupted.

    `keyring` is the text of a keyring. `on_built` hears what stands. Raises ServerStartError, ProgramMissingError,
    StageFailed. Must be used on the main thread.
    """
    with EmbeddedBroker() as broker:
        address = broker.start([topic.full_name() for topic in TOPICS], DEFAULT_PARTITIONS)
        on_built(f"Kafka, embedded, at {address}")
        database = PrivateMariaDB(folder / "mariadb")
        minted = secrets.token_urlsafe(18)
        for name in ("logs", "store", "tmp"):
            (folder / name).mkdir(exist_ok=True)
        _write_secret(folder / "keyring", keyring)
        environment = _environment(folder, address, f"{ACCOUNT}:{minted}")
        starting = asyncio.create_task(_open_database(database, minted), name="database")
        try:
            async with _services(folder, environment) as tree:
                on_built(f"the services: {', '.join(tree.names)}, one instance each")
                on_built(await starting)
                yield Stage(folder=folder, database=database, environment=environment, tree=tree)
        finally:
            # Not cancelled: the program that lays out its data runs in a thread, and would go on writing behind us.
            await asyncio.shield(asyncio.gather(starting, return_exceptions=True))
            await asyncio.shield(database.remove())


async def _open_database(database: PrivateMariaDB, password: str) -> str:
    await database.start()
    root = await database.connect()
    try:
        async with root.cursor() as cursor:
            # Unlogged: the account is the machinery's, not the shop's.
            await cursor.execute("SET sql_log_bin = 0")
            await cursor.execute(f"CREATE USER '{ACCOUNT}'@'127.0.0.1' IDENTIFIED BY '{password}'")
            await cursor.execute(f"GRANT ALL PRIVILEGES ON *.* TO '{ACCOUNT}'@'127.0.0.1' WITH GRANT OPTION")
            await cursor.execute("SELECT VERSION()")
            version = (await cursor.fetchall())[0][0]
    finally:
        root.close()
    return f"MariaDB {version} at {database.host}:{database.port}"


def _environment(folder: Path, address: str, secret: str) -> dict[str, str]:
    """Nothing of the operator's own deployment reaches the demo."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEWIND_", "AWS_"))}
    return kept | {
        "TIDEWIND_KAFKA_BOOTSTRAP": address,
        "TIDEWIND_KAFKA_REPLICATION_FACTOR": "1",
        "TIDEWIND_KAFKA_SESSION_TIMEOUT_S": str(SESSION_S),
        "TIDEWIND_STORE_URL": (folder / "store").as_uri(),
        "TIDEWIND_KEYRING": f"file:{folder / 'keyring'}",
        "TIDEWIND_TICK_S": str(TICK_S),
        "TIDEWIND_CAPTURE": "true",
        "TIDEWIND_CLUSTERS_EVERY_S": str(TICK_S),
        "TIDEWIND_WINDOW_EVERY_S": str(TICK_S),
        "TIDEWIND_LOG_FORMAT": "json",
        "TMPDIR": str(folder / "tmp"),
        SECRET: secret,
    }


@asynccontextmanager
async def _services(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[ProcessTree]:
    files: dict[str, Path] = {}

    def keep(name: str, text: str) -> None:
        path = files.setdefault(name, folder / "logs" / f"{name}.log")
        with path.open("a") as file:
            file.write(text + "\n")

    tree = ProcessTree(children(environment), on_line=keep, on_change=keep, restart=False, stop_s=10.0)
    running = asyncio.create_task(tree.run(), name="services")
    ready = asyncio.create_task(tree.ready(deadline_s=READY_S), name="readiness")
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        _raise_if_ended(running)
        try:
            await ready
        except TimeoutError as error:
            raise StageFailed(str(error), tree.tail(str(error).rpartition(" ")[2])) from None
        yield tree
        _raise_if_ended(running)
    finally:
        ready.cancel()
        running.cancel()
        with suppress(asyncio.CancelledError, TreeError, TimeoutError):
            await ready
        with suppress(asyncio.CancelledError, TreeError):
            await asyncio.shield(_ended(running))


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


def _raise_if_ended(running: asyncio.Task[None]) -> None:
    if not running.done():
        return
    error = running.exception()
    if isinstance(error, TreeError):
        raise StageFailed(f"the {error}", error.tail) from None
    raise StageFailed("the services ended", ()) from error


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
