"""Is a reply good for this round? Each one is judged whole, before anything is added.

A refusal has a reason (REFUSALS of the protocol), is counted and recorded, and ends
neither the round nor touches what is merged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Message

from ..aggregators.furthers import is_further
from ..aggregators.products import Subset, stacks
from ..aggregators.products import length as products_length
from ..aggregators.transforms import length
from ..protocols.codec import Context, Payload, decode
from ..protocols.errors import BoundsError
from ..protocols.messages import read_reply
from ..protocols.refusals import Reason, Refusal
from ..protocols.vectors import Floats, Pair
from .rosters import Member


@dataclass(frozen=True, slots=True)
class Rules:
    """What all replies of one round are held to.

    Attributes:
        context: what the decoder checks against.
        pairs: which tensors are low-rank pairs.
        start: A at the round's start, by name.
        norm_cap: the largest norm of a change, in units of the weights; 0: none.
        applied: the recipe's transforms that clients applied, as texts.
    """

    context: Context
    pairs: Sequence[Pair]
    start: Mapping[str, Floats]
    norm_cap: float = 0.0
    applied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A reply that is good to be merged.

    Attributes:
        data: its payload as received.
        payload: its validated view.
        norm: L2 norm of the change of the weights (of products, not of factors).
        metrics: what the client told beside it.
    """

    data: bytes
    payload: Payload
    norm: float
    metrics: Mapping[str, float]


def admit(message: Message, member: Member, rules: Rules) -> Admitted | Refusal:
    """Judge one reply of one member."""
    if message.has_error():
        return Refusal(Reason.CLIENT_ERROR, message.error.reason or "no reason given")
    said = read_reply(message.content)
    if isinstance(said, Refusal):
        return said
    data, metrics = said
    payload = judge(data, member, rules)
    if isinstance(payload, Refusal):
        return payload
    try:
        norm = weight_norm(payload, rules.pairs, rules.start)
    except BoundsError as error:
        return Refusal(Reason.NON_FINITE, str(error))
    if not math.isfinite(norm) or (rules.norm_cap and norm > rules.norm_cap):
        return Refusal(Reason.NORM_CAP, f"norm {norm:.6g}, cap {rules.norm_cap:.6g}")
    return Admitted(data, payload, norm, metrics)


def judge(data: Any, member: Member, rules: Rules) -> Payload | Refusal:
    """Judge the bytes of one reply."""
    context = replace(rules.context, client=member.name, max_weight=member.examples)
    return decode(data, context)


def weight_norm(
    payload: Payload, pairs: Sequence[Pair], start: Mapping[str, Floats]
) -> float:
    """L2 norm of what a reply changes in the weights.

    A pair changes its weight by ``s B (A0 + dA)``; its norm follows from two r x r
    products, so rescaling the factors inside the product changes nothing. Without
    pairs it is the payload's own, which was taken as it was validated.

    Raises:
        BoundsError: a factor, with what it starts from, is not finite.
    """
    names = [name for name in payload.layout.names if not is_further(name)]
    if not pairs and len(names) == len(payload.layout.names):
        return payload.norm
    held = stacks(payload, pairs, start)
    paired = {name for pair in pairs for name in (pair.a, pair.b)}
    rest = [name for name in names if name not in paired]
    return math.hypot(products_length(held), length(Subset(payload, rest)))
