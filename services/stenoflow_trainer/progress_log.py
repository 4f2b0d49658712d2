"""What a run has come to: ``log.jsonl``, TensorBoard events and a picture of the curves, in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from stenoflow_trainer import pictures


class ProgressLog:
    """One line a measurement, from the first process; the others' goes nowhere.

    Args:
        run: folder.
        rank: which process this is.
        resume: go on in the files that are there.
        drawn: figures that become curves in ``progress.svg``, by what is written beside them.
    """

    def __init__(self, run: Path, rank: int, drawn: dict[str, str], *, resume: bool = False) -> None:
        self._run, self._drawn = run, drawn
        self._file, self._events = None, None
        if rank == 0:
            run.mkdir(parents=True, exist_ok=True)
            self._file = (run / "log.jsonl").open("a" if resume else "w", encoding="utf-8")
            self._events = SummaryWriter(str(run))

    def __enter__(self) -> ProgressLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None and self._events is not None:
            self._file.close()
            self._events.close()

    def add(self, figures: dict[str, Any]) -> None:
        """Writes a measurement down; ``figures`` has the ``step``."""
        if self._file is None or self._events is None:
            return
        self._file.write(json.dumps(figures) + "\n")
        self._file.flush()
        for name, value in figures.items():
            if name != "step" and isinstance(value, float):
                self._events.add_scalar(name, value, figures["step"])
        self._events.flush()
        rows = [json.loads(line) for line in (self._run / "log.jsonl").read_text("utf-8").splitlines()]
        points = {
            label: [(row["step"], row[name]) for row in rows if name in row] for name, label in self._drawn.items()
        }
        (self._run / "progress.svg").write_text(pictures.curves(self._run.name, points), "utf-8")
