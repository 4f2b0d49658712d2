"""The promise to callers: what part of the captions is late, lost or wrong, and how much more may be."""

from __future__ import annotations

from k8s.dashboards.panels import Panel, late, quantiles, rate

TITLE = "Service levels and error budget"

PANELS = [
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
]
