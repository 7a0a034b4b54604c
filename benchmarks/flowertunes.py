"""Flower's own strategies over our clients' training, as FlowerTune does it.

One adapter lives on: the strategy averages its factors, A and B apart, and the head,
all as float32 arrays, and every client goes on from there. Data, seeds, batches, steps
and the schedule are those of a run of ours.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import (
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    Strategy,
)

from fedelta.aggregators import factors
from fedelta.benchmarks.trainings import Cohort
from fedelta.client.adapters import adapted
from fedelta.client.models import run_key
from fedelta.client.training import TorchTrainer, in_round
from fedelta.protocols import seeds
from fedelta.protocols.vectors import Floats
from fedelta.server.engine import InProcessGrid

Arrays = Mapping[str, Floats]


STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    "Flower FedAvg": FedAvg,
    "Flower FedProx(0.1)": partial(FedProx, proximal_mu=0.1),
    "Flower FedMedian": FedMedian,
    "Flower FedAdam(eta=0.01)": partial(FedAdam, eta=1e-2),
}
"""FedAdam with a tenth of Flower's own eta: the best of 0.1, 0.01 and 0.001 here."""


def tuned(cohort: Cohort, name: str) -> dict[str, float]:
    """A whole federation by one of Flower's strategies, all clients in every round.

    Returns:
        What the final model is worth, "bytes_up" and "bytes_down".
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    count = len(cohort.names)
    strategy = STRATEGIES[name](
        fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count
    )
    with tempfile.TemporaryDirectory() as home:
        states = {name: Path(home) / name for name in cohort.names}
        with InProcessGrid(states, {}, workers=0, app=_app(cohort)) as grid:
            first, rounds = _record(_first(cohort)), cohort.config.run.rounds
            result = strategy.start(grid, first, rounds)
            receipts = grid.receipts.values()
            sizes = {
                "bytes_up": float(sum(one.up for one in receipts)),
                "bytes_down": float(sum(one.down for one in receipts)),
            }
    arrays = _read(result.arrays)
    cohort.base.reset()
    found = cohort.judged(_update(cohort, arrays))
    return found | sizes


def _app(cohort: Cohort) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        given = message.content.config_records["config"]
        mu, number = given.get("proximal-mu", 0.0), given["server-round"]
        name = str(context.node_config["client"])
        arrays = _read(message.content.array_records["arrays"])
        own = _trained(cohort, name, int(str(number)), arrays, float(str(mu)))
        content = RecordDict({"arrays": _record(own)})
        count = len(cohort.task.split(name)[0])
        content["metrics"] = MetricRecord({"num-examples": count})
        return Message(content, reply_to=message)

    return app


def _trained(
    cohort: Cohort, name: str, number: int, arrays: Arrays, mu: float
) -> dict[str, Floats]:
    """A client's arrays after a round from the global ones."""
    config = in_round(cohort.config, number)
    config = replace(config, train=replace(config.train, prox_mu=mu))
    base, (own, _) = cohort.base, cohort.task.split(name)
    base.reset()
    base.fold(_dense(cohort, arrays))
    key = seeds.key("train", config.run.seed, number, name)
    with adapted(base, config, arrays) as adapter:
        TorchTrainer(config).train(adapter, own, key)
        held = adapter.parameters.items()
        return {name: one.detach().numpy().copy() for name, one in held}


def _first(cohort: Cohort) -> dict[str, Floats]:
    """A as our first round draws it, B at zero, and the head."""
    config, base = cohort.config, cohort.base
    base.reset()
    start = base.start(config, run_key(config), 1)
    with adapted(base, config, start) as adapter:
        held = adapter.parameters.items()
        return {name: one.detach().numpy().copy() for name, one in held}


def _paired(cohort: Cohort) -> set[str]:
    pairs = cohort.base.pairs(cohort.config)
    return {name for pair in pairs for name in (pair.a, pair.b)}


def _dense(cohort: Cohort, arrays: Arrays) -> dict[str, Floats]:
    """What whole tensors (the head) changed since the base."""
    origin, paired = cohort.base.origin(), _paired(cohort)
    return {n: one - origin[n] for n, one in arrays.items() if n not in paired}


def _update(cohort: Cohort, arrays: Arrays) -> dict[str, Floats]:
    """The adapter as a change of the base."""
    found = _dense(cohort, arrays)
    for pair in cohort.base.pairs(cohort.config):
        b, a = factors.names(pair.weight)
        found[b] = np.float32(pair.scaling) * arrays[pair.b]
        found[a] = arrays[pair.a]
    return found


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(one) for name, one in sorted(arrays.items())})


def _read(record: ArrayRecord) -> dict[str, Floats]:
    return {n: one.numpy().astype(np.float32) for n, one in record.items()}
