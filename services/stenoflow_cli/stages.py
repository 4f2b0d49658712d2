"""Every stage of a bundle in this process, as the workers' own composition roots make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from stenoflow.bus.records import Stages
from stenoflow.runtime.stage import Stage
from stenoflow_acoustic import __main__ as acoustic
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_decoder import __main__ as decoder
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features import __main__ as features
from stenoflow_features.settings import FeaturesSettings


def all_stages(bundle: str) -> Mapping[Stages, Stage[Any]]:
    """The stages, warm.

    Args:
        bundle: name or folder.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    registry = CollectorRegistry()
    return {
        Stages.FEATURES: features.compose(FeaturesSettings(), registry).stage,
        Stages.ACOUSTIC: acoustic.compose(AcousticSettings(bundle=bundle), registry).stage,
        Stages.DECODER: decoder.compose(DecoderSettings(bundle=bundle), registry).stage,
    }
