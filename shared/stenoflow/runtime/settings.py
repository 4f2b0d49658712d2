"""What every worker process can be told; each service's settings class adds its own."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")
"""Where Docker, Podman and Swarm mount secrets: a file ``stenoflow_<service>_<name>`` holds that setting's value."""


def secrets_folder() -> Path | None:
    """The folder, where there is one: a secret in a file is in no environment, no command line and no ``inspect``."""
    return SECRETS if SECRETS.is_dir() else None


class WorkerSettings(BaseSettings):
    """Settings that all workers share. Values come from secret files, the environment, then the command line."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, secrets_dir=secrets_folder()
    )

    redis: str = Field(default="redis://127.0.0.1:6379/0")
    """Where the logs are: ``redis://``, ``rediss://`` or ``unix://``; ``redis+cluster://host:port,host:port`` (or
    ``rediss+cluster://``) for a Redis Cluster, some of its nodes."""

    shards: int = Field(default=1, ge=1, le=100)
    """Into how many slots sessions are spread; the same number for every process of a deployment."""

    worker: str = Field(default="")
    """The consumer name; default: host, process id and random bits. Two workers never share one."""

    places: int | None = Field(default=None, ge=1, le=4096)
    """Tracks to hold at most; default: what the stage measured or knows of itself."""

    health_host: str = Field(default="127.0.0.1")
    """Where health and metrics are served; loopback, since there is no secret on it."""

    health_port: int = Field(default=0, ge=0, le=65535)
    """0 takes a free port, which the log names."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """DEBUG, INFO, WARNING or ERROR: lines below it are dropped."""

    lease_ms: int = Field(default=1500, ge=150, le=60_000)
    """After so long without renewal others may take a track over; a third of it is the time between renewals."""

    stuck_s: float = Field(default=5.0, ge=1, le=600)
    """A step that takes longer ends the process, so that others take its tracks. More where the machine is always full,
    or a large model hears long utterances again."""
