"""Captions that are piped are one a line, and what comes from elsewhere is printed as it is."""

from __future__ import annotations

import io

import pytest

from stenoflow.base.errors import ConfigError
from stenoflow.protocol.messages import Error, Final, Spotted, Word
from stenoflow_cli.view import CaptionView, caption_console, print_error


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_a_piped_caption_is_one_line_however_long_it_is() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    words = tuple(Word(word=word, begin=0, end=16_000, confidence=0.9) for word in text.split())
    final = Final(track=0, utterance=0, begin=0, end=16_000, text=text, words=words, confidence=0.9)
    output = io.StringIO()
    with CaptionView(caption_console(output), ["agent"], lambda: None, lambda: 0.0) as view:
        view.show(final)
    [line] = output.getvalue().splitlines()
    assert text in line


def test_brackets_in_a_sentence_are_no_styles() -> None:
    output = io.StringIO()
    print_error(caption_console(output), ConfigError("model_missing", "pip install -e '.[second-pass]'"), "call[1].wav")
    assert output.getvalue() == "✗ call[1].wav: pip install -e '.[second-pass]' (model_missing)\n"


def test_an_error_of_the_server_has_its_code() -> None:
    output = io.StringIO()
    with CaptionView(caption_console(output), ["agent"], lambda: None, lambda: 0.0) as view:
        view.show(Error(code="log_full", message="try again", retryable=True))
    assert output.getvalue() == "✗ try again (log_full)\n"


def test_a_phrase_that_was_spotted_is_told() -> None:
    output = io.StringIO()
    with CaptionView(caption_console(output), ["agent"], lambda: None, lambda: 0.0) as view:
        view.show(Spotted(track=0, phrase="cancel [it]", begin=32_000, end=40_000, score=0.9))
    assert output.getvalue() == "• agent said 'cancel [it]' at 2.00 s\n"
