"""What a gateway can be told."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names that only this machine can reach."""

_ROOT = Path(__file__).resolve().parents[2]
_SHARE = Path(sys.prefix) / "share" / "stenoflow"


def _folder(in_checkout: str, in_wheel: str) -> Path:
    """A folder of a checkout, or where the wheel put it."""
    here = _ROOT / in_checkout
    return here if here.is_dir() else _SHARE / in_wheel


class GatewaySettings(BaseSettings):
    """Settings of a gateway. Values come from the environment, then from the command line."""

    model_config = SettingsConfigDict(
        env_prefix="STENOFLOW_GATEWAY_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    host: str = Field(default="127.0.0.1")
    """Where to listen; loopback only, since there are no access tokens yet."""

    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free port, which the log names."""

    hosts: tuple[str, ...] = ()
    """Names besides loopback by which browsers may reach a proxy in front; others are refused (DNS rebinding)."""

    redis: str = Field(default="redis://127.0.0.1:6379/0")
    """Where the logs are: ``redis://``, ``rediss://`` or ``unix://``."""

    shards: int = Field(default=1, ge=1, le=100)
    """Into how many slots sessions are spread; the same number for every process of a deployment."""

    bundle: str = "en-small"
    """The bundle of calls that name none, where it is served; else they get the first by name."""

    live_window_s: float = Field(default=12.0, ge=2, le=120)
    """How far beyond the decoder sound of a live call is admitted: bounds every log behind it (DESIGN 2.8)."""

    file_window_s: float = Field(default=60.0, ge=2, le=600)
    """The same for files, which come faster than they are decoded; larger windows make larger batches."""

    web: Path = Field(default_factory=lambda: _folder("gateway-js", "gateway-js"))
    """The folder with the page: ``public/`` and ``src/``."""

    samples: Path = Field(default_factory=lambda: _folder("shared/samples", "samples"))
    """The folder with the sample call."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """DEBUG, INFO, WARNING or ERROR: lines below it are dropped."""
