"""A private MariaDB that lets nobody in over an unencrypted connection."""

import ssl
from pathlib import Path

import aiomysql

from tests.servers.certificates import Certificates
from tidewind.embedded.mariadb import PrivateMariaDB


class TlsMariaDB(PrivateMariaDB):
    """`connect` checks the server's certificate as every other client of it has to."""

    def __init__(self, directory: Path, certificates: Certificates, *, options: tuple[str, ...] = ()) -> None:
        self._tls = ssl.create_default_context(cafile=str(certificates.ca))
        enforced = (*certificates.mariadb_options(), "--require-secure-transport=ON")
        super().__init__(directory, options=(*enforced, *options))

    async def connect(
        self, *, user: str | None = None, password: str | None = None, database: str | None = None
    ) -> aiomysql.Connection:
        return await aiomysql.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=self.password if password is None else password,
            db=database,
            autocommit=True,
            connect_timeout=10,
            charset="utf8mb4",
            ssl=self._tls,
        )
