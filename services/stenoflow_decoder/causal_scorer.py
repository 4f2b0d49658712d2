"""A causal language model of transformers as a :class:`stenoflow_decoder.rescoring.TextScorer`; an extra of its own.

torch and transformers are imported in the constructor only: a decoder without such a model never loads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stenoflow.base.errors import ConfigError


class CausalScorer:
    """Scores texts by a model such as GPT-2, token by token, in one batch on the CPU.

    Args:
        name: a folder, or a name on the hub; with a tokenizer that has a token for the beginning or the end of texts.

    Raises:
        ConfigError: the extra is not installed, or there is no such model.
    """

    def __init__(self, name: str) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ConfigError(
                "no_rescoring_library", f"{error.name} is not installed: pip install 'stenoflow[rescoring]'"
            ) from None
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModelForCausalLM.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise ConfigError(
                "rescoring_model_unreadable", f"the language model {name} cannot be read: {error}"
            ) from None
        begin = self._tokenizer.bos_token_id
        self._begin = self._tokenizer.eos_token_id if begin is None else begin
        if self._begin is None:
            sentence = (
                f"the tokenizer of {name} has no token for the beginning or the end of a text; give another model"
            )
            raise ConfigError("rescoring_model_unreadable", sentence)
        self._model = model.eval()
        self._torch = torch

    def score(self, texts: Sequence[str], before: Sequence[str]) -> list[float]:
        """As the port says: the sum over each text's tokens, after the words before it."""
        torch = self._torch
        context = [self._begin, *self._tokens(" ".join(before))]
        read = [self._tokens((" " if before else "") + text) for text in texts]
        longest = max((len(tokens) for tokens in read), default=0)
        if longest == 0:
            return [0.0] * len(texts)
        # What follows a text's own tokens is padding; a causal model has not seen it where it is asked.
        batch = torch.tensor([[*context, *tokens, *[self._begin] * (longest - len(tokens))] for tokens in read])
        with torch.inference_mode():
            log_probs = self._model(batch).logits[:, len(context) - 1 : -1].float().log_softmax(-1)
        of_each = log_probs.gather(2, batch[:, len(context) :, None])[:, :, 0]
        return [float(of_each[at, : len(tokens)].sum()) for at, tokens in enumerate(read)]

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        return tokens
