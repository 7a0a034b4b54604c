"""Comparisons for a simulation: a model trained without the federation, as long.

One adapter and one optimiser from the base model, for all rounds' steps together, on
one client's data or on everybody's, judged on the global test set.
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import seeds
from ..protocols.errors import ConfigError
from . import training
from .adapters import adapted
from .data import Examples, Task
from .evaluation import evaluate
from .models import run_key
from .sessions import Session
from .trainers import trainer

if TYPE_CHECKING:
    from flwr.app import RecordDict

OWN, ALL = "own", "all"
RECORD = "fedelta.alone"


def question(data: str, rounds: int = 0) -> "RecordDict":
    """The content of a ``train.alone`` message.

    Args:
        data: whose data is trained on: the client's "own", or "all" of it.
        rounds: as long as so many rounds; 0: as the run was to have.
    """
    from flwr.app import ConfigRecord, RecordDict

    return RecordDict({RECORD: ConfigRecord({"data": data, "rounds": rounds})})


def asked(content: "RecordDict") -> tuple[str, int]:
    """What a ``train.alone`` message asks for: "own" where it does not say.

    Returns:
        Whose data, and how many rounds' steps; 0: as the run was to have.

    Raises:
        ConfigError: neither "own" nor "all", or no number of rounds.
    """
    said: Any = content.get(RECORD, {})
    data, rounds = str(said.get("data", OWN)), said.get("rounds", 0)
    if data not in (OWN, ALL) or not isinstance(rounds, int) or rounds < 0:
        raise ConfigError("train.alone is asked with data = own or data = all")
    return data, rounds


def alone(
    session: Session,
    client: str,
    data: str,
    rounds: int = 0,
    on: Examples | None = None,
) -> dict[str, float]:
    """Train alone and judge.

    Args:
        session: task and base; the base is as it was afterwards.
        client: who trains.
        data: "own" or "all".
        rounds: as long as so many rounds; 0: as the run was to have.
        on: examples to judge on; None: the global test set.

    Returns:
        Metrics of `evaluate`, "train_loss" and "seconds".

    Raises:
        ConfigError: there is nothing to judge on.
    """
    base = session.base
    config = session.config if data == ALL else session.config.of(client)
    judging = session.task.test if on is None else on
    if not len(judging):
        raise ConfigError(
            "without a global test set (data.test) nothing can be compared"
        )
    begun = time.monotonic()
    base.reset()
    own = everyone(session.task) if data == ALL else session.task.split(client)[0]
    key = seeds.key("alone", config.run.seed, ALL if data == ALL else client)
    each = range(1, (rounds or config.run.rounds) + 1)
    steps = sum(config.train.steps_in(number) for number in each)
    with adapted(base, config, base.start(config, run_key(config), 1)) as adapter:
        trained = trainer(training.alone(config), steps).train(adapter, own, key)
        found = evaluate(base, judging, config)
    seconds = time.monotonic() - begun
    return found | {"train_loss": trained["loss"], "seconds": seconds}


def everyone(task: Task) -> Examples:
    """All clients' training examples in one."""
    parts = [task.split(name)[0] for name in task.clients]
    return Examples(
        tuple(text for part in parts for text in part.texts),
        np.concatenate([part.labels for part in parts]),
    )
