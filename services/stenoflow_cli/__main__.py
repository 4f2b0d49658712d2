"""``stenoflow``: the command line."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stenoflow.base.errors import StenoflowError
from stenoflow.bus.records import Stages
from stenoflow_cli import bundles
from stenoflow_cli.access_tokens import VARIABLE
from stenoflow_cli.transcribe import USUAL_PAGE, Format, Pace, TranscribeOptions, transcribe_files
from stenoflow_cli.up import AUTO, OFF, PIP, Stack, extra, running_stack, second_pass_model, until_interrupted
from stenoflow_cli.view import caption_console, print_error

app = typer.Typer(
    name="stenoflow",
    help="Live captions for calls, on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(bundles.app, name="bundle")

Gateway = Annotated[str, typer.Option(metavar="HOST:PORT", help="A running gateway, or its ws:// or http:// address.")]
Boost = Annotated[
    list[str] | None, typer.Option(metavar="PHRASE", help="A name or phrase that may be said; repeat for each.")
]
Token = Annotated[
    str | None, typer.Option(metavar="TOKEN", envvar=VARIABLE, help="An access token, where the gateway asks for one.")
]


def main() -> None:
    """Entry point of the console script: typed errors become a sentence and exit code 2."""
    try:
        app()
    except StenoflowError as error:
        print_error(Console(stderr=True), error)
        raise SystemExit(2) from None


def _workers(given: list[str]) -> dict[Stages, int]:
    counts: dict[Stages, int] = {}
    for item in given:
        name, _, count = item.partition("=")
        if name not in list(Stages) or not count.isdigit() or not 1 <= int(count) <= 64:
            raise typer.BadParameter(f"'{item}': give STAGE=COUNT with one of {', '.join(Stages)}, e.g. acoustic=2")
        counts[Stages(name)] = int(count)
    return counts


@app.command()
def up(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback only with a secret for access tokens.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of page and WebSocket; 0 takes a free one.", min=0, max=65535)] = 8000,
    redis: Annotated[
        str | None, typer.Option(help="An existing Redis (6.2 or newer); default: one that ends with the stack.")
    ] = None,
    workers: Annotated[
        list[str] | None, typer.Option("--workers", metavar="STAGE=COUNT", help="More processes for a stage; repeat.")
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The model: a name or a folder; default: en-small. Repeat to serve several: a call that names none "
            "gets the first.",
        ),
    ] = None,
    second_pass: Annotated[
        str,
        typer.Option(help="The model that hears each utterance again as it ends, or 'off'; 'auto': what is installed."),
    ] = AUTO,
    logs: Annotated[Path | None, typer.Option(help="Folder for one log file a program.")] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Stream a spoken sample through it first, and print its captions.")
    ] = False,
) -> None:
    """Runs gateway and workers on this machine until Ctrl-C.

    A program that crashes comes back by itself. Without a terminal, `--sample` ends after the captions.
    """
    console = caption_console()
    first, *more = bundle or ["en-small"]
    stack = Stack(host, port, redis, _workers(workers or []), first, more, second_pass, logs)

    async def run() -> None:
        from stenoflow_cli.access_tokens import own_token
        from stenoflow_cli.sample import play_sample

        async with running_stack(stack, console) as running:
            console.print(
                f"[green]●[/] Stenoflow takes calls: [bold]{running.url}[/]   (logs: {running.logs})", highlight=False
            )
            if second_pass == AUTO and second_pass_model(AUTO) == OFF:
                console.print(
                    "[yellow]•[/] no model for the second pass is installed: captions stay as they are first heard "
                    + escape(f"({PIP} {extra('second-pass')})"),
                    highlight=False,
                )
            if sample:
                await play_sample(running.stream_url, console, own_token())
                if not console.is_terminal:
                    return
            console.print(f"Open [bold]{running.url}[/] and speak. Ctrl-C ends it.", highlight=False)
            await until_interrupted(running)

    # Ctrl-C is how a stack is ended, while it starts and in the middle of the sample too: no error, for make neither.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
    console.print("Stenoflow has ended.")


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Audio: WAV, FLAC, Ogg, Opus, MP3; stereo is two tracks.")],
    url: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A running gateway, or its ws:// or http:// address; default: the stack on this machine's port 8000, "
            "else one is started for these files.",
        ),
    ] = None,
    pace: Annotated[
        Pace, typer.Option(help="Send at the pace of speech, or as fast as the window allows.")
    ] = Pace.FAST,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.TEXT,  # noqa: A002
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, or folder (for several files, or with a slash at its end)."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The model: a name or a folder; default: the gateway's usual one, here en-small."
        ),
    ] = None,
    in_process: Annotated[
        bool,
        typer.Option("--in-process", help="No gateway, no Redis: all stages in this process, one deterministic pass."),
    ] = False,
    second_pass: Annotated[
        str | None,
        typer.Option(help="The model that hears each utterance again, or 'off'; default: what gateway or machine has."),
    ] = None,
    boost: Boost = None,
    token: Token = None,
) -> None:
    """Writes down what is said in files.

    A file that is missing, empty or broken is told in a sentence; the others still go through, and the exit code is 2.
    """
    path = None if output is None else Path(output)
    into_folder = output is not None and output.endswith("/")
    options = TranscribeOptions(
        url, pace, format, path, bundle, in_process, second_pass, boost or [], into_folder, token=token
    )
    raise typer.Exit(transcribe_files(files, options))


@app.command()
def listen(
    url: Gateway = USUAL_PAGE,
    device: Annotated[
        str | None, typer.Option(help="A microphone, by its number or a part of its name; default: the usual one.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Only say which microphones there are; a star marks the usual one.")
    ] = False,
    name: Annotated[str, typer.Option(help="Whose microphone it is.")] = "me",
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model; default: the gateway's usual one.")
    ] = None,
    second_pass: Annotated[
        str | None,
        typer.Option(help="The model that hears each utterance again, or 'off'; default: what the gateway has."),
    ] = None,
    boost: Boost = None,
    token: Token = None,
) -> None:
    """Writes down what is said into this machine's microphone, until Ctrl-C.

    It needs PortAudio (`libportaudio2`) and the extra `listen`.
    """
    from stenoflow_cli.listen import ListenOptions, print_microphones
    from stenoflow_cli.listen import listen as listen_to

    console = caption_console()
    if list_devices:
        print_microphones(console)
        return
    options = ListenOptions(url, device, name, bundle, second_pass, boost or [], token)
    with contextlib.suppress(KeyboardInterrupt):  # the second Ctrl-C, while last words are waited for
        asyncio.run(listen_to(options, console))


@app.command()
def sessions(
    session: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Follow this one's captions; without: a table of all.")
    ] = None,
    url: Gateway = USUAL_PAGE,
    once: Annotated[bool, typer.Option("--once", help="Print the table once, instead of drawing it again.")] = False,
    ended: Annotated[bool, typer.Option("--ended", help="List ended ones that are kept, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: the table as one list a line, or one message a line.")
    ] = False,
    token: Token = None,
) -> None:
    """Watches the calls of a gateway, until Ctrl-C.

    Of each: its tracks, how old it is and its last words are, how far captions lag behind its sound, and what is wrong
    with its sound.
    """
    from stenoflow_cli.gateway import GatewayClient
    from stenoflow_cli.sessions import follow, show_sessions

    console, gateway = caption_console(), GatewayClient(url, token)
    with contextlib.suppress(KeyboardInterrupt):
        if session is None:
            asyncio.run(show_sessions(gateway, console, once=once, as_json=as_json, ended=ended))
        else:
            asyncio.run(follow(gateway, session, console, as_json=as_json))


@app.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A gateway that should be there; default: whether one is on port 8000."),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="STENOFLOW_GATEWAY_REDIS",
            help="The deployment's Redis, as its programs are given it.",
        ),
    ] = None,
    shards: Annotated[int, typer.Option(help="As the deployment's programs are given it.", min=1, max=100)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Says what is wrong with this machine or with a deployment, and what to do; it changes nothing.

    Each line is ok, warn or wrong. The exit code is 1 where something is wrong.
    """
    from stenoflow_cli.doctor.report import examine, show

    findings = asyncio.run(examine(url, USUAL_PAGE, redis, shards))
    raise typer.Exit(show(findings, Console(), as_json=as_json))


@app.command()
def token(
    tenant: Annotated[str | None, typer.Option(help="Whose calls it is for: letters, digits, '.', '_', '-'.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="'publish' brings calls, 'watch' reads captions; repeat for both."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it is valid: 90s, 15m, 8h, 30d.")] = "8h",
    session: Annotated[str | None, typer.Option(help="For this one session only.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="The gateway's secret; default: STENOFLOW_GATEWAY_TOKEN_KEY, or …_KEY_FILE."),
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a token: make a secret, into this file.")
    ] = None,
) -> None:
    """Makes an access token for a gateway, and prints it.

    A secret that signs tokens is made first, once: `stenoflow token --new-key token.key`. Made again into the same
    file, the new one signs and the older ones still count. No secret is ever printed.
    """
    from stenoflow_cli.access_tokens import duration, make_key, make_token

    console = Console(stderr=True)
    if new_key is not None:
        make_key(new_key, console)
        return
    if tenant is None:
        raise typer.BadParameter("say whose token it is: --tenant NAME (or --new-key FILE)")
    print(make_token(tenant, scope or ["publish"], duration(expires), session, key_file, console))


if __name__ == "__main__":
    main()
