"""What is compiled already is taken over whole, and only where nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenoflow.alignment.compiled import take_over


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "module").mkdir(parents=True)
    (folder / "module" / "function.nbi").write_bytes(b"index")
    (folder / "module" / "function.1.nbc").write_bytes(b"code")
    return folder


def test_what_an_image_made_is_where_it_can_be_written_to(made: Path, tmp_path: Path) -> None:
    kept = tmp_path / "below" / "kept"
    take_over(made, kept)
    assert {path.name: path.read_bytes() for path in (kept / "module").iterdir()} == {
        "function.nbi": b"index",
        "function.1.nbc": b"code",
    }
    assert [path.name for path in kept.parent.iterdir()] == ["kept"], "nothing is left of the copying"


def test_what_was_compiled_since_stays(made: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "module").mkdir(parents=True)
    (kept / "module" / "function.nbi").write_bytes(b"newer")
    take_over(made, kept)
    assert [path.read_bytes() for path in (kept / "module").iterdir()] == [b"newer"]


def test_a_copy_that_breaks_off_leaves_nothing_that_looks_whole(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(OSError, match="No space left"):
        take_over(made, tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_without_an_image_nothing_is_made(tmp_path: Path) -> None:
    take_over(tmp_path / "missing", tmp_path / "kept")
    assert not list(tmp_path.iterdir())
