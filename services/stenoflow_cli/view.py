"""Captions in a terminal: finals stay, the open utterance is drawn below them, its unstable part lighter.

Without a terminal only finals are printed, one a line. Colours are never alone: speakers have names, unstable words are
in italics. Whatever comes from elsewhere (messages, file names) may hold brackets, which rich would take for styles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from stenoflow.base.errors import StenoflowError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow.protocol.messages import Error, Final, Latency, Partial, Progress, Quality, Spotted, Status

SPEAKER_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red", "white", "bright_black")


def caption_console(file: IO[str] | None = None) -> Console:
    """A console for captions; what reads a pipe or a file takes each caption as one line, so there nothing is wrapped.

    Args:
        file: where to; default: standard output.
    """
    console = Console(file=file)
    console.soft_wrap = not console.is_terminal
    return console


def print_error(console: Console, error: StenoflowError, about: str = "") -> None:
    """Tells an error in one line: what it is about, its sentence, its code."""
    sentence = escape(f"{about}: {error.message}" if about else error.message)
    console.print(f"[red]✗[/] {sentence} [dim]({error.code})[/]", highlight=False, soft_wrap=True)


class CaptionView:
    """Prints captions as they come.

    Args:
        console: where to.
        names: of the tracks.
        since: seconds on the sender's clock at which position 0 was due; None where sound is not sent at real pace.
        now: the sender's clock.
    """

    def __init__(
        self, console: Console, names: Sequence[str], since: Callable[[], float | None], now: Callable[[], float]
    ) -> None:
        self._console = console
        self._names = names
        self._since = since
        self._now = now
        self._partials: dict[tuple[int, int], Partial] = {}
        self._latency: Latency | None = None
        self._behind = 0.0
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        self.final_latencies: list[float] = []

    def __enter__(self) -> CaptionView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, message: Any) -> None:
        """Draws one message of the server."""
        match message:
            case Partial():
                self._partials[message.track, message.utterance] = message
            case Final() if message.words:
                # Its own draft goes, and whatever of this track is older; the next utterance may be open already.
                for track, utterance in list(self._partials):
                    if track == message.track and utterance <= message.utterance:
                        del self._partials[track, utterance]
                self._print_final(message)
            case Latency():
                self._latency = message
            case Progress():
                self._behind = max((track.behind_s for track in message.tracks), default=0.0)
            case Quality(hint=hint) if hint is not None:
                self._console.print(
                    f"[yellow]•[/] {self._names[message.track]}: {escape(hint.message)}", highlight=False
                )
            case Spotted():
                self._console.print(
                    f"[yellow]•[/] {self._names[message.track]} said '{escape(message.phrase)}' "
                    f"at {message.begin / SAMPLE_RATE:.2f} s",
                    highlight=False,
                )
            case Status(status="reduced"):
                self._console.print(
                    "[yellow]•[/] the second pass is busy: captions stay as they were first heard", highlight=False
                )
            case Status(status="behind"):
                self._console.print("[yellow]•[/] captions are behind; nothing is lost", highlight=False)
            case wire.Warning() | Error():
                self._console.print(f"[red]✗[/] {escape(message.message)} [dim]({message.code})[/]", highlight=False)
            case _:
                return
        if self._live is not None:
            self._live.update(self._open_utterances())

    def _print_final(self, final: Final) -> None:
        since = self._since()
        took = ""
        if since is not None and final.words:
            latency = self._now() - since - final.words[-1].end / SAMPLE_RATE
            self.final_latencies.append(latency)
            took = f"{latency * 1000:5.0f} ms"
        line = Text()
        line.append(f"{final.words[0].begin / SAMPLE_RATE:7.2f}  ", style="dim")
        line.append(f"{self._names[final.track]:<9} ", style=SPEAKER_STYLES[final.track % len(SPEAKER_STYLES)])
        if final.pass_ == 2:
            line.append(final.text + " ")
        else:
            for word in final.words:
                line.append(word.word + " ", style="dim" if word.confidence < 0.5 else "")
        if took:
            line.append(f" {took}", style="dim green")
        self._console.print(line)

    def _open_utterances(self) -> Group:
        lines: list[Text] = []
        for (track, _), partial in sorted(self._partials.items()):
            line = Text(" " * 9)
            line.append(f"{self._names[track]:<9} ", style=SPEAKER_STYLES[track % len(SPEAKER_STYLES)])
            line.append(partial.text[: partial.stable])
            line.append(partial.text[partial.stable :], style="dim italic")
            lines.append(line)
        status = f"{' ' * 9}{self._behind:.1f} s behind"
        if self._latency is not None:
            steps = self._latency.steps
            status += (
                f" · newest caption {self._latency.total_ms:.0f} ms: "
                f"queue {steps.queue:.0f}, features {steps.features:.0f}, "
                f"acoustic {steps.acoustic:.0f}, decoder {steps.decoder:.0f}, back {steps.back:.0f}"
            )
        lines.append(Text(status, style="dim"))
        return Group(*lines)
