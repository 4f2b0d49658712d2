"""Rescoring: readings in another order, by an n-gram or a causal model, with no promise broken."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.decoder.calls import Call, run, said
from tests.unit.decoder.small import arpa, load, speech, with_words

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow_decoder.__main__ import compose, rescorer_of
from stenoflow_decoder.causal_scorer import CausalScorer
from stenoflow_decoder.rescoring import CANDIDATES, NgramScorer, Rescorer
from stenoflow_decoder.search import Hypothesis
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_decoder.stage import DecoderStage


class Likes:
    """A scorer that likes a word; notes what it was asked."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[tuple[Sequence[str], Sequence[str]]] = []

    def score(self, texts: Sequence[str], before: Sequence[str]) -> list[float]:
        self.asked.append((texts, before))
        return [100.0 * text.split().count(self.word) for text in texts]


def test_scores_are_added_up_over_the_best_readings() -> None:
    readings = [Hypothesis(f"a{'b' * n}", -float(n)) for n in range(CANDIDATES + 5)]
    ordered = Rescorer(Likes("abbb"), 0.5).ordered(readings, ("cab",))
    assert len(ordered) == CANDIDATES
    assert ordered[0] == Hypothesis("abbb", -3 + 50)
    assert [each.text for each in ordered[1:3]] == ["a", "ab"]


def test_an_ngram_scores_word_by_word_after_the_words_before(tmp_path: Path) -> None:
    model = load(tmp_path)
    state, total = model.start(("cab",)), 0.0
    for word in ("ab", "abba"):
        state, score = model.score(state, word)
        total += score
    scorer = NgramScorer(model)
    assert scorer.score(["ab abba", ""], ["a", "x", "cab"]) == [
        pytest.approx(scorer._score(model.start(("x", "cab")), "ab abba")),
        0.0,
    ]
    assert scorer.score(["ab abba"], ["cab"]) == [pytest.approx(total)]


def test_the_stage_takes_the_rescorers_choice_and_breaks_no_promise(tmp_path: Path) -> None:
    model = with_words(load(tmp_path), width=12, recombine=False)
    call = Call().say("ab cab abba", 2, 2.5).say("baba a cab", 5, 2.5)
    plain, _, _ = run(DecoderStage(model), call.log([3]))
    others, _, _ = run(DecoderStage(model), call.log([3]), alternatives=5)
    words = {word for final in said(others) for other in final["alternatives"] for word in other["text"].split()}
    word = sorted(words - {word for final in said(plain) for word in final["text"].split()})[0]
    likes = Likes(word)
    log, steps, _ = run(DecoderStage(model, rescorer=Rescorer(likes, 1.0)), call.log([3]), alternatives=2)
    assert any(word in final["text"].split() for final in said(log))
    for number, final in enumerate(said(log)):
        shown = [json.loads(step.live) for step in steps if step.live]
        for partial in (each for each in shown if each["utterance"] == number):
            assert (final["text"] + " ").startswith(partial["text"][: partial["stable"]])
        assert " ".join(each["word"] for each in final["words"]) == final["text"]
        assert all(other["score"] <= 0 for other in final["alternatives"])
    assert tuple(likes.asked[1][1]) == tuple(said(log)[0]["text"].split()), "the words that became final come before"


def tiny_gpt2(folder: Path) -> str:
    """A random causal model of two layers, with a tokenizer of letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed

    set_seed(1)
    symbols = ["<end>", " ", *"abcdefghijklmnopqrstuvwxyz'"]
    tokenizer = Tokenizer(models.BPE({symbol: at for at, symbol in enumerate(symbols)}, []))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    config = GPT2Config(vocab_size=len(symbols), n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def test_a_causal_model_scores_token_by_token_whoever_shares_the_batch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    scorer = CausalScorer(tiny_gpt2(tmp_path))

    def alone(text: str, before: str) -> float:
        tokens: Any = scorer._tokenizer
        head = [0, *tokens(before, add_special_tokens=False)["input_ids"]] if before else [0]
        tail = tokens((" " if before else "") + text, add_special_tokens=False)["input_ids"]
        total = 0.0
        for at, token in enumerate(tail):
            logits = scorer._model(torch.tensor([[*head, *tail[:at]]])).logits[0, -1]
            total += float(logits.log_softmax(-1)[token].detach())
        return total

    texts = ["ab cab", "a", "abba baba cab"]
    for before in ([], ["cab", "ab"]):
        expected = [pytest.approx(alone(text, " ".join(before)), abs=1e-3) for text in texts]
        assert scorer.score(texts, before) == expected
        assert scorer.score(texts[:1], before) == expected[:1]
    assert scorer.score(["", ""], []) == [0.0, 0.0]
    assert all(score < 0 and math.isfinite(score) for score in scorer.score(["zz", "q'"], ["a"] * 20))


def test_settings_name_one_rescorer_that_must_be_there(tmp_path: Path) -> None:
    model = with_words(load(tmp_path))
    assert rescorer_of(DecoderSettings(), model) is None
    made = rescorer_of(DecoderSettings(rescoring_lm=arpa(tmp_path), rescoring_weight=0.7), model)
    assert made is not None and isinstance(made.scorer, NgramScorer) and made.weight == 0.7
    with pytest.raises(BundleError, match="does not exist"):
        rescorer_of(DecoderSettings(rescoring_lm=tmp_path / "none.arpa"), model)
    with pytest.raises(ConfigError, match="cannot be read"):
        rescorer_of(DecoderSettings(rescoring_model=str(tmp_path / "none")), model)
    with pytest.raises(ValueError, match="not both"):
        DecoderSettings(rescoring_lm=arpa(tmp_path), rescoring_model="x")


def test_a_worker_with_a_rescorer_keeps_readings_apart(tmp_path: Path) -> None:
    assert DecoderSettings(rescoring_lm=arpa(tmp_path)).search_overrides["recombine"] is False
    worker = compose(DecoderSettings(rescoring_lm=arpa(tmp_path)), CollectorRegistry())
    assert isinstance(worker.stage, DecoderStage)
    assert not worker.stage.model.options.recombine and worker.stage._rescorer is not None
    assert speech("ab").size
