"""All findings, for people or for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from stenoflow_cli.doctor.deployment import look_at_gateway, look_at_redis
from stenoflow_cli.doctor.finding import Finding, Level
from stenoflow_cli.doctor.machine import look_at_machine
from stenoflow_cli.gateway import GatewayClient

SIGNS = {Level.OK: "[green]✓ ok   [/]", Level.WARN: "[yellow]• warn [/]", Level.WRONG: "[red]✗ wrong[/]"}


async def examine(url: str | None, usual_url: str, redis: str | None, shards: int) -> list[Finding]:
    """Everything there is to look at.

    Args:
        url: of a gateway that must be there; None looks at the usual place whether there is one.
        usual_url: that place.
        redis: the deployment's server; None leaves it out.
        shards: as the services are given it.

    Raises:
        ConfigError: ``bad_address``.
    """
    gateway = GatewayClient(url or usual_url)
    here = urlsplit(GatewayClient(usual_url).page)
    found = list(look_at_machine(here.hostname or "127.0.0.1", here.port or 8000))
    if redis is not None:
        found += [finding async for finding in look_at_redis(redis, shards)]
    found += [finding async for finding in look_at_gateway(gateway, asked=url is not None)]
    return found


def show(findings: Sequence[Finding], console: Console, *, as_json: bool) -> int:
    """Prints them; returns the exit code: 1 where something is wrong."""
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    if as_json:
        body = {"wrong": counts[Level.WRONG], "findings": [dataclasses.asdict(finding) for finding in findings]}
        console.print(json.dumps(body, indent=2, ensure_ascii=False), markup=False, highlight=False, soft_wrap=True)
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            line = f"{SIGNS[finding.level]} {finding.what:<{width}}  {escape(finding.sentence)}"
            console.print(line, highlight=False, soft_wrap=True)
        if counts[Level.WRONG] or counts[Level.WARN]:
            console.print(f"{counts[Level.WRONG]} wrong, {counts[Level.WARN]} to be seen to", highlight=False)
        else:
            console.print("nothing is wrong", highlight=False)
    return 1 if counts[Level.WRONG] else 0
