"""A private MariaDB that lets nobody in over an unencrypted connection."""

import ssl
from pathlib import Path
from typing import Any

import aiomysql

from tests.servers.certificates import Certificates
from tidewind.embedded.mariadb import PrivateMariaDB


class TlsMariaDB(PrivateMariaDB):
    """`connect` checks the server's certificate as every other client of it has to."""

    def __init__(self, directory: Path, certificates: Certificates, *, options: tuple[str, ...] = ()) -> None:
        self._tls = ssl.create_default_context(cafile=str(certificates.ca))
        enforced = (*certificates.mariadb_options(), "--require-secure-transport=ON")
        super().__init__(directory, options=(*enforced, *options))

    async def connect(self, **who: Any) -> aiomysql.Connection:
        return await super().connect(**who, tls=self._tls)
