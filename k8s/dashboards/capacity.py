"""How full every stage is, and what refuses calls."""

from __future__ import annotations

from k8s.dashboards.panels import Panel, quantiles, rate

TITLE = "Capacity"

PANELS = [
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
                f"{rate('stenoflow_stage_sound_seconds_total', 'job')} / {rate('process_cpu_seconds_total', 'job')}",
            )
        ],
        "All that the process does. Its inverse is the cost of a track.",
    ),
    Panel("Batch", "short", quantiles("stenoflow_stage_batch_tracks", "stage", (0.5, 0.95)), "Tracks in one step."),
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
]
