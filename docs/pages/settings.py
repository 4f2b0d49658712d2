"""The page of settings: a table a service, from its settings class and the options that its ``--help`` names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Literal, get_origin

from docs.pages.commands import help_of
from docs.pages.fields import default_in_words, limits_in_words, type_in_words
from docs.pages.tables import page, prose, table
from pydantic_settings import BaseSettings

import stenoflow_acoustic.__main__
import stenoflow_decoder.__main__
import stenoflow_features.__main__
import stenoflow_gateway.__main__
import stenoflow_second_pass.__main__
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features.settings import FeaturesSettings
from stenoflow_gateway.settings import GatewaySettings
from stenoflow_second_pass.settings import SecondPassSettings

SERVICES: Mapping[str, tuple[ModuleType, type[BaseSettings]]] = {
    "stenoflow-gateway": (stenoflow_gateway.__main__, GatewaySettings),
    "stenoflow-features": (stenoflow_features.__main__, FeaturesSettings),
    "stenoflow-acoustic": (stenoflow_acoustic.__main__, AcousticSettings),
    "stenoflow-decoder": (stenoflow_decoder.__main__, DecoderSettings),
    "stenoflow-second-pass": (stenoflow_second_pass.__main__, SecondPassSettings),
}

OTHERS = (
    (
        "`STENOFLOW_MODELS`",
        "Folders in which bundles are looked for by name, separated by colons, before the one that ships. Read by "
        "every program that loads a bundle.",
    ),
    (
        "`STENOFLOW_TOKEN`",
        "The access token that `stenoflow transcribe` sends, where a gateway asks for one.",
    ),
    (
        "`STENOFLOW_TRACING`",
        "Where spans go, over OTLP as HTTP: `http://collector:4318`. Unset: nowhere, and nothing of it is loaded. Read "
        "by the gateway and all workers; wants the extra `tracing`.",
    ),
)
"""Variables that no settings class has."""

INTRO = """
What each service can be told. A setting comes from its environment variable, and the command-line option, where there
is one, has the last word. Where neither is given it may lie in a file `/run/secrets/<variable in lower case>`, as
containers get their secrets: the address of Redis holds a password. Services read their settings once, when they start;
a value that does not fit its limits ends the start with exit code 2 and a sentence. Lists are given in the environment
as JSON.
"""


def make() -> str:
    """The page."""
    parts = [f"## {name}\n\n{_table(name, *SERVICES[name])}" for name in SERVICES]
    return page(
        "Settings", INTRO, *parts, "## Variables of no single service\n\n" + table(("variable", "meaning"), OTHERS)
    )


def _table(name: str, module: ModuleType, settings: type[BaseSettings]) -> str:
    options = set(re.findall(r"--[a-z-]+", help_of(module.main, name)))
    prefix = settings.model_config.get("env_prefix", "")
    rows = []
    for field_name, field in settings.model_fields.items():
        option = "--" + field_name.replace("_", "-")
        choices = get_origin(field.annotation) is Literal
        limits = type_in_words(field.annotation).replace('"', "") if choices else limits_in_words(field)
        rows.append(
            (
                f"`{prefix}{field_name.upper()}`",
                f"`{option}`" if option in options else "—",
                default_in_words(field),
                limits or "—",
                prose(field.description),
            )
        )
    return table(("variable", "option", "default", "limits", "meaning"), rows)
