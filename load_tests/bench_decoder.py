"""Our beam search beside flashlight-text's on the same emissions: word error rate, and processor time as a ratio.

    python load_tests/bench_decoder.py emissions.npz --bundle en-small

``emissions.npz`` holds, per clip, an array float16 (U, V) of natural-log probabilities under the clip's name, and
under ``texts`` an array of ``name<TAB>reference`` lines. One thread; frames are given in pieces of 160 ms, both
decoders restart at each clip, and each row is the best of three rounds. A second table is ours with phrases that
nobody says (pairs of words of the lexicon, and words that it lacks): what they cost and what they spoil.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
from flashlight.lib.text import decoder as flashlight
from flashlight.lib.text.decoder import kenlm as flashlight_kenlm
from flashlight.lib.text.dictionary import Dictionary
from numpy.typing import NDArray

from stenoflow.bundle.loading import Bundle, find_bundle, load_bundle
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.stable_prefix import stable_characters

PIECE = 8
ROUNDS = 3
PHRASES = (20, 100, 1000)
FRAME_S = 0.02

Frames = NDArray[np.float32]
Decode = Callable[[Frames], str]


@dataclass(frozen=True, slots=True)
class Clip:
    """Emissions and what was said."""

    frames: Frames
    reference: str


def read_clips(path: Path) -> list[Clip]:
    """The clips of an archive."""
    with np.load(path) as archive:
        lines = [str(line).split("\t", 1) for line in archive["texts"]]
        return [Clip(archive[name].astype(np.float32), reference) for name, reference in lines]


def unsaid(model: DecodingModel, count: int) -> Phrases:
    """Phrases that nobody says: half of them two words of the lexicon, half two of its words in one."""
    draw, words = random.Random(count), model.lexicon.words[1:]
    pairs = [(draw.choice(words), draw.choice(words)) for _ in range(count)]
    return Phrases.of([(" "[: at % 2].join(pair), 1.0) for at, pair in enumerate(pairs)], model)


def ours(model: DecodingModel, phrases: Phrases | None = None) -> Decode:
    """Incremental, with the stable prefix at each piece, as the stage does it."""

    def decode(frames: Frames) -> str:
        search = BeamSearch(model, (), phrases)
        for at in range(0, len(frames), PIECE):
            for frame in frames[at : at + PIECE]:
                search.push(frame)
            stable_characters(search, model.vocabulary)
        return search.readings()[0].text

    return decode


def by_flashlight(model: DecodingModel, bundle: Bundle | None) -> Decode:
    """flashlight-text: with a bundle its lexicon decoder and n-gram, else the decoder without a lexicon."""
    vocabulary, options = model.vocabulary, model.options
    common = {
        "beam_size": options.beam_width,
        "beam_size_token": options.top_tokens,
        "beam_threshold": options.score_margin,
        "lm_weight": options.lm_weight if bundle else 0.0,
        "log_add": True,
    }
    if bundle is None:
        free = flashlight.LexiconFreeDecoderOptions(
            **common, sil_score=0.0, criterion_type=flashlight.CriterionType.CTC
        )
        engine = flashlight.LexiconFreeDecoder(free, flashlight.ZeroLM(), vocabulary.separator, vocabulary.blank, [])
        words: tuple[str, ...] = ()
    else:
        words = model.lexicon.words
        dictionary = Dictionary()
        for word in words:
            dictionary.add_entry(word)
        dictionary.set_default_index(0)
        assert bundle.card.decoder.language_model is not None
        language_model = flashlight_kenlm.KenLM(str(bundle.path(bundle.card.decoder.language_model)), dictionary)
        trie = flashlight.Trie(len(vocabulary.symbols), vocabulary.separator)
        nowhere = language_model.start(False)
        token_of = {symbol: token for token, symbol in enumerate(vocabulary.symbols)}
        for index, word in enumerate(words[1:], start=1):
            spelling = [token_of[symbol] for symbol in word] + [vocabulary.separator]
            trie.insert(spelling, index, language_model.score(nowhere, index)[1])
        trie.smear(flashlight.SmearingMode.MAX)
        # It weighs log10 scores, we natural ones.
        common["lm_weight"] = options.lm_weight * float(np.log(10.0))
        held = flashlight.LexiconDecoderOptions(
            **common,
            word_score=options.word_score,
            unk_score=-np.inf,
            sil_score=0.0,
            criterion_type=flashlight.CriterionType.CTC,
        )
        engine = flashlight.LexiconDecoder(
            held, trie, language_model, vocabulary.separator, vocabulary.blank, 0, [], False
        )

    def decode(frames: Frames) -> str:
        engine.decode_begin()
        for at in range(0, len(frames), PIECE):
            piece = np.ascontiguousarray(frames[at : at + PIECE])
            engine.decode_step(piece.ctypes.data, *piece.shape)
            engine.get_best_hypothesis()
        engine.decode_end()
        best = engine.get_all_final_hypothesis()[0]
        if words:
            return " ".join(words[index] for index in best.words if index >= 0)
        tokens = np.asarray(best.tokens)
        kept = np.r_[True, tokens[1:] != tokens[:-1]] & (tokens != vocabulary.blank)
        return " ".join(vocabulary.text(tokens[kept].astype(np.int32)).split())

    return decode


def measured(decode: Decode, clips: list[Clip]) -> tuple[float, float]:
    """Word error rate in per cent, and processor milliseconds per second of sound."""
    seconds = sum(len(clip.frames) for clip in clips) * FRAME_S
    best = float("inf")
    texts: list[str] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        texts = [decode(clip.frames) for clip in clips]
        best = min(best, time.process_time() - began)
    return 100 * float(jiwer.wer([clip.reference for clip in clips], texts)), 1000 * best / seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emissions", type=Path)
    parser.add_argument("--bundle", default="en-small")
    parser.add_argument("--beams", type=int, nargs="+", default=[16, 50])
    arguments = parser.parse_args()
    clips = read_clips(arguments.emissions)
    bundle = load_bundle(find_bundle(arguments.bundle))
    full = DecodingModel.from_bundle(bundle)
    bare = replace(full, options=replace(full.options, lm_weight=0.0, word_score=0.0, unknown_score=0.0))
    print(f"{len(clips)} clips, {sum(len(clip.frames) for clip in clips) * FRAME_S:.0f} s")
    print("| words | beam | WER ours | WER flashlight | ms/s ours | ms/s flashlight | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for beam in arguments.beams:
        for name, base, theirs in (("none", bare, None), ("n-gram", full, bundle)):
            model = replace(base, options=replace(base.options, beam_width=beam))
            assert model.look_ahead.size, "built before the clock runs"
            wer, cost = measured(ours(model), clips)
            their_wer, their_cost = measured(by_flashlight(model, theirs), clips)
            print(
                f"| {name} | {beam} | {wer:.2f} | {their_wer:.2f} | {cost:.3f} | {their_cost:.3f} "
                f"| {cost / their_cost:.2f} |",
                flush=True,
            )
    print("| phrases | beam | WER | ms/s | ratio | built in ms | states |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for beam in arguments.beams:
        model = replace(full, options=replace(full.options, beam_width=beam))
        assert model.look_ahead.size, "built before the clock runs"
        wer, none = measured(ours(model), clips)
        print(f"| 0 | {beam} | {wer:.2f} | {none:.3f} | 1 | | |", flush=True)
        for count in PHRASES:
            began = time.process_time()
            phrases = unsaid(model, count)
            built_ms = 1000 * (time.process_time() - began)
            wer, cost = measured(ours(model, phrases), clips)
            print(
                f"| {count} | {beam} | {wer:.2f} | {cost:.3f} | {cost / none:.2f} | {built_ms:.0f} "
                f"| {len(phrases.earned)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
