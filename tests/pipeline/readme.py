"""The commands that the README shows, and which of them are not run by its own test: where they are, or why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
PROGRAMS = r"make|curl|docker|\.venv/bin/[a-z-]+"


def commands() -> list[str]:
    """Each command in an indented block, without the note after it, in order."""
    found = re.findall(rf"^    ((?:{PROGRAMS})\b.*)$", README, re.MULTILINE)
    return [re.split(r"\s+#\s", line)[0].strip() for line in found]


_CURL = "tests/pipeline/test_calls.py::test_the_curl_lines_of_the_readme_do_what_they_say"
_COMPOSE = (
    "it needs a Docker engine; where there is one: tests/ops/test_compose_stack.py::test_captions_come_through_it"
)

ELSEWHERE: Mapping[str, str] = {
    "make run": "it is `stenoflow up --sample` behind the set-up, which makes the environment that tests run in; "
    "tests/pipeline/test_command_line.py::test_an_interrupt_in_the_middle_of_the_sample_is_a_normal_end",
    "make test": "it runs this test",
    "make bench": "it takes hours, of a machine where nothing else runs",
    "make load": "it takes an hour and more; a small scenario: "
    "tests/pipeline/test_ladder.py::test_a_storm_and_a_kill_lose_nothing_and_are_reported",
    ".venv/bin/pip install -e '.[listen]'": "it changes the environment that tests run in; "
    "tests/unit/cli/test_listen.py::test_what_is_missing_is_a_sentence",
    ".venv/bin/stenoflow listen": "it needs a microphone; with a stand-in: "
    "tests/unit/cli/test_listen.py::test_what_is_spoken_is_shown_and_ctrl_c_waits_for_the_last_words",
    "curl -N -H 'Content-Type: audio/wav' --data-binary @call.wav http://127.0.0.1:8000/v1/files": _CURL,
    "curl http://127.0.0.1:8000/v1/sessions": _CURL,
    "curl 'http://127.0.0.1:8000/v1/sessions/ID/transcript?format=srt'": _CURL,
    "curl -X DELETE http://127.0.0.1:8000/v1/sessions/ID": _CURL,
    ".venv/bin/stenoflow transcribe call.wav --url 10.0.0.7:8000": "it needs another machine; here: "
    "tests/unit/cli/test_access_tokens.py::test_files_are_transcribed_with_a_token_and_refused_without",
    ".venv/bin/stenoflow bundle add facebook/wav2vec2-base-960h": "it fetches 360 MB; with small models of its kind: "
    "tests/unit/acoustic/test_windowed.py::test_the_whole_pipeline_gives_the_models_own_text",
    ".venv/bin/stenoflow bundle add sherpa-onnx-streaming-zipformer2-ctc/model.onnx": "it needs that model; with a "
    "small one: tests/unit/acoustic/test_streaming_layouts.py::test_what_was_added_says_how_it_runs",
    ".venv/bin/stenoflow up --bundle wav2vec2-base-960h": "it needs that bundle; with another: "
    "tests/pipeline/test_several_bundles.py::test_each_call_gets_the_bundle_that_it_names",
    "docker compose up": _COMPOSE,
    "docker compose --profile monitoring up": _COMPOSE,
    "make images": "it needs a Docker engine; where there is one: "
    "tests/ops/test_images.py::test_gateway_and_decoder_are_small",
}
"""By command: why the README's own test does not run it, and the test that does as much of it as can be done here."""
