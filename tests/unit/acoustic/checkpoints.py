"""Tiny CTC checkpoints of the transformers library, randomly initialised, as ``save_pretrained`` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
PIECES = ["<unk>", "▁", *"abcdehilnorst", "▁the", "▁a", "ing", "▁st", "er", "<pad>"]

FAMILIES = ("wav2vec2", "hubert", "wavlm", "parakeet")

_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": len(LETTERS),
    "pad_token_id": 0,
}


def save(folder: Path, family: str, seed: int = 0, sure: float = 20.0) -> Path:
    """A checkpoint whose likeliest tokens change often, so that its text says something; ``sure``: how much it is."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    model: Any
    if family == "parakeet":
        encoder = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
            "subsampling_conv_channels": 8,
            "num_mel_bins": 80,
        }
        config: Any = transformers.ParakeetCTCConfig(
            encoder_config=encoder, vocab_size=len(PIECES), pad_token_id=len(PIECES) - 1
        )
        model = transformers.ParakeetForCTC(config)
        extractor: Any = transformers.ParakeetFeatureExtractor(feature_size=80)
        _pieces_tokenizer().save_pretrained(folder)
    else:
        kind = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[family]
        model = getattr(transformers, f"{kind}ForCTC")(getattr(transformers, f"{kind}Config")(**_SMALL))
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
        vocabulary = folder / "vocab.json"
        vocabulary.write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
        transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    # Random weights say much the same of every sound; what they say of noise on average is taken off.
    head = model.ctc_head if family == "parakeet" else model.lm_head
    model.eval()
    with torch.no_grad():
        head.weight.normal_(std=sure)
        head.bias.zero_()
        noise = [sound(seed)]
        usual = model(**extractor(noise, sampling_rate=16_000, return_tensors="pt")).logits.mean(dim=(0, 1))
        head.bias.sub_(usual)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def sound(seed: int = 0, seconds: float = 3.0) -> Any:
    """Noise whose loudness and colour change every 50 ms, float32 (N,), well within -1 to 1."""
    random = np.random.default_rng(seed)
    length = int(seconds * 16_000)
    steps = -(-length // 800)
    loud = np.repeat(random.uniform(0.01, 0.2, steps), 800)[:length]
    tone = np.sin(2 * np.pi * np.cumsum(np.repeat(random.uniform(100, 3000, steps), 800)[:length]) / 16_000)
    return (loud * (tone + 0.3 * random.standard_normal(length))).astype(np.float32) * np.float32(0.5)


def _pieces_tokenizer() -> Any:
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


class Whole:
    """A checkpoint run over whole utterances by transformers alone: what windows are compared with."""

    def __init__(self, folder: Path) -> None:
        self._extractor: Any = transformers.AutoFeatureExtractor.from_pretrained(folder)
        self._model: Any = transformers.AutoModelForCTC.from_pretrained(folder).eval()
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)

    def log_probs(self, samples: Any) -> Any:
        """Float32 [U, V] of samples from -1 to 1."""
        inputs = self._extractor([samples], sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            return self._model(**inputs).logits[0].log_softmax(-1).numpy()

    def text(self, samples: Any, rows: int) -> str:
        """The greedy text of the first rows, as the library's own tokenizer spells it, in small letters."""
        tokens = [token for token in _collapsed(self.log_probs(samples)[:rows].argmax(-1)) if token != self._blank]
        return self.spelled(tokens)

    @property
    def _blank(self) -> int:
        return int(self._model.config.pad_token_id)

    def spelled(self, tokens: list[int]) -> str:
        """Tokens without blanks, by the tokenizer's own table."""
        symbols = self._tokenizer.convert_ids_to_tokens(tokens)
        hidden = {"<s>", "</s>", "<unk>", "<pad>"}
        shown = "".join("" if symbol in hidden else symbol for symbol in symbols)
        return " ".join(shown.replace("|", " ").replace("▁", " ").split()).lower()


def _collapsed(path: Any) -> list[int]:
    return [int(token) for at, token in enumerate(path) if at == 0 or token != path[at - 1]]
