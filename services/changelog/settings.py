"""Settings of the changelog (`TIDEWIND_*`)."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class ChangelogSettings(BaseSettings):
    """`capture`: whether logs are read at all; what was captured stays restorable without. `capture_server_id`: the
    first of the numbers under which clusters' logs are read; each cluster has one of the thousand million that follow.
    `capture_buffer_mib`: what may wait for Kafka per cluster before its log is read no further.
    A gap is published within ten seconds of when the log can be looked at: `capture_retry_s` until it is,
    `capture_mark_s` until its end is, `window_every_s` twice and a second in between where blocks are missing.
    `headroom_warning_s`: how soon a purge must be for an alarm."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    capture: bool = False
    capture_server_id: int = Field(default=1_000_000_000, ge=1, le=3_000_000_000)
    capture_buffer_mib: int = Field(default=8, ge=2, le=256)
    capture_total_mib: int = Field(default=64, ge=8)
    capture_mark_s: float = Field(default=1.0, gt=0)
    capture_state_s: float = Field(default=10.0, gt=0)
    capture_retry_s: float = Field(default=3.0, gt=0)
    capture_unsuitable_retry_s: float = Field(default=30.0, gt=0)
    headroom_every_s: float = Field(default=60.0, gt=0)
    headroom_warning_s: float = Field(default=6 * 3600.0, gt=0)
    clusters_every_s: float = Field(default=10.0, gt=0)
    archive_every_s: float = Field(default=0.5, gt=0)
    archive_buffer_mib: int = Field(default=64, ge=32)
    archive_total_mib: int = Field(default=96, ge=64)
    window_every_s: float = Field(default=2.0, gt=0)
    window_refresh_s: float = Field(default=60.0, gt=0)
    roll_up_every_s: float = Field(default=600.0, gt=0)
    roll_up_after_s: float = Field(default=2 * 3600.0, ge=0)
    point_in_time_days: int = Field(default=90, ge=1)
