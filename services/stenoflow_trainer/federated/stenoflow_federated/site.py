"""A site's part in a round: it tunes what it is sent on its own calls, and sends back the weights, no more changed than
the rounds allow. Sound and texts stay where they are.

    flower-supernode --superlink HOST:8000 --node-config 'calls="/data/calls.tsv"' ...

The list is that of ``stenoflow-train fine-tune``; a tenth of its speakers are kept apart to measure by.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from stenoflow.base.errors import ConfigError
from stenoflow_federated.exchange import clipped, distance, student_of, weights_of
from stenoflow_trainer import data
from stenoflow_trainer.ctc_models import StudentCtc
from stenoflow_trainer.fine_tune import Plan, error_rates, fine_tune, split_own

SPLIT_SEED = 1
"""The same in all rounds: who is measured by is never learnt from."""


def train(message: Message, context: Context) -> Message:
    """One round of tuning."""
    told, before, calls = message.content["config"], message.content["arrays"], _calls(context)
    learnt_from, dev = split_own(data.read_own_manifest(calls), SPLIT_SEED)
    student = student_of(before, told)
    plan = Plan(told["epochs"], told["rate"], told["batch-seconds"], seed=told["server-round"])
    with tempfile.TemporaryDirectory() as folder:
        model = StudentCtc(student, Path(folder, "weights.safetensors"), told["chunk"])
        best = fine_tune(model, learnt_from, dev, calls.parent, plan, Path(folder, "run"))
    after = weights_of(student)
    # Every site counts as one: with weights by hours the noise would hide one that has most of them less.
    figures = MetricRecord({"num-examples": 1, "own-wer": best.dev_wer, "moved": distance(before, after)})
    sent = RecordDict({"arrays": clipped(before, after, told["clip"]), "metrics": figures})
    return Message(sent, reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    """How many words of the speakers kept apart are wrong."""
    told, weights, calls = message.content["config"], message.content["arrays"], _calls(context)
    _, dev = split_own(data.read_own_manifest(calls), SPLIT_SEED)
    with tempfile.TemporaryDirectory() as folder:
        model = StudentCtc(student_of(weights, told), Path(folder), told["chunk"])
        wer, cer = error_rates(model, dev, data.Shards(calls.parent))
    words = sum(len(one.text.split()) for one in dev)
    figures = MetricRecord({"num-examples": words, "wer": wer, "cer": cer})
    return Message(RecordDict({"metrics": figures}), reply_to=message)


def _calls(context: Context) -> Path:
    named = context.node_config.get("calls")
    if not isinstance(named, str):
        raise ConfigError("calls_unknown", "name the site's list of calls: --node-config 'calls=\"/data/calls.tsv\"'")
    return Path(named)


app = ClientApp()
app.train()(train)
app.evaluate()(evaluate)
