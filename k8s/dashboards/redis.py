"""The server that holds every log."""

from __future__ import annotations

from k8s.dashboards.panels import RATE, Panel, rate

TITLE = "Redis"

PANELS = [
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
]
