"""The word language model of a bundle: counts, KenLM's programs, the lexicon.

4-gram, modified Kneser-Ney, pruned, as a quantized trie that both `kenlm` and flashlight-text read.  The programs
come from the source package of `kenlm` 0.3.0: Debian has none.  Text of held sets never enters.  With text of one's
own calls a second model is counted and both are interpolated.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from stenoflow.base.errors import ConfigError
from stenoflow.text.plain import plain_text
from stenoflow_trainer import data
from stenoflow_trainer.interpolation import Arpa, Share, best_share, interpolate

KENLM = "kenlm==0.3.0"
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")
WEIGHED_BY = 20
"""The share of the two models is found on every twentieth line of one's own text, by a count of the others."""
LEAST_LINES = 2 * WEIGHED_BY


def build_kenlm(tools: Path) -> Path:
    """Compiles `lmplz` and `build_binary` once; returns the folder that holds them.

    Needs gcc, cmake and, on Debian, libboost-{program-options,system,thread,test}-dev zlib1g-dev libbz2-dev
    liblzma-dev libeigen3-dev.
    """
    programs = tools / "kenlm" / "build" / "bin"
    if (programs / "lmplz").exists() and (programs / "build_binary").exists():
        return programs
    tools.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run([*command, "-d", str(tools), KENLM], check=True)
    with tarfile.open(next(tools.glob("kenlm-*.tar.gz"))) as tar:
        tar.extractall(tools, filter="data")
    shutil.rmtree(tools / "kenlm", ignore_errors=True)  # of an attempt that failed
    next(path for path in tools.glob("kenlm-*") if path.is_dir()).rename(tools / "kenlm")
    build = tools / "kenlm" / "build"
    subprocess.run(["cmake", "-S", str(tools / "kenlm"), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"], check=True)
    subprocess.run(["cmake", "--build", str(build), "-j2", "--target", "lmplz", "build_binary"], check=True)
    return programs


class Text:
    """The lines a language model is counted on, without anything that it is later measured or tuned on.

    Args:
        folder: xz files of normalised lines.
        speech: manifests; the human transcripts of `train` are lines too.
        share, seed: of the development set (`data.split_dev`), whose speakers and sentences are left out.
    """

    def __init__(self, folder: Path, speech: Path, *, share: float, seed: int) -> None:
        self._folder = folder
        held = [one for split in data.held_splits(speech) for one in data.read_manifest(speech, split)]
        labelled = data.without_speakers(data.read_manifest(speech, "train"), held)
        train, dev = data.split_dev(labelled, share=share, seed=seed)
        # Short phrases ("yes", "thank you") belong to everybody.
        self._banned = {one.text for one in [*held, *dev] if len(one.text.split()) >= 4}
        self._transcripts = [one.text for one in train if one.label == "human"]

    def transcripts(self) -> Iterator[str]:
        """Human transcripts of the training set."""
        return (line for line in self._transcripts if line not in self._banned)

    def lines(self) -> Iterator[str]:
        """Everything."""
        for path in sorted(self._folder.glob("*.txt.xz")):
            with lzma.open(path, "rt", encoding="utf-8") as lines:
                yield from (line.strip() for line in lines if line.strip() not in self._banned)
        yield from self.transcripts()

    def lines_of(self, files: Sequence[Path]) -> Iterator[str]:
        """The lines of other files (plain, or ``.xz``; as people write), by the same rule.

        Raises:
            ConfigError: a file is not there or no UTF-8 text.
        """
        return (line for path in files for line in _normalised(path) if line not in self._banned)


class OwnText:
    """The lines of one's own text files, normalised; different ones only are weighed by.

    Args:
        files: one utterance a line, as people write; plain, or ``.xz``.

    Raises:
        ConfigError: a file is not there or no UTF-8 text, or there are too few lines.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        found = [line for path in files for line in _normalised(path)]
        if len(found) < LEAST_LINES:
            names = ", ".join(map(str, files))
            raise ConfigError("text_short", f"{names}: {len(found)} lines of text; {LEAST_LINES} are needed at least")
        kept_out = set(list(dict.fromkeys(found))[::WEIGHED_BY])
        self.lines = found
        self.others = [line for line in found if line not in kept_out]
        self.kept_out = sorted(kept_out)


def _normalised(path: Path) -> Iterator[str]:
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            yield from (text for line in lines if (text := plain_text(line)))
    except OSError as error:
        raise ConfigError("text_missing", f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, lzma.LZMAError):
        raise ConfigError("text_damaged", f"{path} is no text in UTF-8: convert it first") from None


def vocabulary(lines: Iterable[str], spoken: Iterable[str], *, least: int) -> list[str]:
    """Words seen at least `least` times in all, or once in what is known to be spoken, by frequency."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.split())
    once = {word for line in spoken for word in line.split()}
    kept = [word for word, count in counts.most_common() if count >= least or word in once]
    return [word for word in kept if set(word) <= ALPHABET and word.strip("'")]


@dataclass(frozen=True, slots=True)
class Counting:
    """Where and how n-grams are counted.

    Args:
        programs: folder of `lmplz` and `build_binary`.
        work: scratch folder.
        prune: for every order the count up to which n-grams are dropped.
    """

    programs: Path
    work: Path
    prune: Sequence[int]

    def count(self, name: str, lines: Iterable[str], words: Sequence[str]) -> Path:
        """The ARPA file of some text over a vocabulary."""
        self.work.mkdir(parents=True, exist_ok=True)
        listed, text, arpa = (self.work / f"{name}.{kind}" for kind in ("vocabulary", "txt", "arpa"))
        listed.write_text("\n".join(words) + "\n", "utf-8")
        with text.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        command = [str(self.programs / "lmplz"), "-o", str(len(self.prune)), "-S", "20%", "-T", str(self.work)]
        command += ["--discount_fallback", "--prune", *map(str, self.prune), "--limit_vocab_file", str(listed)]
        with text.open("rb") as source, arpa.open("wb") as sink:
            subprocess.run(command, stdin=source, stdout=sink, check=True)
        return arpa

    def pack(self, arpa: Path, words: Sequence[str], bundle: Path) -> None:
        """Writes ``lm.binary`` and ``lexicon.txt`` (one word a line, by frequency) into `bundle`."""
        bundle.mkdir(parents=True, exist_ok=True)
        # 8 bits for probabilities and back-off weights, pointers compressed.
        packed = [str(self.programs / "build_binary"), "-q", "8", "-b", "8", "-a", "22", "trie"]
        subprocess.run([*packed, str(arpa), str(bundle / "lm.binary")], check=True)
        (bundle / "lexicon.txt").write_text("\n".join(words) + "\n", "utf-8")
        check_readers(bundle, words)


def write_language_model(
    counting: Counting, bundle: Path, general: Text, own: OwnText | None, *, least: int
) -> Share | None:
    """Writes ``lm.binary`` and ``lexicon.txt`` into `bundle`.

    Args:
        general: what everybody says.
        own: what is said in one's own calls; None: general text alone.
        least: how often a word must occur to be in the lexicon; once is enough in a transcript and in own text.

    Returns:
        how the two were weighed; None without own text.
    """
    told = own.lines if own else []
    words = vocabulary(chain(general.lines(), told), chain(general.transcripts(), told), least=least)
    arpa = counting.count("general", general.lines(), words)
    if own is None:
        counting.pack(arpa, words, bundle)
        return None
    everybody = Arpa.read(arpa)
    share = best_share(everybody, Arpa.read(counting.count("own-others", own.others, words)), own.kept_out)
    # What the share was found on is counted, too: it may be what is said most.
    mixed = counting.work / "mixed.arpa"
    interpolate(everybody, Arpa.read(counting.count("own", own.lines, words)), share.share).write(mixed)
    counting.pack(mixed, words, bundle)
    return share


def check_readers(bundle: Path, lexicon: Sequence[str]) -> None:
    """Both readers must load the binary and agree on some words."""
    import kenlm
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    binary = os.fspath(bundle / "lm.binary")
    words = list(lexicon[:6])
    expected = kenlm.Model(binary).score(" ".join(words), bos=True, eos=False)
    model = KenLM(binary, Dictionary(words))
    state, total = model.start(False), 0.0
    for index in range(len(words)):
        state, score = model.score(state, index)
        total += score
    assert abs(total - expected) < 1e-3, f"flashlight scores {total}, kenlm {expected}"
