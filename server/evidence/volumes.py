"""Bytes that a run will send: real messages, with drawn numbers for the trained ones.

A reply of the right shape is written in the run's own format, a drawn number for every
trained one, and put into a real message. Who lacks which updates when is followed
through all rounds.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import Message, MessageType, RecordDict

from ...protocols import seeds
from ...protocols.budgets import (
    budget,
    downlink,
    downlink_budget,
    fitted,
    uplink,
    usual,
)
from ...protocols.codec import Header, encode
from ...protocols.errors import ConfigError
from ...protocols.messages import (
    identify,
    metrics_content,
    plan_content,
    reply_content,
    to_bytes,
)
from ...protocols.plans import RoundPlan
from ...protocols.settings import Config
from ...protocols.vectors import Layout, TaskVector
from ...protocols.wires import AUTO
from .. import placements
from ..rosters import Roster
from ..runs import run_id

MOST = 1 << 21
"""Numbers of a reply that are drawn; of a larger one a like part is measured."""
SNAPSHOT = 0.7
"""Of the touched weights' bytes, what a snapshot of them takes."""

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMG]?)bit(?:/s)?")
_SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_TOLD = ("loss", "steps", "wire_energy", "wire_bits", "examples", "seconds")


def rate(text: str) -> float:
    """Bits a second from a text.

    Raises:
        ConfigError: it is none.

    Example:
        >>> rate("10Mbit"), rate("1.5 Gbit/s")
        (10000000.0, 1500000000.0)
    """
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ConfigError(f"{text!r} is no speed of a line, such as 10Mbit")
    return float(found[1]) * _SCALES[found[2]]


@dataclass(slots=True)
class Volume:
    """What travels of one client, all rounds together.

    Attributes:
        up: bytes to the server.
        down: bytes from it.
        reply: bytes of one reply.
        rounds: how often it is asked to train.
    """

    up: int = 0
    down: int = 0
    reply: int = 0
    rounds: int = 0


@dataclass(slots=True)
class Sizes:
    """What single messages take.

    Attributes:
        replies: of a reply, by client.
        update: of a merged update.
        plan: of a message that brings nothing but its plan.
        judged: of an evaluation's reply.
        touched: of the weights that updates change, as float32.
        asked: of the first question, and
        named: of the answer to it.
    """

    replies: Mapping[str, int]
    update: int
    plan: int
    judged: int
    touched: int
    asked: int = 0
    named: int = 0
    held: dict[str, int] = field(default_factory=dict)

    def lacking(self, client: str, version: int) -> int:
        """Bytes that bring a client to a version; it has it then."""
        count = version - self.held.get(client, 0)
        self.held[client] = version
        chain = count * self.update
        return min(chain, int(SNAPSHOT * self.touched)) if count > 1 else chain


def sizes(
    config: Config,
    replies: Mapping[str, Layout],
    update: Layout,
    touched: int,
    idle: Mapping[str, float] | None = None,
) -> Sizes:
    """Measure one message of each kind.

    Args:
        config: the run's.
        replies: the tensors of a reply, by client.
        update: the tensors of a merged update.
        touched: how many weights updates change.
        idle: by tensor, the share of it that no training moves.
    """
    identify(1, 1)
    still = idle or {}
    known: dict[tuple[str, int, Layout], int] = {}
    found: dict[str, int] = {}
    for name, layout in replies.items():
        text, most = uplink(config, name), budget(config, name)
        key = (text, most, layout)
        if key not in known:
            payload = _payload(config, layout, (text, most or usual(layout)), still)
            content = reply_content(b"", dict.fromkeys(_TOLD, 1.5))
            known[key] = payload + _size(Message(content, 2, MessageType.TRAIN))
        found[name] = known[key]
    layout = next(iter(replies.values()))
    name = "0" * 64
    plan = RoundPlan(
        run=run_id(config),
        round=1,
        client=next(iter(replies)),
        base=name,
        layout=layout.fingerprint,
        version=0,
        updates=(),
        recipe=config.merge.recipe,
        space=config.lora.space,
        wire=uplink(config, next(iter(replies))),
        feedback=config.wire.feedback,
        before=placements.before(config),
    )
    bare = _size(Message(plan_content(plan, ()), 2, MessageType.TRAIN))
    told = metrics_content({"loss": 1.5, "accuracy": 0.5, "examples": 9.0})
    judged = _size(Message(told, 2, MessageType.EVALUATE))
    most = downlink_budget(config) or usual(update)
    down = _payload(config, update, (downlink(config), most), still)
    one = replace(plan, version=1, updates=(name,))
    brought = _size(Message(plan_content(one, [b""]), 2, MessageType.TRAIN)) - bare
    asked = _size(Message(RecordDict(), 2, MessageType.QUERY))
    who = {"client": plan.client, "layout": name, "base": name}
    known_as = metrics_content(who | {"examples": 9.0, "validation": 0.0})
    named = _size(Message(known_as, 2, MessageType.QUERY))
    return Sizes(found, down + brought, bare, judged, 4 * touched, asked, named)


def followed(config: Config, roster: Roster, given: Sizes) -> dict[str, Volume]:
    """Every client's traffic through all rounds.

    Args:
        config: the run's.
        roster: who takes part.
        given: what single messages take.
    """
    found = {
        one.name: Volume(given.named, given.asked, given.replies[one.name])
        for one in roster
    }
    judging = config.eval.where in ("clients", "both")
    last, run = config.run.rounds, run_id(config)
    for number in range(last + 1):
        if number:
            for member in roster.sample(config, run, number):
                one = found[member.name]
                one.down += given.plan + given.lacking(member.name, number - 1)
                one.up += one.reply
                one.rounds += 1
        if judging and (number in (0, last) or number % config.eval.every == 0):
            for name, one in found.items():
                one.down += given.plan + given.lacking(name, number)
                one.up += given.judged
    return found


def _payload(
    config: Config,
    layout: Layout,
    form: tuple[str, int],
    idle: Mapping[str, float],
) -> int:
    """Bytes of a payload of this layout, in a format that has so much room."""
    text, most = form
    scale = max(1, math.ceil(layout.size / MOST))
    drawn = {}
    for name, size in zip(layout.names, layout.sizes, strict=True):
        count = max(1, size // scale)
        values = seeds.normal(seeds.key("plan", name), 0, count).astype(np.float32)
        values[round(count * (1 - idle.get(name, 0.0))) :] = 0
        drawn[name] = values
    vector = TaskVector.of(drawn)
    header = Header(
        run_id(config),
        1,
        "",
        "0" * 64,
        vector.layout.fingerprint,
        recipe=config.merge.recipe,
        seed=config.run.seed,
        wire=text,
    )
    if text == AUTO:
        return scale * len(fitted(vector, header, max(most // scale, 1 << 10)).data)
    return scale * len(encode(vector, text, header))


def _size(message: Message) -> int:
    return len(to_bytes(message))
