"""Settings of Kafka and the store from the environment, for services and the command line alike.

Apart from `assembly`, so that reading a setting loads no client.
"""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.base import SecretReference
from tidewind.bus.settings import BusSettings
from tidewind.store.factory import StoreSettings


class _KafkaEnvironment(BaseSettings, BusSettings):
    model_config = SettingsConfigDict(env_prefix="TIDEWIND_KAFKA_", extra="ignore", frozen=True)


class _StoreEnvironment(BaseSettings, StoreSettings):
    model_config = SettingsConfigDict(env_prefix="TIDEWIND_STORE_", extra="ignore", frozen=True, populate_by_name=True)

    keyring: SecretReference | None = Field(default=None, validation_alias="TIDEWIND_KEYRING")


def bus_settings() -> BusSettings:
    """From `TIDEWIND_KAFKA_*`. Raises pydantic.ValidationError."""
    return BusSettings.model_validate(_KafkaEnvironment().model_dump())


def store_settings() -> StoreSettings:
    """From `TIDEWIND_STORE_*` and `TIDEWIND_KEYRING`. Raises pydantic.ValidationError."""
    return StoreSettings.model_validate(_StoreEnvironment().model_dump())
