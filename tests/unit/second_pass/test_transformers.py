"""Models of the transformers library: a tiny one of each kind, with random weights, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.tiny_models import LETTERS, write_wav2vec2_ctc

from stenoflow.base.errors import BundleError
from stenoflow_second_pass.models.choice import load_model

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav2vec2_ctc(tmp_path_factory.mktemp("ctc"))


def test_a_ctc_model_reads_every_utterance_by_itself(ctc: Path) -> None:
    model = load_model(f"transformers:{ctc}", "cpu")
    sounds = [np.random.default_rng(n).standard_normal(16_000 + 4_000 * n).astype(np.float32) * 0.1 for n in range(3)]
    together = model.read(sounds, [""] * 3)
    assert together == [model.read([sound], [""])[0] for sound in sounds]
    assert all(reading.log_prob <= 0 and reading.finished for reading in together)
    assert any(reading.text for reading in together)


def test_an_empty_utterance_is_no_error(ctc: Path) -> None:
    assert len(load_model(f"transformers:{ctc}", "cpu").read([np.zeros(0, np.float32)], [""])) == 1


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models

    folder = tmp_path_factory.mktemp("sequence")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(LETTERS)}, unk_token="<unk>"))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    torch.manual_seed(1)
    config = transformers.MoonshineConfig(
        vocab_size=len(LETTERS), hidden_size=16, intermediate_size=16, encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1, encoder_num_attention_heads=2, decoder_num_attention_heads=2,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    transformers.MoonshineForConditionalGeneration(config).save_pretrained(folder)
    transformers.Wav2Vec2Processor(transformers.Wav2Vec2FeatureExtractor(), fast).save_pretrained(folder)
    return folder


def test_a_sequence_model_stops_at_its_limit_and_says_so(sequence: Path) -> None:
    model = load_model(f"transformers:{sequence}", "cpu")
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    [reading] = model.read([sound], [""])
    assert reading == model.read([sound], ["a prompt that it ignores"])[0]
    assert reading.tokens <= 15 and reading.log_prob < 0
    assert reading.finished == (reading.tokens < 15)


def test_a_folder_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no speech model"):
        load_model(f"transformers:{tmp_path}", "cpu")
