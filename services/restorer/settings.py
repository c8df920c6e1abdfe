"""Settings of the restorer (`TIDEWIND_*`)."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RestorerSettings(BaseSettings):
    """`restore_time_limit_h`: from the gate to the verdict; past it the way back is taken. `undo_days`: how long what a
    restore set aside is kept. `return_patience_h`: how long an unreachable server is waited for after the verdict.
    `plan_read_mib`, `plan_read_s`: how much of the log behind a point a plan reads, and for how long at most, to tell
    what is undone. `announce_timeout_s`: how long Kafka may take to acknowledge `Restoring` before the restore fails
    untouched."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    workers: int = Field(default=2, ge=1, le=64)
    restore_time_limit_h: float = Field(default=3.0, gt=0)
    undo_days: float = Field(default=7.0, gt=0)
    restore_max_age_s: float = Field(default=900.0, gt=0)
    plan_timeout_s: float = Field(default=30.0, gt=0)
    plan_read_mib: int = Field(default=64, ge=0)
    plan_read_s: float = Field(default=5.0, gt=0)
    announce_timeout_s: float = Field(default=600.0, gt=0)
    return_patience_h: float = Field(default=1.0, gt=0)
    retry_pause_s: float = Field(default=2.0, gt=0)
    expire_every_s: float = Field(default=600.0, gt=0)
    load_mb_per_s: float = Field(default=30.0, gt=0, description="What estimates count with")
    space_factor: float = Field(default=1.5, ge=1, description="Table files per byte of rows, indexes included")

    point_in_time_days: int = Field(default=90, ge=1)
    replay_transactions_per_s: float = Field(default=8000.0, gt=0, description="What estimates count with")

    @property
    def point_in_time(self) -> timedelta:
        return timedelta(days=self.point_in_time_days)

    @property
    def limit(self) -> timedelta:
        return timedelta(hours=self.restore_time_limit_h)

    @property
    def undo_kept(self) -> timedelta:
        return timedelta(days=self.undo_days)
