"""What a deployment stands on: its Kafka, its store, the database it protects, and how the services are told of them."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.deployment import SERVICES
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.kafka_server import KafkaServer
from tests.servers.mariadb_tls import TlsMariaDB
from tests.servers.moto_server import MotoServer
from tidewind.embedded.mariadb import PrivateMariaDB

DATABASE_OPTIONS = ("--event-scheduler=ON",)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """`client` are a plain Kafka client's own arguments, `enrolment` the fields of the command that say how to reach
    the database, and `refused` the same with something wrong: the problem's name and what it must say."""

    bootstrap: str
    server: PrivateMariaDB
    services: tuple[str, ...] = SERVICES
    client: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    enrolment: dict[str, Any] = field(default_factory=dict)
    refused: tuple[tuple[dict[str, Any], str, str], ...] = ()


@asynccontextmanager
async def plain(folder: Path, bootstrap: str) -> AsyncIterator[Ground]:
    """One instance of each service, a directory, nothing encrypted on the way."""
    server = PrivateMariaDB(folder / "mariadb", options=DATABASE_OPTIONS)
    try:
        await server.start()
        yield Ground(bootstrap=bootstrap, server=server)
    finally:
        await server.remove()


@asynccontextmanager
async def secured(folder: Path, kafka: KafkaServer, certificates: Certificates) -> AsyncIterator[Ground]:
    """Two instances of each service; Kafka with TLS and SCRAM, S3 behind TLS, a database that refuses plain text."""
    secrets = {name: folder / name for name in ("kafka-password", "s3-access", "s3-secret")}
    stranger = make_certificates(folder / "stranger", name="somebody else")
    store = MotoServer(folder / "moto", certificates=certificates)
    server = TlsMariaDB(folder / "mariadb", certificates, options=DATABASE_OPTIONS)
    secrets["kafka-password"].write_text(kafka.password)
    secrets["s3-access"].write_text(store.endpoint.access_key)
    secrets["s3-secret"].write_text(store.endpoint.secret_key)
    try:
        await store.start()
        await server.start()
        bucket = await store.endpoint.new_bucket()
        yield Ground(
            bootstrap=kafka.secure_address,
            server=server,
            services=tuple(name for name in SERVICES for _ in range(2)),
            client={
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": kafka.username,
                "sasl_plain_password": kafka.password,
                "ssl_context": ssl.create_default_context(cafile=str(certificates.ca)),
            },
            environment={
                "TIDEWIND_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "TIDEWIND_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
                "TIDEWIND_KAFKA_SASL_USERNAME": kafka.username,
                "TIDEWIND_KAFKA_SASL_PASSWORD": f"file:{secrets['kafka-password']}",
                "TIDEWIND_KAFKA_CA": f"file:{certificates.ca}",
                "TIDEWIND_STORE_URL": f"s3://{bucket}/prod",
                "TIDEWIND_STORE_ENDPOINT_URL": store.endpoint.url,
                "TIDEWIND_STORE_REGION": store.endpoint.region,
                "TIDEWIND_STORE_ACCESS_KEY": f"file:{secrets['s3-access']}",
                "TIDEWIND_STORE_SECRET_KEY": f"file:{secrets['s3-secret']}",
                "TIDEWIND_STORE_CA": str(certificates.ca),
            },
            enrolment={"tls": {"ca": f"file:{certificates.ca}"}},
            refused=(
                ({}, "database-refused-login", "demands TLS"),
                ({"tls": {"ca": f"file:{stranger.ca}"}}, "database-unreachable", "Name the authority that signed it"),
                ({"tls": {"ca": "file:/no/such/ca"}}, "secret-unavailable", "/no/such/ca"),
            ),
        )
    finally:
        await server.remove()
        await store.kill()
