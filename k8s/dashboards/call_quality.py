"""What callers send, and how it is understood."""

from __future__ import annotations

from k8s.dashboards.panels import RATE, Panel, mean, quantiles, rate

TITLE = "Call quality"

PANELS = [
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
                f"{rate('stenoflow_features_speech_seconds_total')} / {rate('stenoflow_features_sound_seconds_total')}",
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
]
