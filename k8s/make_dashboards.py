"""Writes the Grafana dashboards of ``components/monitoring/dashboards/``: ``python3 k8s/make_dashboards.py``.

Kubernetes and compose mount the same files. What is asked stands here, a line a panel; tests/ops runs every query
against a real Prometheus that scrapes a running stack. Needs nothing but Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent / "components" / "monitoring" / "dashboards"
RATE = "[$__rate_interval]"
WIDTH, HEIGHT = 8, 8


class Panel(NamedTuple):
    """One picture. ``queries`` are pairs of legend and expression; a legend of ``{{label}}`` names each series."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    text: str
    kind: str = "timeseries"
    stacked: bool = False


def quantiles(metric: str, by: str = "", shares: Sequence[float] = (0.5, 0.95, 0.99)) -> list[tuple[str, str]]:
    """Quantiles of a histogram, by a label where one is given."""
    legend = f"{{{{{by}}}}} " if by else ""
    labels = f"le, {by}" if by else "le"
    return [
        (f"{legend}p{share * 100:g}", f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{RATE})))")
        for share in shares
    ]


def mean(metric: str, by: str = "") -> str:
    """The mean of a histogram."""
    over = f" by ({by})" if by else ""
    return f"sum{over} (rate({metric}_sum{RATE})) / sum{over} (rate({metric}_count{RATE}))"


def rate(metric: str, by: str = "") -> str:
    """A counter's rate a second, over all processes."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


def late(window: str) -> str:
    """The share of chunks that took longer than the promised second."""
    good, all_of = 'stenoflow_chunk_seconds_bucket{le="1.0"}', "stenoflow_chunk_seconds_count"
    return f"1 - sum(rate({good}[{window}])) / sum(rate({all_of}[{window}]))"


DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "service-levels": (
        "Service levels and error budget",
        [
            Panel(
                "Chunks within 1 s, 30 days",
                "percentunit",
                [("in time", f"1 - ({late('30d')})")],
                "The promise is 99 %.",
                "stat",
            ),
            Panel(
                "Error budget left",
                "percentunit",
                [("left", f"1 - ({late('30d')}) / 0.01")],
                "Of the 1 % of chunks that may be late in 30 days. Below 0 the promise is broken.",
                "stat",
            ),
            Panel(
                "Sound lost",
                "s",
                [("lost", "sum(increase(stenoflow_audio_lost_seconds_total[1d]))")],
                "Missing in a log at the second look, last day. Must be 0.",
                "stat",
            ),
            Panel(
                "Burn rate",
                "none",
                [(w, f"({late(w)}) / 0.01") for w in ("5m", "1h", "6h")],
                "1 uses the budget up in 30 days. The alerts: 14.4 over 1 h and 5 min, 6 over 6 h and 30 min.",
            ),
            Panel(
                "Lag",
                "s",
                [
                    ("worst call", "max(stenoflow_lag_seconds)"),
                    ("{{stage}}", "max by (stage) (stenoflow_stage_lag_seconds)"),
                ],
                "Age of the oldest sound that is not decoded, and of the newest that each stage was through with.",
            ),
            Panel(
                "Word on the screen",
                "s",
                quantiles("stenoflow_word_seconds"),
                "End of a word to the first caption that shows it, unrevised. Its floor is chunk and look-ahead.",
            ),
            Panel(
                "First partial",
                "s",
                quantiles("stenoflow_first_partial_seconds"),
                "Start of an utterance's first word to its first partial.",
            ),
            Panel("Final", "s", quantiles("stenoflow_final_seconds"), "End of the last word to the final caption."),
            Panel(
                "Errors that clients got",
                "reqps",
                [("{{code}}", rate("stenoflow_gateway_errors_total", "code"))],
                "docs/reference/errors.md says what each code means.",
                stacked=True,
            ),
            Panel(
                "Calls",
                "cps",
                [
                    ("begun", rate("stenoflow_sessions_opened_total")),
                    ("resumed", rate("stenoflow_sessions_resumed_total")),
                    ("rewound", rate("stenoflow_rewinds_total")),
                    ("abandoned", rate("stenoflow_sessions_abandoned_total")),
                    ("new epochs", rate("stenoflow_epochs_opened_total")),
                ],
                "Resumed: sockets that broke. Rewound: sound asked for again. New epochs: logs that were gone.",
            ),
            Panel(
                "Broken calls",
                "short",
                [("{{stage}}", "sum by (stage) (increase(stenoflow_sessions_broken_total[1h]))")],
                "A loss that stays, or a track that ends worker after worker; last hour. Must be 0.",
            ),
        ],
    ),
    "capacity": (
        "Capacity",
        [
            Panel(
                "Open calls",
                "short",
                [("calls", "sum(stenoflow_gateway_sessions)"), ("sockets", "sum(stenoflow_gateway_sockets)")],
                "All gateways.",
            ),
            Panel(
                "Tracks that could begin",
                "short",
                [("{{stage}} {{model}}", "max by (stage, model) (stenoflow_room_tracks)")],
                "Free places as admission counts them: less those of the largest worker, so that it may die.",
            ),
            Panel(
                "Places taken",
                "percentunit",
                [
                    (
                        "{{stage}}",
                        "sum by (stage) (stenoflow_worker_tracks) / sum by (stage) (stenoflow_worker_places > 0)",
                    )
                ],
                "Tracks over places, all workers of a stage.",
            ),
            Panel(
                "Tracks of each worker",
                "short",
                [("{{stage}} {{instance}}", "stenoflow_worker_tracks")],
                "New calls go to whoever has places first; open ones stay where they are.",
            ),
            Panel(
                "Workers",
                "short",
                [("{{stage}}", "count by (stage) (stenoflow_worker_places > 0)")],
                "That have places.",
            ),
            Panel(
                "Tracks that changed hands",
                "short",
                [
                    ("{{stage}} taken over", "sum by (stage) (increase(stenoflow_takeovers_total[10m]))"),
                    ("{{stage}} rebuilt", "sum by (stage) (increase(stenoflow_rebuilds_total[10m]))"),
                ],
                "Last 10 minutes. Many without a rollout: workers die or stall.",
            ),
            Panel(
                "Real-time factor",
                "none",
                [
                    (
                        "{{stage}}",
                        f"{rate('stenoflow_stage_sound_seconds_total', 'stage')} / "
                        f"{rate('stenoflow_stage_compute_seconds_sum', 'stage')}",
                    )
                ],
                "Seconds of sound for each second of compute; silence counts as sound.",
            ),
            Panel(
                "Sound per processor second",
                "none",
                [
                    (
                        "{{job}}",
                        f"{rate('stenoflow_stage_sound_seconds_total', 'job')} / "
                        f"{rate('process_cpu_seconds_total', 'job')}",
                    )
                ],
                "All that the process does. Its inverse is the cost of a track.",
            ),
            Panel(
                "Batch", "short", quantiles("stenoflow_stage_batch_tracks", "stage", (0.5, 0.95)), "Tracks in one step."
            ),
            Panel(
                "Fill of the model's batches",
                "percentunit",
                [
                    (
                        "fill",
                        f"{rate('stenoflow_acoustic_model_steps_total')} / "
                        f"({rate('stenoflow_acoustic_model_steps_total')}"
                        f" + {rate('stenoflow_acoustic_padded_steps_total')})",
                    )
                ],
                "The rest only fills a batch up to one of its sizes.",
            ),
            Panel(
                "Processors",
                "short",
                [("{{job}}", rate("process_cpu_seconds_total", "job"))],
                "Cores in use.",
                stacked=True,
            ),
            Panel(
                "Memory",
                "bytes",
                [("{{job}}", "sum by (job) (process_resident_memory_bytes)")],
                "Resident.",
                stacked=True,
            ),
            Panel(
                "Event loops",
                "s",
                [
                    ("gateway p99", quantiles("stenoflow_gateway_loop_lag_seconds", "", (0.99,))[0][1]),
                    *quantiles("stenoflow_worker_loop_lag_seconds", "stage", (0.99,)),
                ],
                "How late they wake. From 100 ms on leases and acknowledgements are late.",
            ),
            Panel(
                "HTTP",
                "reqps",
                [("{{route}} {{status}}", rate("stenoflow_http_requests_total", "route, status"))],
                "Requests beside the stream.",
            ),
            Panel(
                "GPU",
                "percentunit",
                [
                    ("{{device}} busy", "max by (instance, device) (stenoflow_accelerator_busy_ratio)"),
                    (
                        "{{device}} memory",
                        "max by (instance, device) (stenoflow_accelerator_memory_used_bytes"
                        " / stenoflow_accelerator_memory_bytes)",
                    ),
                    ("{{device}} held back", "max by (instance, device) (stenoflow_accelerator_held_back)"),
                ],
                "Needs a GPU: empty where models run on processors.",
            ),
        ],
    ),
    "milliseconds": (
        "Where the milliseconds go",
        [
            Panel(
                "A caption's way through the server",
                "s",
                [("{{step}}", mean("stenoflow_caption_step_seconds", "step"))],
                "Means, from the arrival of its newest sound on: waiting, the stages, the way back.",
                stacked=True,
            ),
            Panel(
                "Each step, p95",
                "s",
                quantiles("stenoflow_caption_step_seconds", "step", (0.95,)),
                "Of the same captions.",
            ),
            Panel(
                "Chunk",
                "s",
                quantiles("stenoflow_chunk_seconds"),
                "Last byte at the gateway to the caption that covers it.",
            ),
            Panel(
                "Queue, p95",
                "s",
                quantiles("stenoflow_stage_queue_seconds", "stage", (0.95,)),
                "From the end of the stage before to the begin of this one: append, read, and waiting for a step.",
            ),
            Panel(
                "Compute, p95",
                "s",
                quantiles("stenoflow_stage_compute_seconds", "stage", (0.95,)),
                "One step over a batch.",
            ),
            Panel(
                "Append, p95",
                "s",
                quantiles("stenoflow_stage_append_seconds", "stage", (0.95,)),
                "Redis' part, as workers see it.",
            ),
            Panel(
                "Endpoint",
                "s",
                quantiles("stenoflow_endpoint_seconds"),
                "End of speech to the decision that it is over: most of it is the session's trailing silence.",
            ),
            Panel(
                "Age of sound behind each stage",
                "s",
                [("{{stage}}", "max by (stage) (stenoflow_stage_lag_seconds)")],
                "Worst of the last half minute. Where it jumps, time is lost.",
            ),
            Panel(
                "Words on the screen, how late",
                "s",
                [("{{le}}", f"sum by (le) (increase(stenoflow_word_seconds_bucket{RATE}))")],
                "Counts by latency.",
                "heatmap",
            ),
        ],
    ),
    "call-quality": (
        "Call quality",
        [
            Panel(
                "Flicker",
                "percentunit",
                [
                    (
                        "flicker",
                        f'sum(rate(stenoflow_words_changed_total{{by="first_pass"}}{RATE})) / '
                        f"{rate('stenoflow_words_shown_total')}",
                    )
                ],
                "Words that captions changed or withdrew before they were final, over words shown.",
            ),
            Panel(
                "Corrected by the second pass",
                "percentunit",
                [
                    (
                        "corrected",
                        f'sum(rate(stenoflow_words_changed_total{{by="second_pass"}}{RATE})) / '
                        f"{rate('stenoflow_decoder_words_total')}",
                    )
                ],
                "Over the words of the first pass.",
            ),
            Panel(
                "Confidence of words",
                "percentunit",
                [
                    ("mean", mean("stenoflow_decoder_word_confidence")),
                    *quantiles("stenoflow_decoder_word_confidence", "", (0.1,)),
                ],
                "Of the first pass. A fall on all calls: noise, another language, or a model that does not fit.",
            ),
            Panel(
                "Speech over background",
                "dB",
                quantiles("stenoflow_features_snr_db", "", (0.1, 0.5)),
                "Below 10 dB words suffer.",
            ),
            Panel(
                "Level",
                "dB",
                quantiles("stenoflow_features_level_db", "", (0.1, 0.5, 0.9)),
                "Each second of each track, dBFS.",
            ),
            Panel(
                "Hints about the sound",
                "percentunit",
                [
                    (
                        "{{code}}",
                        f"{rate('stenoflow_features_hint_seconds_total', 'code')} / ignoring (code) group_left "
                        f"{rate('stenoflow_features_sound_seconds_total')}",
                    )
                ],
                "Share of track time for which callers are told of something to mend.",
                stacked=True,
            ),
            Panel(
                "Speech",
                "percentunit",
                [
                    (
                        "speech",
                        f"{rate('stenoflow_features_speech_seconds_total')} / "
                        f"{rate('stenoflow_features_sound_seconds_total')}",
                    )
                ],
                "Share of track time. About a half where two people speak in turn.",
            ),
            Panel(
                "What ends utterances",
                "cps",
                [("{{reason}}", rate("stenoflow_decoder_finals_total", "reason"))],
                "mark: a pause, or the client. length: nobody paused. wordless: no words to end.",
                stacked=True,
            ),
            Panel(
                "Second pass",
                "cps",
                [("{{outcome}}", rate("stenoflow_second_pass_utterances_total", "outcome"))],
                "heard; unheard for want of time or sound; else why a reading was refused.",
                stacked=True,
            ),
        ],
    ),
    "redis": (
        "Redis",
        [
            Panel(
                "Up",
                "short",
                [("{{instance}}", "redis_up")],
                "By redis_exporter, which all panels with redis_ need.",
                "stat",
            ),
            Panel(
                "Memory",
                "percentunit",
                [("of maxmemory, as gateways see it", "max(stenoflow_redis_memory_fraction)")],
                "From 70 % on no call begins, from 80 % on no sound is taken.",
            ),
            Panel(
                "Appends of sound",
                "cps",
                [("{{outcome}}", rate("stenoflow_gateway_appends_total", "outcome"))],
                "lost: no answer came. full: refused for want of memory.",
            ),
            Panel(
                "Memory of the server",
                "bytes",
                [("used {{instance}}", "redis_memory_used_bytes"), ("limit {{instance}}", "redis_memory_max_bytes")],
                "As the server says.",
            ),
            Panel(
                "Commands",
                "cps",
                [("{{instance}}", f"rate(redis_commands_processed_total{RATE})")],
                "One core carries about 1,000 tracks.",
            ),
            Panel(
                "Time of commands",
                "percentunit",
                [("{{cmd}}", f"topk(8, rate(redis_commands_duration_seconds_total{RATE}))")],
                "Share of the one thread, by command.",
                stacked=True,
            ),
            Panel(
                "Traffic",
                "Bps",
                [
                    ("in {{instance}}", f"rate(redis_net_input_bytes_total{RATE})"),
                    ("out {{instance}}", f"rate(redis_net_output_bytes_total{RATE})"),
                ],
                "Network.",
            ),
            Panel(
                "Clients",
                "short",
                [("{{instance}}", "redis_connected_clients"), ("blocked {{instance}}", "redis_blocked_clients")],
                "Connections.",
            ),
            Panel(
                "Evicted",
                "short",
                [("{{instance}}", "increase(redis_evicted_keys_total[1h])")],
                "Keys thrown away for want of memory, last hour: must be 0, or words are lost.",
            ),
        ],
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard in Grafana's format."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"stenoflow-{name}",
        "title": f"Stenoflow: {title}",
        "tags": ["stenoflow"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "tags": ["stenoflow"], "title": "Stenoflow", "asDropdown": True, "keepTime": True}
        ],
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_placed(panels)),
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    for number, panel in enumerate(panels):
        drawn = {"fillOpacity": 30 if panel.stacked else 6, "stacking": {"mode": "normal" if panel.stacked else "none"}}
        yield {
            "id": number + 1,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.text,
            "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "datasource": source,
            "fieldConfig": {
                "defaults": {"unit": panel.unit, "custom": drawn if panel.kind == "timeseries" else {}},
                "overrides": [],
            },
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
            "targets": [
                {
                    "refId": chr(ord("A") + at),
                    "datasource": source,
                    "expr": expression,
                    "legendFormat": legend,
                    **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
                }
                for at, (legend, expression) in enumerate(panel.queries)
            ],
        }


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
