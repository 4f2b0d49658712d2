"""The rounds: every site tunes the same weights, the mean of their changes is what the next round begins with.

B. McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized data"; with changes
clipped at the sites and noise on their sum as in B. McMahan et al. 2018, "Learning differentially private recurrent
language models". A round that a site fails in changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg

from stenoflow.base.errors import ConfigError
from stenoflow_federated.exchange import description_of, take, weights_of
from stenoflow_trainer.bundle import based_on, served_chunk
from stenoflow_trainer.checkpoint import stored_student
from stenoflow_trainer.ctc_models import StudentCtc


def main(grid: Grid, context: Context) -> None:
    """All rounds; then the bundle is written, and beside it the weights to tune on from."""
    told = context.run_config
    weights, base, out = (Path(_named(told, name)) for name in ("weights", "base", "out"))
    sites, clip, chunk = int(told["sites"]), float(told["clip"]), served_chunk(base)
    student = stored_student(weights)
    based_on(base, out)
    described = description_of(
        student,
        chunk=chunk,
        clip=clip,
        epochs=float(told["epochs"]),
        rate=float(told["rate"]),
        **{"batch-seconds": float(told["batch-seconds"])},
    )
    strategy = DifferentialPrivacyClientSideFixedClipping(
        FedAvg(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites),
        noise_multiplier=float(told["noise"]),
        clipping_norm=clip,
        num_sampled_clients=sites,
    )
    result = strategy.start(
        grid,
        weights_of(student),
        num_rounds=int(told["rounds"]),
        timeout=float("inf"),
        train_config=described,
        evaluate_config=ConfigRecord(dict(described)),
    )
    if not result.arrays:
        raise ConfigError("rounds_failed", "no round had an answer of every site: their logs say why")
    take(student, result.arrays)
    StudentCtc(student, out.with_name(f"{out.name}.safetensors"), chunk).save(out)
    for number, heard in sorted(result.evaluate_metrics_clientapp.items()):
        tuned = result.train_metrics_clientapp.get(number)
        by = f"a site moved the weights by {tuned['moved']:.2f}" if tuned else "a site failed, so nothing changed"
        print(f"round {number}: WER {heard['wer']:.1f} %, CER {heard['cer']:.1f} % of what the sites keep apart; {by}")
    print(f"in {out}")


def _named(told: dict[str, bool | float | int | str], name: str) -> str:
    if not told[name]:
        raise ConfigError("rounds_unset", f"say where: --run-config '{name}=\"PATH\"'")
    return str(told[name])


app = ServerApp()
app.main()(main)
