"""Settings of the snapshotter (`TIDEWIND_*`)."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidewind.domain.slots import MAX_GRACE

MIB = 1024 * 1024


class SnapshotterSettings(BaseSettings):
    """`workers`: reader processes per snapshot; `chunk_mib`: rows per chunk, before compression. `grace_h`: for how
    long a day's backup that failed is tried again."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    workers: int = Field(default=2, ge=1, le=64)
    chunk_mib: int = Field(default=64, ge=1, le=128)
    grace_h: float = Field(default=6.0, gt=0, le=MAX_GRACE / timedelta(hours=1))
    snapshot_timeout_h: float = Field(default=24.0, gt=0)
    preflight_timeout_s: float = Field(default=15.0, gt=0)
    delete_grace_s: float = Field(default=5.0, ge=0)
    sweep_every_s: float = Field(default=600.0, gt=0)
    statuses_every_s: float = Field(default=30.0, gt=0)
    allow_manual_backups: bool = False

    @property
    def chunk_bytes(self) -> int:
        return self.chunk_mib * MIB
