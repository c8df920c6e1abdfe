"""Settings every service shares, from the environment (`TIDEWIND_*`) or an env file."""

import os
import socket
import sys

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LeaseSettings(BaseSettings):
    """How long a silent holder keeps its job. `lease_s` must be several heartbeats long."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    lease_s: float = Field(default=30.0, ge=2)
    heartbeat_s: float = Field(default=5.0, gt=0)
    cancel_poll_s: float = Field(default=2.0, gt=0)


def default_log_format() -> str:
    """Text for people on a terminal, JSON for whatever else takes the log."""
    return "console" if sys.stderr.isatty() else "json"


class ServiceSettings(BaseSettings):
    """`instance` names this process in messages and claims; by default host and process id."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    instance: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, le=65535, description="0: a free port, written to the log")
    log_format: str = Field(default_factory=default_log_format, pattern="^(json|console)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    stop_deadline_s: float = Field(default=20.0, gt=0)


class RegionSettings(BaseSettings):
    """Regions beside the shipped table: "name=Area/City" pairs separated by commas."""

    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    regions: str = ""
