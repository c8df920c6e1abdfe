"""Settings of the scheduler (`TIDEWIND_*`)."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidewind.domain.slots import MAX_GRACE

_MOST_GRACE_H = MAX_GRACE / timedelta(hours=1)


class SchedulerSettings(BaseSettings):
    """`tick_s`: how often it is computed what is due. `grace_h`: how late a backup may begin before its day counts as
    missed. `overdue_begin_min` and `overdue_end_h`: after how long a backup that has not begun, or not ended, is
    reported. `retention_every_min`: between two looks at what may be removed."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    tick_s: float = Field(default=10.0, ge=0.2, le=300)
    grace_h: float = Field(default=6.0, gt=0, le=_MOST_GRACE_H)
    overdue_begin_min: float = Field(default=30.0, gt=0)
    overdue_end_h: float = Field(default=6.0, gt=0)
    retention_every_min: float = Field(default=15.0, gt=0)
    allow_manual_backups: bool = False
    point_in_time_days: int = Field(default=90, ge=1, description="How far back any instant of a captured log reaches")
    max_replay_days: float = Field(default=7.0, gt=0, description="The longest replay: how far bases may lie apart")
