"""Where captions of files go: decided before anything is sent, and no file is written over another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stenoflow.base.errors import ConfigError
from stenoflow_cli.transcribe import Format, Pace, TranscribeOptions, output_paths

OPTIONS = TranscribeOptions(None, Pace.FAST, Format.VTT, None, "en-small", False, None, [])


def options(output: Path | None, **fields: object) -> TranscribeOptions:
    return dataclasses.replace(OPTIONS, output=output, **fields)


def test_a_file_is_written_where_it_was_asked_for_and_its_folder_is_made(tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "y.vtt"
    assert output_paths([Path("call.wav")], options(wanted)) == [wanted]
    assert wanted.parent.is_dir()


@pytest.mark.parametrize("into_folder", [True, False])
def test_a_folder_with_a_slash_or_that_is_there_takes_one_file_too(tmp_path: Path, into_folder: bool) -> None:
    folder = tmp_path / "captions"
    if not into_folder:
        folder.mkdir()
    assert output_paths([Path("call.wav")], options(folder, into_folder=into_folder)) == [folder / "call.vtt"]


def test_files_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    files = [Path("monday/call.wav"), Path("tuesday/call.wav"), Path("call.mp3")]
    names = [path.name for path in output_paths(files, options(tmp_path)) if path is not None]
    assert names == ["call.vtt", "call-2.vtt", "call-3.vtt"]


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ConfigError, match="cannot be made a folder"):
        output_paths([Path("a.wav"), Path("b.wav")], options(tmp_path / "taken"))


def test_several_files_in_one_stream_are_text_only() -> None:
    assert output_paths([Path("a.wav"), Path("b.wav")], options(None, format=Format.TEXT)) == [None, None]
    with pytest.raises(ConfigError, match="give a folder"):
        output_paths([Path("a.wav"), Path("b.wav")], options(None))
