"""What a gateway can be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from stenoflow.base.shipped import shipped
from stenoflow.bus.records import LONGEST_RETENTION_S
from stenoflow.runtime.settings import secrets_folder

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names that only this machine can reach."""


class GatewaySettings(BaseSettings):
    """Settings of a gateway. Values come from secret files, the environment, then the command line."""

    model_config = SettingsConfigDict(
        env_prefix="STENOFLOW_GATEWAY_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        secrets_dir=secrets_folder(),
    )

    host: str = Field(default="127.0.0.1")
    """Where to listen; beyond loopback only with a secret for access tokens."""

    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free port, which the log names."""

    token_key: SecretStr | None = None
    """The secret that access tokens are signed with, 32 characters at least. Several, with commas between them: the
    first signs, all are taken (rotation). Without one everybody may do everything, and no one but this machine."""

    token_key_file: Path | None = None
    """A file with the secret, one a line where there are several; `stenoflow token --new-key FILE` makes it."""

    origins: tuple[str, ...] = ()
    """Origins of other pages that may call, such as ``https://crm.example.org``; pages from here always may. Without a
    secret also those of proxies in front of loopback: other names are refused (DNS rebinding)."""

    tenant_sessions: int | None = Field(default=None, ge=1)
    """How many sessions each tenant may have open."""

    tenant_tracks: int | None = Field(default=None, ge=1)
    """How many tracks each tenant may have open."""

    tenant_sessions_per_minute: int | None = Field(default=None, ge=1)
    """How many sessions each tenant may begin in any minute."""

    redis: str = Field(default="redis://127.0.0.1:6379/0")
    """Where the logs are: ``redis://``, ``rediss://`` or ``unix://``; ``redis+cluster://host:port,host:port`` (or
    ``rediss+cluster://``) for a Redis Cluster, some of its nodes."""

    shards: int = Field(default=1, ge=1, le=100)
    """Into how many slots sessions are spread; the same number for every process of a deployment."""

    bundle: str = "en-small"
    """The bundle of calls that name none, where it is served; else they get the first by name."""

    live_window_s: float = Field(default=12.0, ge=2, le=120)
    """How far beyond the decoder sound of a live call is admitted: bounds every log behind it (DESIGN 2.8)."""

    file_window_s: float = Field(default=60.0, ge=2, le=600)
    """The same for files, which come faster than they are decoded; larger windows make larger batches."""

    idle_warning_s: float = Field(default=60.0, ge=1)
    """A client that sends neither sound nor marks for so long is warned."""

    idle_end_s: float = Field(default=300.0, ge=2)
    """Then its session ends, for it holds places that others wait for."""

    ping_s: float = Field(default=20.0, ge=0.1)
    """How often a socket is pinged; one that does not answer within the same time is taken for dead."""

    retention_s: int = Field(default=600, ge=60, le=LONGEST_RETENTION_S)
    """For how long captions are kept after a call's end; a client may ask for less. They take Redis' memory."""

    file_mb: int = Field(default=200, ge=1, le=4096)
    """Largest recording that ``POST /v1/files`` takes; it lies in the folder for temporary files while it is read."""

    file_h: float = Field(default=4.0, gt=0, le=24)
    """Longest recording, hours."""

    files_at_once: int = Field(default=4, ge=1, le=64)
    """Recordings that are taken at once: so much disk and so many threads are theirs at most."""

    web: Path = Field(default_factory=lambda: shipped("gateway-js"))
    """The folder with the page: ``public/`` and ``src/``."""

    samples: Path = Field(default_factory=lambda: shipped("shared/samples"))
    """The folder with the sample call."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """DEBUG, INFO, WARNING or ERROR: lines below it are dropped."""
