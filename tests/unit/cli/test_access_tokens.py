"""Risk: a token that no gateway takes, or a secret that is shown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stenoflow.base.errors import ConfigError, StenoflowError
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import ClientSession
from stenoflow.protocol.client_events import Begin, Connect
from stenoflow_cli.__main__ import app
from stenoflow_cli.access_tokens import duration, own_token
from stenoflow_gateway.access.bearer import Keyring
from tests.unit.gateway.harness import running_gateway

PROGRAM = CliRunner()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "token.key"
    made = PROGRAM.invoke(app, ["token", "--new-key", str(path)])
    assert made.exit_code == 0 and path.stat().st_mode & 0o077 == 0
    assert path.read_text().strip() not in made.output
    return path


def made(*arguments: str) -> str:
    told = PROGRAM.invoke(app, ["token", *arguments])
    if isinstance(told.exception, StenoflowError):
        raise told.exception
    assert told.exit_code == 0, told.output
    return told.stdout.strip()


def test_a_token_is_what_the_gateway_with_this_secret_takes(key_file: Path) -> None:
    keys = Keyring.read("", key_file)
    assert keys is not None
    text = made(
        "--tenant", "acme", "--scope", "publish", "--scope", "watch", "--expires", "15m", "--key-file", str(key_file)
    )
    grant = keys.grant(text)
    assert (grant.tenant, grant.scopes, grant.session) == ("acme", {"publish", "watch"}, None)
    assert grant.expires_at is not None and 800 < grant.expires_at - time.time() <= 900
    told = PROGRAM.invoke(app, ["token", "--tenant", "acme", "--key-file", str(key_file)])
    assert "acme may publish until" in told.stderr and "8 hours" in told.stderr
    assert key_file.read_text().strip() not in told.output


def test_a_new_secret_signs_and_the_older_one_still_counts(key_file: Path) -> None:
    old = made("--tenant", "acme", "--key-file", str(key_file))
    told = PROGRAM.invoke(app, ["token", "--new-key", str(key_file)])
    assert "1 older" in told.stderr
    both = key_file.read_text().split()
    assert len(both) == 2 and not any(key in told.output for key in both)
    keys, fresh = Keyring(both), made("--tenant", "acme", "--key-file", str(key_file))
    assert keys.grant(old).tenant == keys.grant(fresh).tenant == Keyring(both[:1]).grant(fresh).tenant == "acme"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--tenant", "a/b"], "bad_tenant"),
        (["--tenant", "acme", "--scope", "admin"], "bad_scope"),
        (["--tenant", "acme", "--expires", "soon"], "bad_duration"),
        (["--tenant", "acme", "--expires", "0h"], "bad_duration"),
    ],
)
def test_what_cannot_be_is_a_sentence(key_file: Path, arguments: list[str], code: str) -> None:
    with pytest.raises(ConfigError) as error:
        made(*arguments, "--key-file", str(key_file))
    assert error.value.code == code


def test_without_a_secret_it_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STENOFLOW_GATEWAY_TOKEN_KEY", raising=False)
    monkeypatch.delenv("STENOFLOW_GATEWAY_TOKEN_KEY_FILE", raising=False)
    with pytest.raises(ConfigError, match="--new-key") as error:
        made("--tenant", "acme")
    assert error.value.code == "token_key_missing"


def test_lengths_of_time() -> None:
    assert [duration(text).seconds for text in ("90s", "15m", "8h", "30d")] == [90, 900, 28_800, 2_592_000]


def test_a_stack_of_ones_own_has_a_token_of_its_own(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STENOFLOW_TOKEN", raising=False)
    assert own_token() is None
    monkeypatch.setenv("STENOFLOW_GATEWAY_TOKEN_KEY_FILE", str(key_file))
    keys, token = Keyring.read("", key_file), own_token()
    assert keys is not None and token is not None and keys.grant(token).scopes == {"publish"}
    monkeypatch.setenv("STENOFLOW_TOKEN", "given")
    assert own_token() == "given"


def test_every_connection_of_a_session_carries_the_token_and_shows_it_nowhere() -> None:
    start = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=8000),))
    session = ClientSession(start, token="secret-token")
    (connect,) = [each for each in session.receive(Begin(), 0.0) if isinstance(each, Connect)]
    assert connect.token == "secret-token" and "secret-token" not in repr(connect)


async def test_files_are_transcribed_with_a_token_and_refused_without(key_file: Path, tmp_path: Path) -> None:
    import asyncio

    import numpy as np
    import soundfile

    call = tmp_path / "call.wav"
    soundfile.write(call, np.zeros(8_000), 8_000)
    async with running_gateway(settings={"token_key_file": key_file}, text="hello") as running:
        arguments = ["transcribe", str(call), "--url", running.stream_url]
        refused = await asyncio.to_thread(PROGRAM.invoke, app, arguments, env={"STENOFLOW_TOKEN": ""})
        assert refused.exit_code == 2 and "unauthorized" in refused.output
        token = made("--tenant", "acme", "--key-file", str(key_file))
        for more, environment in ((["--token", token], {}), ([], {"STENOFLOW_TOKEN": token})):
            told = await asyncio.to_thread(PROGRAM.invoke, app, [*arguments, *more], env=environment)
            assert told.exit_code == 0 and "hello" in told.output, told.output
            assert token not in told.output
