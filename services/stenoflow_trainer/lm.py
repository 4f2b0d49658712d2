"""The word language model of a bundle: counts, KenLM's programs, the lexicon.

4-gram, modified Kneser-Ney, pruned, as a quantized trie that both `kenlm` and flashlight-text read.  The programs
come from the source package of `kenlm` 0.3.0: Debian has none.  Text of held sets never enters.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stenoflow_trainer import data

KENLM = "kenlm==0.3.0"
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")


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
    source = next(path for path in tools.glob("kenlm-*") if path.is_dir())
    source.rename(tools / "kenlm")
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


def vocabulary(text: Text, *, least: int) -> list[str]:
    """Words seen at least `least` times in all, or once in a transcript, by frequency."""
    counts: Counter[str] = Counter()
    for line in text.lines():
        counts.update(line.split())
    spoken = {word for line in text.transcripts() for word in line.split()}
    kept = [word for word, count in counts.most_common() if count >= least or word in spoken]
    return [word for word in kept if set(word) <= ALPHABET and word.strip("'")]


def write_language_model(
    text: Text, tools: Path, work: Path, bundle: Path, *, least: int, prune: Sequence[int]
) -> None:
    """Writes ``lm.binary`` and ``lexicon.txt`` (one word a line, by frequency) into `bundle`.

    prune: for every order the count up to which n-grams are dropped.
    """
    programs = build_kenlm(tools)
    work.mkdir(parents=True, exist_ok=True)
    words = vocabulary(text, least=least)
    (work / "vocabulary.txt").write_text("\n".join(words) + "\n", "utf-8")
    (work / "text.txt").write_text("\n".join(text.lines()) + "\n", "utf-8")
    arpa = work / "lm.arpa"
    with (work / "text.txt").open("rb") as source, arpa.open("wb") as sink:
        command = [str(programs / "lmplz"), "-o", str(len(prune)), "-S", "20%", "-T", str(work)]
        command += ["--discount_fallback", "--prune", *map(str, prune)]
        command += ["--limit_vocab_file", str(work / "vocabulary.txt")]
        subprocess.run(command, stdin=source, stdout=sink, check=True)
    bundle.mkdir(parents=True, exist_ok=True)
    # 8 bits for probabilities and back-off weights, pointers compressed.
    packed = [str(programs / "build_binary"), "-q", "8", "-b", "8", "-a", "22", "trie"]
    subprocess.run([*packed, str(arpa), str(bundle / "lm.binary")], check=True)
    (bundle / "lexicon.txt").write_text("\n".join(words) + "\n", "utf-8")
    check_readers(bundle)


def check_readers(bundle: Path) -> None:
    """Both readers must load the binary and agree on a sentence."""
    import kenlm
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    binary = os.fspath(bundle / "lm.binary")
    words = ["how", "can", "i", "help", "you", "today"]
    expected = kenlm.Model(binary).score(" ".join(words), bos=True, eos=False)
    model = KenLM(binary, Dictionary(words))
    state, total = model.start(False), 0.0
    for index in range(len(words)):
        state, score = model.score(state, index)
        total += score
    assert abs(total - expected) < 1e-3, f"flashlight scores {total}, kenlm {expected}"
