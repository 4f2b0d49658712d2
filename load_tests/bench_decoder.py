"""Our beam search beside flashlight-text's and pyctcdecode's on the same emissions: word error rate, processor time.

    python -m load_tests.emissions dev --out build/dev.npz
    python -m load_tests.emissions held_libri --limit 35 --out build/held_libri.npz
    python -m load_tests.bench_decoder build/held_libri.npz --tune build/dev.npz --pyctcdecode peer/bin/python

One thread; frames are given in pieces of 160 ms (pyctcdecode does not stream), all decoders restart at each clip, and
each row is the best of three rounds (of one for pyctcdecode, which is slow enough to be measured so). Intervals are of
95 %, by drawing clips. A second table is ours as it is served, with the bundle's weights and priors, without and with
phrases that nobody says (pairs of words of the lexicon, and words that it lacks): what they cost and what they spoil;
its last line is pyctcdecode with the most of them as its hotwords.
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
ROUNDS = 3
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


def measured(decode: Decode, clips: list[Clip], rounds: int = ROUNDS) -> Measured:
    """Runs a decoder of this process."""
    best = float("inf")
    texts: list[str] = []
    for _ in range(rounds):
        began = time.process_time()
        texts = [decode(clip.frames) for clip in clips]
        best = min(best, time.process_time() - began)
    return Measured.of(texts, best, clips)


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


Run = Callable[[DecodingModel, Archive, int], Measured]


def runs_of(bundle: Bundle | None, peer: Pyctcdecode | None) -> dict[str, Run]:
    """The decoders by name; each takes a model, an archive, and how many rounds its best time is of.

    Args:
        bundle: whose n-gram is used; None: none is.
        peer: pyctcdecode, where it is there.
    """

    def of_ours(model: DecodingModel, archive: Archive, rounds: int) -> Measured:
        return measured(ours(model), archive.clips, rounds)

    def of_flashlight(model: DecodingModel, archive: Archive, rounds: int) -> Measured:
        return measured(by_flashlight(model, bundle), archive.clips, rounds)

    def of_pyctcdecode(model: DecodingModel, archive: Archive, rounds: int) -> Measured:
        assert peer is not None
        return peer.measured(model, archive, words=bundle is not None)

    found: dict[str, Run] = {"ours": of_ours, "flashlight-text": of_flashlight}
    return found if peer is None else found | {"pyctcdecode": of_pyctcdecode}


def tuned(model: DecodingModel, run: Run, tuning: Archive) -> DecodingModel:
    """The model with the weights of language model and words that have the lowest error rate; the first of equals."""
    tried = [
        replace(model, options=replace(model.options, lm_weight=weight, word_score=score))
        for weight in LM_WEIGHTS
        for score in WORD_SCORES
    ]
    assert all(each.look_ahead.size for each in tried), "built before the clock runs"
    return min(tried, key=lambda each: run(each, tuning, 1).rate)


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
    clips = archive.clips
    bundle = load_bundle(find_bundle(arguments.bundle))
    peer = Pyctcdecode(arguments.pyctcdecode, bundle) if arguments.pyctcdecode else None
    full = DecodingModel.from_bundle(bundle)
    # The peers know no priors of labels: they search what the model says as it is, and so does ours beside them.
    alike = replace(full, options=replace(full.options, prior_weight=0.0))
    bare = replace(alike, options=replace(alike.options, lm_weight=0.0, word_score=0.0, unknown_score=0.0))
    print(f"{len(clips)} clips, {sum(len(clip.frames) for clip in clips) * FRAME_S:.0f} s")
    tuning = Archive.read(arguments.tune) if arguments.tune else None
    print("| words | beam | decoder | language model, words | WER | ms/s | ours to it |")
    print("| --- | ---: | --- | --- | ---: | ---: | ---: |")
    for beam in arguments.beams:
        for name, base, theirs in (("none", bare, None), ("n-gram", alike, bundle)):
            model = replace(base, options=replace(base.options, beam_width=beam))
            assert model.look_ahead.size, "built before the clock runs"
            runs = runs_of(theirs, peer)
            own: Measured | None = None
            for decoder, run in runs.items():
                best = model
                if tuning is not None and theirs is not None:
                    best = tuned(model, run, tuning)
                found = run(best, archive, ROUNDS)
                own = own or found
                weights = f"{best.options.lm_weight:g}, {best.options.word_score:g}" if theirs else ""
                ratio = own.cost / found.cost
                print(
                    f"| {name} | {beam} | {decoder} | {weights} | {found.wer} | {found.cost:.3f} | {ratio:.2f} |",
                    flush=True,
                )
    print("| phrases | beam | WER | ms/s | to none | built in ms | states |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for beam in arguments.beams:
        model = replace(full, options=replace(full.options, beam_width=beam))
        assert model.look_ahead.size, "built before the clock runs"
        none = measured(ours(model), clips)
        print(f"| 0 | {beam} | {none.wer} | {none.cost:.3f} | 1 | | |", flush=True)
        for count in PHRASES:
            texts = unsaid(model, count)
            began = time.process_time()
            phrases = Phrases.of([(text, 1.0) for text in texts], model)
            built_ms = 1000 * (time.process_time() - began)
            own = measured(ours(model, phrases), clips)
            print(
                f"| {count} | {beam} | {own.wer} | {own.cost:.3f} | {own.cost / none.cost:.2f} | {built_ms:.0f} "
                f"| {len(phrases.earned)} |",
                flush=True,
            )
        if peer is not None:
            found = peer.measured(model, archive, words=True, phrases=unsaid(model, PHRASES[-1]))
            print(f"| {PHRASES[-1]}, pyctcdecode | {beam} | {found.wer} | {found.cost:.3f} | | | |", flush=True)


if __name__ == "__main__":
    main()
