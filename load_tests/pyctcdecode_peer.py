"""pyctcdecode over an archive of emissions, in an environment of its own: it needs numpy 1.

    python -m venv peer && peer/bin/pip install pyctcdecode==0.5.0 kenlm
    peer/bin/python load_tests/pyctcdecode_peer.py job.json

``job.json`` holds ``emissions``, ``symbols``, ``blank``, ``lexicon``, ``language_model`` (or null), weights and beam;
what is printed is JSON: the texts in the archive's order, and the processor seconds of the best round. Whole clips at
once: it does not stream.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from pyctcdecode import build_ctcdecoder


def main() -> None:
    """Runs one job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    labels = list(job["symbols"])
    labels[job["blank"]] = ""
    words = Path(job["lexicon"]).read_text(encoding="utf-8").split() if job["language_model"] else None
    decoder = build_ctcdecoder(
        labels,
        job["language_model"],
        words,
        alpha=job["lm_weight"],
        beta=job["word_score"],
        unk_score_offset=job["unknown_score"],
    )
    with np.load(job["emissions"]) as archive:
        names = [str(line).split("\t", 1)[0] for line in archive["texts"]]
        clips = [archive[name].astype(np.float32) for name in names]
    options = {
        "beam_width": job["beam"],
        "beam_prune_logp": -job["score_margin"],
        "token_min_logp": -job["token_margin"],
    }
    if job["phrases"]:
        options |= {"hotwords": job["phrases"], "hotword_weight": job["phrase_score"]}
    best, texts = float("inf"), list[str]()
    for _ in range(job["rounds"]):
        began = time.process_time()
        texts = [decoder.decode(clip, **options) for clip in clips]
        best = min(best, time.process_time() - began)
    print(json.dumps({"texts": texts, "seconds": best}))


if __name__ == "__main__":
    main()
