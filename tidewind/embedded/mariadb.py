"""A private MariaDB server: own data, own socket, own port on loopback, gone when we are gone.

Everything it writes lies in one directory. It is set up as `tidewind doctor` wants a server to be (row log,
full images, checksums, strict GTIDs), except that commits are handed to the operating system without
waiting for the disk: they survive a kill of the server, not a power failure of the machine. Nothing of the
machine's own MariaDB is read or used but its programs, and those of another installation where one is named.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiomysql
import pymysql

from tidewind.embedded.processes import (
    LOOPBACK,
    STOP_SECONDS,
    ProgramMissingError,
    ServerProcess,
    ServerStartError,
    free_port,
)

START_SECONDS: Final = 60.0
INSTALL_SECONDS: Final = 120.0
PORT_TRIES: Final = 3
# A socket's path must fit into the 108 bytes of the kernel's address structure.
SOCKET_PATH_BYTES: Final = 100
_INSTALL_LINE: Final = "sudo apt-get install -y --no-install-recommends mariadb-server"
_SBIN: Final = "/usr/sbin:/usr/local/sbin:/usr/local/mysql/bin"
INSTALLATION: Final = "TIDEWIND_MARIADB"
"""Environment: the folder of a MariaDB installation to use instead of the programs on PATH."""
_PROGRAM_FOLDERS: Final = ("sbin", "bin", "scripts")


def find_program(name: str, installation: Path | None = None) -> Path:
    """The path of a MariaDB program; ordinary users seldom have the folder of the server on their PATH."""
    if installation is not None:
        for folder in _PROGRAM_FOLDERS:
            program = installation / folder / name
            if os.access(program, os.X_OK):
                return program
        raise ProgramMissingError(f"{name} is in none of {', '.join(_PROGRAM_FOLDERS)} of {installation}")
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise ProgramMissingError(
            f"{name} is not installed. On Debian or Ubuntu:  {_INSTALL_LINE}   "
            "(the system service it brings is not needed)"
        )
    return Path(found)


class PrivateMariaDB:
    """One server on one directory; `start` after `stop` or `kill` continues on the same data and port.

    `options` are server options such as `--log-bin-compress=ON`; later ones win over ours. `installation` is a
    folder that holds another MariaDB, as its tarballs do; the default is that of TIDEWIND_MARIADB, or what is on PATH.
    """

    user: Final = "root"

    def __init__(
        self,
        directory: Path,
        *,
        server_id: int = 1,
        port: int | None = None,
        options: Sequence[str] = (),
        installation: Path | None = None,
    ) -> None:
        named = os.environ.get(INSTALLATION)
        self.installation = installation or (Path(named) if named else None)
        self.directory = directory.absolute()
        self.host = LOOPBACK
        self.server_id = server_id
        self.options = tuple(options)
        self._fixed_port = port
        self._port = port
        self._process: ServerProcess | None = None
        self._password = ""
        self._socket_folder: Path | None = None

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def error_log(self) -> Path:
        return self.directory / "error.log"

    @property
    def socket(self) -> Path:
        return (self._socket_folder or self.directory) / "mariadbd.sock"

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServerStartError("this MariaDB was not started yet and has no port")
        return self._port

    @property
    def password(self) -> str:
        """The minted password of `root`, which may log in over the socket and over loopback."""
        if not self._password:
            raise ServerStartError("this MariaDB was not started yet and has no password")
        return self._password

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    async def start(self, *, extra_options: Sequence[str] = (), seconds: float = START_SECONDS) -> None:
        """Return when `root` can log in. Raises ProgramMissingError or ServerStartError.

        `extra_options` hold for this run only. Must be called on the main thread (see `processes`).
        """
        if self.running:
            raise ServerStartError(f"this MariaDB is already running, pid {self.pid}")
        if not self._password:
            await asyncio.to_thread(self._prepare_directory)
        for attempt in range(1, PORT_TRIES + 1):
            if self._port is None:
                self._port = free_port()
            self._process = ServerProcess("mariadbd", self._command(extra_options), log=self.error_log)
            self._process.start()
            try:
                await self._process.wait_ready(self._answers, seconds=seconds)
            except ServerStartError:
                if self._fixed_port is not None or attempt == PORT_TRIES or not self._port_was_taken():
                    raise
                self._port = None
            else:
                break
        self._fixed_port = self._port
        self._init_file.unlink(missing_ok=True)

    async def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """An orderly shutdown; SIGKILL if it takes longer than `seconds`."""
        if self._process is not None:
            await self._process.stop(seconds=seconds)

    async def kill(self) -> None:
        """SIGKILL, as a crash would: the next `start` recovers from the logs."""
        if self._process is not None:
            await self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._started().pause()

    def resume(self) -> None:
        self._started().resume()

    async def remove(self) -> None:
        """Stop at once and delete everything it wrote."""
        await self.kill()
        for folder in (self._socket_folder, self.directory):
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def connect(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> aiomysql.Connection:
        """A new autocommit connection over TCP, as `root` unless told otherwise. The caller closes it."""
        return await aiomysql.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=self.password if password is None else password,
            db=database,
            autocommit=True,
            connect_timeout=10,
            charset="utf8mb4",
            local_infile=True,
            ssl=tls,
        )

    @property
    def _init_file(self) -> Path:
        return self.directory / "init.sql"

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise ServerStartError("this MariaDB was not started yet")
        return self._process

    def _prepare_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        for name in ("tmp", "binlog", "files"):
            (self.directory / name).mkdir(exist_ok=True)
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="tidewind-"))
        saved = self.directory / "root.password"
        if saved.exists():  # a directory that an earlier process made
            self._password = saved.read_text()
            return
        self._install()
        password = secrets.token_urlsafe(18)
        # Not on the command line, where every user of the machine could read it, and not in the binlog.
        self._write_secret(self._init_file, _accounts_sql(password))
        self._write_secret(saved, password)
        self._password = password

    def _install(self) -> None:
        command = [
            str(find_program("mariadb-install-db", self.installation)),
            "--no-defaults",
            *self._basedir(),
            f"--datadir={self.data_directory}",
            f"--tmpdir={self.directory / 'tmp'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=64M",
            *_as_root(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise ServerStartError(f"mariadb-install-db took over {INSTALL_SECONDS:g} s") from error
        if done.returncode != 0:
            raise ServerStartError(f"mariadb-install-db failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _command(self, extra_options: Sequence[str]) -> list[str]:
        # Its own temporary directory: a starting server deletes temporary tables of others that share one.
        return [
            str(find_program("mariadbd", self.installation)),
            "--no-defaults",
            *self._basedir(),
            f"--datadir={self.data_directory}",
            f"--tmpdir={self.directory / 'tmp'}",
            f"--secure-file-priv={self.directory / 'files'}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'mariadbd.pid'}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            f"--server-id={self.server_id}",
            f"--log-bin={self.directory / 'binlog' / 'binlog'}",
            "--binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--gtid-strict-mode=ON",
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-log-file-size=64M",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            *([f"--init-file={self._init_file}"] if self._init_file.exists() else []),
            *_as_root(),
            *self.options,
            *extra_options,
        ]

    def _basedir(self) -> list[str]:
        return [f"--basedir={self.installation}"] if self.installation is not None else []

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(5):
                connection = await self.connect()
        except (pymysql.err.OperationalError, OSError, TimeoutError):
            return False
        connection.close()
        return True

    def _port_was_taken(self) -> bool:
        return "Address already in use" in self._started().log_tail()

    @staticmethod
    def _write_secret(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)


def _as_root() -> list[str]:
    """mariadbd refuses to run as the superuser unless told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _accounts_sql(password: str) -> str:
    """One statement a line, as an init file wants it: only `root` from this machine, with a password.

    A fresh data directory holds `root` without a password for several hosts, and anonymous accounts.
    """
    return "\n".join(
        (
            "SET sql_log_bin = 0;",
            "DELETE FROM mysql.global_priv WHERE User = '' OR "
            "(User = 'root' AND Host NOT IN ('localhost', '127.0.0.1'));",
            "FLUSH PRIVILEGES;",
            f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';",
            f"ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{password}';",
            "",
        )
    )
