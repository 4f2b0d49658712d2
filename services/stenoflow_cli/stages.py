"""Every stage of a bundle in this process, as the workers' own composition roots make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from stenoflow.bundle.card import asked
from stenoflow.bundle.loading import find_bundle, read_card
from stenoflow.bus.records import Stages
from stenoflow.runtime.stage import Stage
from stenoflow_acoustic import __main__ as acoustic
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_decoder import __main__ as decoder
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features import __main__ as features
from stenoflow_features.settings import FeaturesSettings


def all_stages(bundle: str, second_pass: str = "off") -> Mapping[Stages, Stage[Any]]:
    """The stages, warm.

    Args:
        bundle: name or folder.
        second_pass: the model that hears each utterance again; ``auto``, or ``off`` for none.

    Raises:
        BundleError: the bundle is missing or damaged.
        ConfigError: the second pass's packages are missing.
    """
    registry = CollectorRegistry()
    features_asked = asked(read_card(find_bundle(bundle)).features)
    stages: dict[Stages, Stage[Any]] = {
        Stages.FEATURES: features.compose(FeaturesSettings(), registry, features_asked).stage,
        Stages.ACOUSTIC: acoustic.compose(AcousticSettings(bundle=bundle), registry).stage,
        Stages.DECODER: decoder.compose(DecoderSettings(bundle=bundle), registry).stage,
    }
    if second_pass != "off":
        from stenoflow_second_pass import __main__ as again
        from stenoflow_second_pass.settings import SecondPassSettings

        settings = SecondPassSettings(model=second_pass, bundle=bundle)
        stages[Stages.SECOND_PASS] = again.compose(settings, registry).stage
    return stages
