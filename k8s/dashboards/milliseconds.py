"""Where the milliseconds go, stage by stage."""

from __future__ import annotations

from k8s.dashboards.panels import RATE, Panel, mean, quantiles

TITLE = "Where the milliseconds go"

PANELS = [
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
]
