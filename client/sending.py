"""From what training changed to the bytes of a reply."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..aggregators.base import Key
from ..aggregators.furthers import is_further
from ..aggregators.products import tensor
from ..aggregators.recipes import recipe
from ..protocols.budgets import budget, written
from ..protocols.codec import Context, Header, decode
from ..protocols.errors import BoundsError
from ..protocols.plans import RoundPlan
from ..protocols.refusals import Refusal
from ..protocols.settings import Config
from ..protocols.vectors import Contribution, Floats, Layout, TaskVector
from ..protocols.wires import wire
from .stores import Feedback, carried

_SELECTS, _BOUNDS = ("trim(", "trim_vector("), ("clip(",)
"""What leaves values out that may be sent later, and what bounds their size."""


def feeds_back(plan: RoundPlan, config: Config) -> bool:
    """Whether this client keeps what the format takes away.

    Not where A is drawn anew each round (an old residual would be of another A), nor
    where values are rescaled (to be right on average, or by a recipe's own transform).
    """
    rescaled = wire(plan.wire).gain != 1.0
    if plan.before == "client":
        owed = (*_SELECTS, *_BOUNDS)
        parts = recipe(plan.recipe).before
        rescaled |= not all(one.text.startswith(owed) for one in parts)
    lasting = config.train.mode == "full" or config.lora.init == "run"
    return plan.feedback and lasting and not rescaled


@dataclass(frozen=True, slots=True)
class Reply:
    """One round's reply.

    Attributes:
        data: the payload.
        metrics: "wire_energy", the share of what was to be sent that the receiver gets
            (1 minus the squared relative error), and "wire_bits", bits an element.
        further: what the server reads of the tensors beside the change.
    """

    data: bytes
    metrics: dict[str, float]
    further: dict[str, Floats]


def reply(
    change: dict[str, Floats],
    plan: RoundPlan,
    config: Config,
    folder: Path,
    base: str,
    weight: int,
) -> Reply:
    """Write one reply; with feedback, store what the format took away.

    Args:
        change: what training changed, by name, in the plan's layout.
        plan: run, round, format, and which reply was accepted last.
        config: the run's.
        folder: where this client keeps its state of this run.
        base: digest of the base model before any update.
        weight: how many examples this client counts for.

    Returns:
        The payload, and how well it does.

    Raises:
        BoundsError: the change is not finite, does not fit its budget, or cannot be
            written in this format.
    """
    for name, value in change.items():
        if not np.isfinite(value).all():
            raise BoundsError("training left values that are not finite", tensor=name)
    keeps = feeds_back(plan, config)
    store = Feedback(folder, plan, base)
    whole = carried(change, store.committed(plan.accepted)) if keeps else change
    bounded, before = prepared(TaskVector.of(whole), plan)
    said, most = header(plan, config, weight), budget(config, plan.client)
    data = written(before, plan.wire, said, most)
    sent = _decoded(data, before.layout, plan, weight)
    if keeps:
        owed = [name for name in whole if not is_further(name)]
        rest = {name: tensor(bounded, name) - sent[name] for name in owed}
        store.keep(plan.round, rest)
    bits = 8 * len(data) / max(before.layout.size, 1)
    further = {name: one for name, one in sent.items() if is_further(name)}
    told = {"wire_energy": _energy(before, sent), "wire_bits": bits}
    return Reply(data, told, further)


def _energy(wanted: Contribution, sent: dict[str, Floats]) -> float:
    total = missed = 0.0
    for name, found in sent.items():
        whole = tensor(wanted, name).astype(np.float64)
        total += float(np.square(whole).sum())
        missed += float(np.square(whole - found).sum())
    return 1 - missed / total if total else 1.0


def prepared(
    vector: Contribution, plan: RoundPlan
) -> tuple[Contribution, Contribution]:
    """A change as the recipe's own transforms leave it, where the client applies them.

    Returns:
        What the residual is counted from, and what is sent. What a trim leaves out is
        owed, like what the format takes away; what a clip cuts off is not.
    """
    bounded = vector
    if plan.before == "client":
        key = Key(plan.run, plan.round, plan.client)
        for transform in recipe(plan.recipe).before:
            vector = transform.apply(vector, key)
            if transform.text.startswith(_BOUNDS):
                bounded = vector
    return bounded, vector


def header(plan: RoundPlan, config: Config, weight: int) -> Header:
    """What a reply says of itself."""
    return Header(
        run=plan.run,
        round=plan.round,
        client=plan.client,
        base=plan.base,
        layout=plan.layout,
        recipe=plan.recipe,
        seed=config.run.seed,
        weight=weight,
        wire=plan.wire,
    )


def _decoded(
    data: bytes, layout: Layout, plan: RoundPlan, weight: int
) -> dict[str, Floats]:
    """What the server will read."""
    context = Context(
        layout=layout,
        run=plan.run,
        round=plan.round,
        client=plan.client,
        base=plan.base,
        wire=plan.wire,
        max_weight=weight,
    )
    payload = decode(data, context)
    if isinstance(payload, Refusal):
        raise BoundsError(f"the reply cannot be written as {plan.wire}: {payload}")
    return dict(payload.tensors())
