"""A model of others, wherever it comes from, made into a bundle."""

from __future__ import annotations

from pathlib import Path

from stenoflow.base.errors import BundleError
from stenoflow.bundle.loading import CARD, Bundle
from stenoflow_acoustic.adding import onnx_ctc
from stenoflow_acoustic.adding.draft import Draft, plain_name, write
from stenoflow_acoustic.adding.words import Words


def add_bundle(
    source: str,
    folder: Path,
    name: str | None = None,
    language: str = "en",
    lexicon: Path | None = None,
    language_model: Path | None = None,
) -> Bundle:
    """Makes a bundle and verifies it; the model has been run when this returns.

    Args:
        source: a folder, an ONNX file, or a name on Hugging Face.
        folder: where bundles lie.
        name: of the bundle; None: as the source is called.
        language: a code, for the card.
        lexicon: words, one a line; None: those of the language model, if it is an ARPA file.
        language_model: KenLM, over these words.

    Raises:
        BundleError: the source is no model that can be served; the sentence says what is missing.
        ConfigError: what reads such models is not installed, or the network does not give it.
    """
    for file in (lexicon, language_model):
        if file is not None and not file.is_file():
            raise BundleError("source_missing", f"{file} is no file")
    draft, called = _draft(source)
    return write(draft, folder, name or plain_name(called), language, Words(language_model, lexicon))


def _draft(source: str) -> tuple[Draft, str]:
    path = Path(source)
    if not path.exists():
        from stenoflow_acoustic.adding import transformers_ctc

        if transformers_ctc.is_hub_name(source) and not source.startswith((".", "/")):
            return transformers_ctc.draft_of(transformers_ctc.fetch(source), source), source.partition("/")[2]
        raise BundleError("source_missing", f"{source} is no folder, no file, and no name like owner/model")
    if path.is_dir() and (path / CARD).is_file():
        raise BundleError("source_is_bundle", f"{path} is a bundle already: copy it to where bundles lie")
    if path.is_dir() and (path / "config.json").is_file() and not list(path.glob("*.onnx")):
        from stenoflow_acoustic.adding import transformers_ctc

        return transformers_ctc.draft_of(path, path.resolve().name), path.resolve().name
    model = onnx_ctc.find_model(path)
    if model is None:
        raise BundleError(
            "source_unknown",
            f"{path} is no CTC model that is known: a transformers folder has config.json and model.safetensors, an "
            "ONNX model ends in .onnx",
        )
    return onnx_ctc.draft_of(model), path.resolve().name if path.is_dir() else model.stem
