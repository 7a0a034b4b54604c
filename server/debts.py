"""What one round leaves to the next: the optimiser's state, and what was cut off."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..aggregators import factors
from ..aggregators.furthers import is_further
from ..aggregators.outer import optimizer
from ..aggregators.recipes import recipe
from ..aggregators.spaces import Merged
from ..protocols.settings import Lora
from ..protocols.vectors import Floats
from .sessions import Session

Tensors = Mapping[str, Floats]
States = dict[str, dict[str, Any]]
Halves = tuple[Floats, Floats, Floats, Floats]


def stepped(
    session: Session, merged: Merged, present: float
) -> tuple[dict[str, Floats], States]:
    """What is sent, after the server's optimiser, and what the next step needs.

    What is merged beside changes is no step: control variates are a mean over all
    clients, and those that did not answer leave theirs as they are.
    """
    states: States = {"carry": dict(merged.carry)}
    update = dict(merged.update)
    beside = {name: update.pop(name) for name in merged.update if is_further(name)}
    text = session.config.merge.server_optimizer
    if text:
        update, states["outer"] = optimizer(text).step(
            update, session.states.get("outer", {})
        )
    update |= {name: np.float32(present) * one for name, one in beside.items()}
    for name, rest in session.states.get("owed", {}).items():
        update[name] = np.add(update[name], rest, out=_room(update[name], text))
    return update, states


def _room(value: Floats, optimizer: str) -> Floats | None:
    """Where a value's successor may be put: in its place, if nobody else has it."""
    return value if value.flags.writeable and not optimizer else None


def owed(session: Session, states: States, wanted: Tensors, sent: Tensors) -> None:
    """Add what the format down cut off to what the next round carries.

    A pair's error is that of its product: two more stacked pairs, or a dense matrix,
    whichever is carried. In the space of factors pairs are not made up for.

    Args:
        session: the run.
        states: what `stepped` gave; it is added to.
        wanted: the update as it was to travel; some of it is written over.
        sent: as it travels.
    """
    if not session.config.wire.feedback:
        return
    text = session.config.merge.server_optimizer
    behind = optimizer(text).rest if text else ""  # a remainder of the optimiser's own
    stacked = recipe(session.config.merge.recipe).stacked
    kind = behind or ("stack" if stacked else "dense")
    carried = states["outer" if behind else "carry"]
    rest: dict[str, Floats] = {}
    for name in wanted:
        if name.endswith(factors.A_NAME):
            continue
        if not name.endswith(factors.B_NAME) or _alone(session.config.lora):
            value = wanted[name]  # it has travelled: what is left goes in its place
            rest[name] = np.subtract(value, sent[name], out=_room(value, text))
        elif session.config.lora.space == "product":
            module = name.removesuffix(factors.B_NAME)
            a = module + factors.A_NAME
            halves = (wanted[name], wanted[a], sent[name], sent[a])
            if kind == "stack":
                stem = f"{module}|rest." if behind else f"{module}.weight|"
                _stack(carried, (f"{stem}b", f"{stem}a"), halves)
            else:
                whole = f"{module}|rest" if behind else f"{module}.weight|dense"
                _sum(carried, whole, halves)
    states["owed"] = rest


def _alone(lora: Lora) -> bool:
    """Whether B is all there is of a product: A is frozen, and the same for good."""
    return lora.space == "frozen-a" and lora.init == "run"


def _stack(carry: dict[str, Any], names: tuple[str, str], halves: Halves) -> None:
    b, a, sent_b, sent_a = halves
    left, right = names
    bs = [carry[left]] if left in carry else []
    as_ = [carry[right]] if right in carry else []
    carry[left] = np.concatenate([*bs, b, -sent_b], axis=1)
    carry[right] = np.concatenate([*as_, a, sent_a], axis=0)


def _sum(carry: dict[str, Any], name: str, halves: Halves) -> None:
    b, a, sent_b, sent_a = halves
    rest = b.astype(np.float64) @ a - sent_b.astype(np.float64) @ sent_a
    carry[name] = (carry.get(name, np.float32(0)) + rest).astype(np.float32)
