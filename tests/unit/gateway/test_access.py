"""Risk: somebody comes in who may not, sees another tenant's call, or a token is written down."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import jwt
import pytest
import structlog
import websockets
from fastapi.routing import APIRoute, APIWebSocketRoute
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.harness import Caller, Running, running_gateway, serving
from tests.unit.gateway.world import RATE

from stenoflow.base.errors import ConfigError
from stenoflow.protocol import messages as wire
from stenoflow_gateway.__main__ import main
from stenoflow_gateway.access.bearer import ALGORITHM, AUDIENCE, MAX_TOKEN, Keyring
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.grants import PUBLISH, SCOPES, WATCH

KEY, OTHER_KEY = "k" * 48, "o" * 48
KEYS = Keyring([KEY])
NOW = int(time.time())
LONG = 4 * 3600
"""Longer than a run of all tests takes: `NOW` is when they were collected."""
START = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),))


def token(tenant: str = "acme", *scopes: str, keys: Keyring = KEYS, session: str | None = None) -> str:
    return keys.make(tenant, scopes or SCOPES, NOW + LONG, NOW, session)


def forged(key: str = KEY, algorithm: str = ALGORITHM, kid: str | None = None, **claims: Any) -> str:
    """A token with the given claims in place of good ones; None leaves one out."""
    good = {"aud": AUDIENCE, "tenant": "acme", "scope": "publish", "iat": NOW, "exp": NOW + LONG}
    kept = {name: value for name, value in {**good, **claims}.items() if value is not None}
    kid = kid or jwt.get_unverified_header(token())["kid"]
    return jwt.encode(kept, key if algorithm != "none" else None, algorithm=algorithm, headers={"kid": kid})


def header(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@contextlib.asynccontextmanager
async def guarded(**settings: Any) -> AsyncIterator[Running]:
    async with running_gateway(settings={"token_key": KEY, **settings}) as running:
        yield running


@contextlib.asynccontextmanager
async def dial(running: Running, bearer: str | None = None, **options: Any) -> AsyncIterator[Caller]:
    """As a browser does: with the credential as a second subprotocol."""
    names = [wire.SUBPROTOCOL] + ([f"bearer.{bearer}"] if bearer else [])
    protocols = [websockets.Subprotocol(name) for name in names]
    async with websockets.connect(running.stream_url, subprotocols=protocols, compression=None, **options) as socket:
        assert socket.subprotocol == wire.SUBPROTOCOL, "the token is never said back"
        yield Caller(socket)


async def refused(running: Running, bearer: str | None = None, **options: Any) -> tuple[str, int | None]:
    """Code of the error, and the close code."""
    async with dial(running, bearer, **options) as caller:
        return (await caller.until("error")).code, await caller.closed()


async def tell(running: Running, method: str, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url) as http:
        return await http.request(method, path, **options)


# ---------------------------------------------------------------- tokens


def test_a_token_grants_what_it_was_made_for() -> None:
    grant = KEYS.grant(token("acme", WATCH, session="s00-0123456789abcdef"))
    assert (grant.tenant, grant.scopes, grant.session) == ("acme", {WATCH}, "s00-0123456789abcdef")


BRACKETS = base64.urlsafe_b64encode(b"[" * 1400).decode().rstrip("=")
BAD = {
    "expired": (forged(exp=NOW - 60), "token_expired"),
    "not yet valid": (forged(nbf=NOW + LONG), "unauthorized"),
    "made in the future": (forged(iat=NOW + LONG), "unauthorized"),
    "another secret": (forged(OTHER_KEY), "unauthorized"),
    "no algorithm": (forged(algorithm="none"), "unauthorized"),
    "another algorithm": (forged(algorithm="HS384"), "unauthorized"),
    "another key id": (forged(kid="00000000"), "unauthorized"),
    "for somebody else": (forged(aud="elsewhere"), "unauthorized"),
    "for nobody": (forged(aud=None), "unauthorized"),
    "for ever": (forged(exp=None), "unauthorized"),
    "no tenant": (forged(tenant=None), "unauthorized"),
    "a tenant that is no name": (forged(tenant="a:b}"), "unauthorized"),
    "a tenant that is no text": (forged(tenant=["acme"]), "unauthorized"),
    "a scope that is no text": (forged(scope=["publish"]), "unauthorized"),
    "truncated": (token()[:-1], "unauthorized"),
    "without its signature": (token().rpartition(".")[0] + ".", "unauthorized"),
    "no token": ("x", "unauthorized"),
    "brackets": (f"{BRACKETS}.e30.AAAA", "unauthorized"),
    "oversize": (token() + "A" * MAX_TOKEN, "unauthorized"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_was_not_made_here_or_not_for_now_is_refused(name: str) -> None:
    bad, code = BAD[name]
    with pytest.raises(AccessError) as error:
        KEYS.grant(bad)
    assert error.value.code == code
    assert bad not in error.value.message


@hypothesis.settings(deadline=None)
@given(at=st.integers(0, 10_000), to=st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_character_passes(at: int, to: str) -> None:
    good = token("acme", WATCH)
    at %= len(good) - 1  # the last one has two bits that base64 throws away
    changed = good[:at] + to + good[at + 1 :]
    if changed == good:
        return
    with pytest.raises(AccessError):
        KEYS.grant(changed)


@given(st.text(max_size=300))
def test_any_text_is_refused_with_a_typed_error(text: str) -> None:
    with pytest.raises(AccessError):
        KEYS.grant(text)


def test_an_old_secret_is_taken_while_the_new_one_signs() -> None:
    both = Keyring([OTHER_KEY, KEY])
    assert both.grant(token("acme")).tenant == "acme"
    fresh = token("acme", keys=both)
    with pytest.raises(AccessError):
        KEYS.grant(fresh)
    assert Keyring([OTHER_KEY]).grant(fresh).tenant == "acme"


def test_secrets_come_from_a_file_and_weak_ones_do_not_start(tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OTHER_KEY}\n{KEY}\n")
    keys = Keyring.read("", file)
    assert keys is not None and keys.grant(token()).tenant == "acme"
    assert Keyring.read("", None) is None
    for text, path in (("short", None), ("", tmp_path / "missing"), ("", tmp_path / "empty")):
        (tmp_path / "empty").write_text("\n")
        with pytest.raises(ConfigError) as error:
            Keyring.read(text, path)
        assert "short" not in error.value.message


# ---------------------------------------------------------------- at the door


async def test_a_call_begins_with_a_token_by_header_or_by_subprotocol() -> None:
    async with guarded() as running:
        async with dial(running, token()) as caller:
            started = await caller.start()
        async with dial(running, additional_headers=header(token())) as caller:
            await caller.start()
        record = await running.bus.records().get(started.session)
        assert record is not None and record.tenant == "acme"


async def test_without_a_token_a_sentence_says_what_to_do() -> None:
    async with guarded() as running:
        assert await refused(running) == ("unauthorized", 4401)
        assert await refused(running, token(), additional_headers=header(token())) == ("unauthorized", 4401)
        answer = await tell(running, "GET", "/v1/capacity")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("name", ["expired", "no algorithm", "truncated", "brackets", "oversize"])
async def test_bad_tokens_are_refused_at_the_door(name: str) -> None:
    bad, code = BAD[name]
    async with guarded() as running:
        assert await refused(running, bad) == (code, 4401)
        assert (await tell(running, "GET", "/v1/capacity", headers=header(bad))).status_code == 401
        async with dial(running, token()) as caller:
            await caller.start()


async def test_a_scope_that_is_missing_is_named() -> None:
    async with guarded() as running:
        assert await refused(running, token("acme", WATCH)) == ("forbidden", 4403)
        answer = await tell(running, "GET", "/v1/capacity", headers=header(token("acme", WATCH)))
        assert (answer.status_code, "'publish'" in answer.json()["message"]) == (403, True)


@pytest.mark.parametrize("query", ["token=x", "access_token=x", "TICKET=x", "t=ticket_abc", "q=eyJhbGciOi"])
async def test_a_token_in_the_address_is_refused_with_and_without_a_secret(query: str) -> None:
    for settings in ({"token_key": KEY}, {}):
        async with running_gateway(settings=settings) as running:
            answer = await tell(running, "GET", f"/v1/capacity?{query}", headers=header(token()))
            assert (answer.status_code, answer.json()["code"]) == (400, "token_in_address")
            async with websockets.connect(f"{running.stream_url}?{query}", subprotocols=[wire.SUBPROTOCOL]) as socket:
                assert "token_in_address" in await socket.recv()


async def test_no_route_below_v1_is_open() -> None:
    """Those of others too: whoever forgets the one line is told here."""
    async with guarded() as running:
        routes = [each for each in running.app.routes if getattr(each, "path", "").startswith("/v1/")]
        assert len(routes) >= 3
        for route in routes:
            path = route.path.replace("{session}", "s00-0123456789abcdef")  # type: ignore[attr-defined]
            if isinstance(route, APIWebSocketRoute):
                async with websockets.connect(running.url.replace("http", "ws") + path) as socket:
                    assert json.loads(await socket.recv())["code"] == "unauthorized", path
            elif isinstance(route, APIRoute):
                for method in route.methods:
                    assert (await tell(running, method, path)).status_code == 401, f"{method} {path}"


async def test_the_page_health_and_metrics_need_no_token() -> None:
    async with guarded() as running:
        for path in ("/", "/js/page.js", "/healthz", "/readyz", "/metrics"):
            assert (await tell(running, "GET", path)).status_code == 200, path


async def test_without_a_secret_any_token_is_as_good_as_none() -> None:
    async with running_gateway() as running, dial(running, "whatever") as caller:
        await caller.start()


def test_a_browser_does_not_offer_what_no_header_may_hold() -> None:
    assert set(token()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."), "RFC 9110, token"


def test_beyond_loopback_it_starts_with_a_secret_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "token.key"
    file.write_text(KEY)
    told = ["--host", "0.0.0.0", "--port", "0", "--redis", "redis://127.0.0.1:1/0"]
    assert main(told) == 2
    assert "host_not_loopback" in capsys.readouterr().err
    assert main([*told, "--token-key-file", str(file)]) == 2
    assert "redis_unreachable" in capsys.readouterr().err, "the host was no reason any more"
    file.write_text("short")
    assert main([*told, "--token-key-file", str(file)]) == 2
    assert "token_key_weak" in capsys.readouterr().err


# ---------------------------------------------------------------- tenants


async def test_a_session_is_resumed_by_its_own_tenant_alone() -> None:
    async with guarded() as running, dial(running, token("acme")) as caller:
        started = await caller.start()
        resume = wire.Resume(token=started.resume_token)
        async with dial(running, token("other")) as thief:
            await thief.send(START.model_copy(update={"resume": resume}))
            assert (await thief.until("error")).code == "other_tenant"
            assert await thief.closed() == 4403
        await caller.until("ack")  # it was not cut off by the attempt
        async with dial(running, token("acme")) as again:
            assert (await again.start(resume=resume)).session == started.session


async def test_a_call_that_redis_lost_goes_on_but_one_that_never_was_does_not() -> None:
    """It passes by admission and the tenant's limits, for it was let in once: so nobody may invent one."""
    async with guarded() as running:
        async with dial(running, token()) as caller:
            started = await caller.start()
        running.bus.restart(empty=True)
        await running.echo.announce()
        given = started.resume_token
        changed = given[:-1] + ("0" if given[-1] != "0" else "1")
        for invented in ("s00-0123456789abcdef.what-nobody-was-given", given.rpartition(".")[0], changed):
            async with dial(running, token()) as thief:
                await thief.send(START.model_copy(update={"resume": wire.Resume(token=invented)}))
                assert (await thief.until("error")).code == "unknown_token"
                assert await thief.closed() == 4404
        assert await running.bus.records().get(started.session) is None
        async with dial(running, token()) as again:
            assert (await again.start(resume=wire.Resume(token=given))).session == started.session


async def test_a_token_for_one_session_begins_no_other() -> None:
    async with guarded() as running, dial(running, token()) as caller:
        started = await caller.start()
        bound = token("acme", PUBLISH, session=started.session)
        async with dial(running, bound) as other:
            await other.send(START)
            assert (await other.until("error")).code == "forbidden"
            assert await other.closed() == 4403
        async with dial(running, bound) as again:
            await again.start(resume=wire.Resume(token=started.resume_token))


# ---------------------------------------------------------------- tickets


async def ticket(running: Running, bearer: str | None = None, body: Mapping[str, str] | None = None) -> str:
    answer = await tell(running, "POST", "/v1/tickets", headers=header(bearer or token()), json=body or {})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert 0 < answer.json()["expires_in_s"] <= 60
    return str(answer.json()["ticket"])


async def test_a_ticket_works_once_at_whichever_gateway() -> None:
    async with guarded() as first, serving(first.bus, first.echo, {"token_key": KEY}) as second:
        made = await ticket(first)
        async with dial(second, made) as caller:
            started = await caller.start()
        for running in (first, second):
            assert await refused(running, made) == ("unauthorized", 4401)
        record = await first.bus.records().get(started.session)
        assert record is not None and record.tenant == "acme"


async def test_a_ticket_grants_no_more_than_its_token() -> None:
    async with guarded() as running:
        for bearer, body in (
            (token("acme", WATCH), {"scope": "publish"}),
            (token("acme", WATCH), {"scope": "watch publish"}),
            (token("acme", WATCH), {"scope": ""}),
            (token("acme", session="s00-0123456789abcdef"), {"session": "s00-00000000000000aa"}),
        ):
            answer = await tell(running, "POST", "/v1/tickets", headers=header(bearer), json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert await refused(running, await ticket(running, body={"scope": "watch"})) == ("forbidden", 4403)
        made = await ticket(running)
        answer = await tell(running, "POST", "/v1/tickets", headers=header(made))
        assert answer.json()["code"] == "forbidden", "or one ticket would last for ever"


async def test_a_ticket_for_one_session_resumes_that_one() -> None:
    async with guarded() as running, dial(running, token()) as caller:
        started = await caller.start()
        made = await ticket(running, body={"session": started.session})
        async with dial(running, made) as again:
            await again.start(resume=wire.Resume(token=started.resume_token))


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"scop": "watch"}', b'{"session": "../x"}', b'{"scope": 1}', b" " * 2000]
)
async def test_a_request_for_a_ticket_that_cannot_be_read_is_a_typed_error(body: bytes) -> None:
    async with guarded() as running:
        answer = await tell(running, "POST", "/v1/tickets", headers=header(token()), content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_redis_that_is_away_is_no_reason_to_let_somebody_in() -> None:
    async with guarded() as running:
        made = await ticket(running)
        running.bus.faults.unavailable = True
        assert await refused(running, made) == ("bus_unavailable", 1013)
        answer = await tell(running, "POST", "/v1/tickets", headers=header(token()))
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)


# ---------------------------------------------------------------- pages of others


async def _page_may(running: Running, origin: str | None, host: str | None = None) -> bool:
    headers = {**header(token()), **({"Origin": origin} if origin else {}), **({"Host": host} if host else {})}
    answer = await tell(running, "GET", "/v1/capacity", headers=headers)
    assert answer.status_code in (200, 403), answer.text
    return answer.status_code == 200


async def test_with_a_secret_pages_from_here_and_listed_ones_may_call() -> None:
    async with guarded(origins=("https://crm.example.org",)) as running:
        host = running.url.removeprefix("http://")
        assert await _page_may(running, None)
        assert await _page_may(running, running.url)
        assert await _page_may(running, "https://captions.example.org", "captions.example.org")
        assert await _page_may(running, "https://crm.example.org")
        for origin in ("https://evil.example.org", "null", "https://crm.example.org.evil.example", f"http://{host}1"):
            assert not await _page_may(running, origin), origin
        asked = {"Origin": "https://crm.example.org", "Access-Control-Request-Method": "POST"}
        answer = await tell(running, "OPTIONS", "/v1/tickets", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://crm.example.org"
        asked["Origin"] = "https://evil.example.org"
        answer = await tell(running, "OPTIONS", "/v1/tickets", headers=asked)
        assert "access-control-allow-origin" not in answer.headers
        with pytest.raises(websockets.InvalidStatus):
            async with dial(running, token(), origin="https://evil.example.org"):
                pass


async def test_without_a_secret_a_foreign_name_that_points_here_reads_nothing() -> None:
    async with running_gateway(settings={"origins": ("https://captions.example.org",)}) as running:
        assert await _page_may(running, None)
        assert await _page_may(running, None, "localhost:8000")
        assert await _page_may(running, None, "captions.example.org"), "a proxy in front"
        assert not await _page_may(running, None, "evil.example.org"), "DNS rebinding: a page that only reads"
        assert not await _page_may(running, "http://evil.example.org", "evil.example.org")
        assert not await _page_may(running, None, "[::")


# ---------------------------------------------------------------- nothing is written down


async def test_no_token_and_no_ticket_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secrets = [token(), forged(exp=NOW - 60), forged(OTHER_KEY), "canary-canary"]
    with structlog.testing.capture_logs() as lines:
        async with guarded() as running:
            secrets.append(await ticket(running))
            for _ in range(2):
                for secret in secrets:
                    await tell(running, "GET", "/v1/capacity", headers=header(secret))
                    await tell(running, "GET", f"/v1/capacity?token={secret}")
                    async with dial(running, secret) as caller:
                        with contextlib.suppress(websockets.ConnectionClosed):
                            await caller.send(START)
                            await caller.socket.recv()
    assert lines, "nothing was logged at all"
    own = [record.getMessage() for record in caplog.records if record.name.split(".")[0] not in ("websockets", "httpx")]
    logged = repr(lines) + "\n".join(own)
    for secret in [*secrets, KEY]:
        assert secret not in logged and secret.rpartition(".")[2] not in logged
