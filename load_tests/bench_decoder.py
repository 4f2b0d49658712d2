"""Our beam search beside flashlight-text's and pyctcdecode's on the same emissions: word error rate, processor time.

    python -m load_tests.emissions dev --out build/dev.npz
    python -m load_tests.emissions held_libri --limit 35 --out build/held_libri.npz
    python -m load_tests.bench_decoder build/held_libri.npz --tune build/dev.npz --pyctcdecode peer/bin/python

One thread; frames are given in pieces of 160 ms (pyctcdecode does not stream), all decoders restart at each clip, and
each row is the best of five rounds that the decoders take in turn, so that a busy minute of the machine falls on all of
them (pyctcdecode is slow enough to be measured in one). Intervals are of 95 %, by drawing clips. A second table is ours
as it is served, with the bundle's weights and priors, without and with phrases that nobody says (pairs of words of the
lexicon, and words that it lacks): what they cost and what they spoil; its last line is pyctcdecode with the most of
them as its hotwords.
pyctcdecode wants numpy 1, so it runs in an environment of its own, see ``pyctcdecode_peer.py``; without
``--pyctcdecode`` it is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
from flashlight.lib.text import decoder as flashlight
from flashlight.lib.text.decoder import kenlm as flashlight_kenlm
from flashlight.lib.text.dictionary import Dictionary

from load_tests.emissions import FRAME_S, Clip, Frames, read_clips
from load_tests.rungs import interval
from stenoflow.bundle.loading import Bundle, find_bundle, load_bundle
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.stable_prefix import stable_characters

PIECE = 8
ROUNDS = 5
PHRASES = (20, 100, 1000)
PEER = Path(__file__).with_name("pyctcdecode_peer.py")

LM_WEIGHTS, WORD_SCORES = (0.2, 0.3, 0.45, 0.6), (0.0, 1.0, 2.0)
"""Of natural logarithms: what ``--tune`` tries for each decoder."""

Decode = Callable[[Frames], str]


def unsaid(model: DecodingModel, count: int) -> list[str]:
    """Phrases that nobody says: half of them two words of the lexicon, half two of its words in one."""
    draw, words = random.Random(count), model.lexicon.words[1:]
    pairs = [(draw.choice(words), draw.choice(words)) for _ in range(count)]
    return [" "[: at % 2].join(pair) for at, pair in enumerate(pairs)]


def ours(model: DecodingModel, phrases: Phrases | None = None) -> Decode:
    """Incremental, with the stable prefix at each piece, as the stage does it."""

    def decode(frames: Frames) -> str:
        search = BeamSearch(model, (), phrases)
        for at in range(0, len(frames), PIECE):
            search.push(frames[at : at + PIECE])
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


@dataclass(frozen=True, slots=True)
class Measured:
    """Word error rate in per cent with its interval, and processor milliseconds per second of sound."""

    wer: str
    cost: float
    rate: float

    @classmethod
    def of(cls, texts: list[str], seconds: float, clips: list[Clip]) -> Measured:
        """From what a decoder said, and the time that it took."""
        references = [clip.reference for clip in clips]
        low, high = interval([clip.name for clip in clips], references, texts)
        sound = sum(len(clip.frames) for clip in clips) * FRAME_S
        rate = 100 * float(jiwer.wer(references, texts))
        return cls(f"{rate:.1f} ({low:.1f} to {high:.1f})", 1000 * seconds / sound, rate)


def measured(decode: Decode, clips: list[Clip]) -> Measured:
    """Runs a decoder of this process."""
    began = time.process_time()
    texts = [decode(clip.frames) for clip in clips]
    return Measured.of(texts, time.process_time() - began, clips)


def in_turn(decoders: Sequence[Decode], clips: list[Clip]) -> list[Measured]:
    """The cheapest of some rounds of each."""
    rounds = [[measured(decode, clips) for decode in decoders] for _ in range(ROUNDS)]
    return [min(each, key=lambda one: one.cost) for each in zip(*rounds, strict=True)]


def with_beam(model: DecodingModel, width: int) -> DecodingModel:
    """The model with another beam."""
    return replace(model, options=replace(model.options, beam_width=width))


@dataclass(frozen=True, slots=True)
class Archive:
    """Clips, and the file that they are in."""

    path: Path
    clips: list[Clip]

    @classmethod
    def read(cls, path: Path) -> Archive:
        """A file of :mod:`load_tests.emissions`."""
        return cls(path, read_clips(path))


@dataclass(frozen=True, slots=True)
class Pyctcdecode:
    """pyctcdecode by its own interpreter."""

    python: Path
    bundle: Bundle

    def measured(self, model: DecodingModel, archive: Archive, *, words: bool, phrases: Sequence[str] = ()) -> Measured:
        """Runs it with a model's weights; its n-gram scores are weighed as natural logarithms, as ours are."""
        options, decoder = model.options, self.bundle.card.decoder
        assert decoder.language_model is not None and decoder.lexicon is not None
        job = {
            "emissions": str(archive.path.resolve()),
            "symbols": model.vocabulary.symbols,
            "blank": model.vocabulary.blank,
            "lexicon": str(self.bundle.path(decoder.lexicon)),
            "language_model": str(self.bundle.path(decoder.language_model)) if words else None,
            "lm_weight": options.lm_weight,
            "word_score": options.word_score,
            "unknown_score": options.unknown_score,
            "beam": options.beam_width,
            "score_margin": options.score_margin,
            "token_margin": options.token_margin,
            "phrases": list(phrases),
            "phrase_score": options.phrase_score,
            "rounds": 1,
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(job, file)
            file.flush()
            run = subprocess.run([self.python, PEER, file.name], capture_output=True, text=True, check=True)
        said = json.loads(run.stdout.splitlines()[-1])
        return Measured.of(said["texts"], said["seconds"], archive.clips)


def tuned(model: DecodingModel, run: Callable[[DecodingModel], Measured]) -> DecodingModel:
    """The model with the weights of language model and words that have the lowest error rate; the first of equals."""
    tried = [
        replace(model, options=replace(model.options, lm_weight=weight, word_score=score))
        for weight in LM_WEIGHTS
        for score in WORD_SCORES
    ]
    assert all(each.look_ahead.size for each in tried), "built before the clock runs"
    return min(tried, key=lambda each: run(each).rate)


def _decoded(decoder: Callable[[DecodingModel], Decode], clips: list[Clip], model: DecodingModel) -> Measured:
    return measured(decoder(model), clips)


def beside_others(
    model: DecodingModel, bundle: Bundle | None, archive: Archive, tuning: Archive | None, peer: Pyctcdecode | None
) -> None:
    """Prints a row per decoder.

    Args:
        model: with the beam that all of them get.
        bundle: whose n-gram they use; None: they use none.
        archive: the clips to measure on.
        tuning: those on which each decoder with an n-gram chooses its weights; without, all have the model's.
        peer: pyctcdecode, where it is there.
    """
    assert model.look_ahead.size, "built before the clock runs"
    here: dict[str, Callable[[DecodingModel], Decode]] = {
        "ours": ours,
        "flashlight-text": lambda model: by_flashlight(model, bundle),
    }
    used = dict.fromkeys([*here, *(["pyctcdecode"] if peer else [])], model)
    if tuning is not None and bundle is not None:
        for name, decoder in here.items():
            used[name] = tuned(model, partial(_decoded, decoder, tuning.clips))
        if peer is not None:
            used["pyctcdecode"] = tuned(model, lambda each: peer.measured(each, tuning, words=True))
    found = dict(zip(here, in_turn([of(used[name]) for name, of in here.items()], archive.clips), strict=True))
    if peer is not None:
        found["pyctcdecode"] = peer.measured(used["pyctcdecode"], archive, words=bundle is not None)
    for name, one in found.items():
        options = used[name].options
        words, weights = ("n-gram", f"{options.lm_weight:g}, {options.word_score:g}") if bundle else ("none", "")
        ratio = found["ours"].cost / one.cost
        print(
            f"| {words} | {options.beam_width} | {name} | {weights} | {one.wer} | {one.cost:.3f} | {ratio:.2f} |",
            flush=True,
        )


def with_phrases(model: DecodingModel, archive: Archive, peer: Pyctcdecode | None) -> None:
    """Prints a row per number of phrases, of a model as it is served."""
    assert model.look_ahead.size, "built before the clock runs"
    beam = model.options.beam_width
    built: list[tuple[int, float, Phrases]] = [(0, 0.0, Phrases.none(model.spelling))]
    for count in PHRASES:
        began = time.process_time()
        phrases = Phrases.of([(text, 1.0) for text in unsaid(model, count)], model)
        built.append((count, 1000 * (time.process_time() - began), phrases))
    found = in_turn([ours(model, phrases) for _, _, phrases in built], archive.clips)
    for (count, took_ms, phrases), one in zip(built, found, strict=True):
        ratio = one.cost / found[0].cost
        print(
            f"| {count} | {beam} | {one.wer} | {one.cost:.3f} | {ratio:.2f} | {took_ms:.0f} | {len(phrases.earned)} |",
            flush=True,
        )
    if peer is not None:
        other = peer.measured(model, archive, words=True, phrases=unsaid(model, PHRASES[-1]))
        print(f"| {PHRASES[-1]}, pyctcdecode | {beam} | {other.wer} | {other.cost:.3f} | | | |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emissions", type=Path)
    parser.add_argument(
        "--tune", type=Path, help="another archive: each decoder with an n-gram gets its own weights on it"
    )
    parser.add_argument("--bundle", default="en-small")
    parser.add_argument("--beams", type=int, nargs="+", default=[16, 50])
    parser.add_argument("--pyctcdecode", type=Path, metavar="PYTHON", help="an interpreter that has it")
    arguments = parser.parse_args()
    archive = Archive.read(arguments.emissions)
    tuning = Archive.read(arguments.tune) if arguments.tune else None
    bundle = load_bundle(find_bundle(arguments.bundle))
    peer = Pyctcdecode(arguments.pyctcdecode, bundle) if arguments.pyctcdecode else None
    full = DecodingModel.from_bundle(bundle)
    # The peers know no priors of labels: they search what the model says as it is, and so does ours beside them.
    alike = replace(full, options=replace(full.options, prior_weight=0.0))
    bare = replace(alike, options=replace(alike.options, lm_weight=0.0, word_score=0.0, unknown_score=0.0))
    print(f"{len(archive.clips)} clips, {sum(len(clip.frames) for clip in archive.clips) * FRAME_S:.0f} s")
    print("| words | beam | decoder | language model, words | WER | ms/s | ours to it |")
    print("| --- | ---: | --- | --- | ---: | ---: | ---: |")
    for beam in arguments.beams:
        for base, theirs in ((bare, None), (alike, bundle)):
            beside_others(with_beam(base, beam), theirs, archive, tuning, peer)
    print("| phrases | beam | WER | ms/s | to none | built in ms | states |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for beam in arguments.beams:
        with_phrases(with_beam(full, beam), archive, peer)


if __name__ == "__main__":
    main()
