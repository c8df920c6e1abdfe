"""How to reach Kafka. One value for every client this package makes."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.base import SecretReference
from schemas.topics import DEFAULT_PREFIX

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class BusSettings(BaseModel):
    """Secrets are references, resolved each time a connection is made, so that a rotated one is picked up.

    `ca`, `certificate` and `key` refer to PEM text; without `ca` the system's authorities are trusted. Host names are
    always checked under TLS. `replication_factor` is used when topics are made and checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port, several separated by commas")
    prefix: str = Field(default=DEFAULT_PREFIX, pattern=r"^[a-z0-9.-]{0,100}$")
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretReference | None = None
    ca: SecretReference | None = None
    certificate: SecretReference | None = None
    key: SecretReference | None = None
    client_id: str = "tidewind"
    session_timeout_s: float = Field(default=15.0, ge=1, le=300)
    request_timeout_s: float = Field(default=15.0, ge=1, le=120)
    start_deadline_s: float = Field(
        default=60.0, gt=0, description="How long a service waits for Kafka when it starts before it gives up"
    )
    replication_factor: int = Field(default=3, ge=1, le=32)

    @field_validator("bootstrap")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            host, colon, port = address.strip().rpartition(":")
            if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f'"{address.strip()}" is not host:port; write "kafka-1:9092,kafka-2:9092"')
        return ",".join(address.strip() for address in value.split(","))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs sasl_username and sasl_password (a reference)")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or neither")
        return self

    @property
    def encrypted(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")
