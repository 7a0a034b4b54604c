"""Honest and bad clients together merge to the bits of the honest ones alone."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Error, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.aggregators.base import Key
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.protocols import digests, seeds
from fedelta.protocols.codec import Context, encode
from fedelta.protocols.messages import (
    from_bytes,
    identify,
    plan_content,
    reply_content,
    to_bytes,
)
from fedelta.protocols.refusals import Reason, Refusal
from fedelta.protocols.vectors import TaskVector
from fedelta.server.admission import Admitted, Rules, admit
from fedelta.server.rosters import Member

from ..client.test_sending import plan
from ..protocols.forgeries import Forgery, put
from ..protocols.samples import SMALL, WIRES, context, header

identify(1, 1)
ASKED = Message(RecordDict(), 7, "train", group_id="1")
ASKED.metadata.__dict__["_message_id"] = "m1"
RULES = Rules(context(SMALL.layout, wire="auto", norm_cap=1.0), (), {})
Forge = Callable[[bytes], Any]


def vector_of(client: int) -> TaskVector:
    tensors = {}
    for name, shape in zip(SMALL.layout.names, SMALL.layout.shapes, strict=True):
        key = seeds.key("mixture", client, name)
        drawn = seeds.normal(key, 0, int(np.prod(shape))) * 1e-3
        tensors[name] = drawn.astype(np.float32).reshape(shape)
    return TaskVector.of(tensors)


def honest(client: int, text: str) -> bytes:
    given_ = vector_of(client)
    return encode(given_, text, header(given_.layout, client=f"c{client}"))


def content(data: bytes) -> RecordDict:
    return reply_content(data, {"loss": 1.0})


def forged(change: Callable[[Forgery], object]) -> Forge:
    def forge(data: bytes) -> RecordDict:
        forgery = Forgery.of(data)
        change(forgery)
        return content(forgery.data())

    return forge


def loud(data: bytes) -> RecordDict:
    """Far above the norm that is allowed, and else in order."""
    client = Forgery.of(data).metadata["client"]
    large = {n: t + np.float32(9) for n, t in SMALL.tensors.items()}
    return content(
        encode(TaskVector.of(large), "fp32", header(SMALL.layout, client=client))
    )


FORGES: dict[str, Forge] = {
    "error": lambda _: Error(1, "gone"),
    "nothing": lambda _: RecordDict(),
    "plan": lambda _: plan_content(plan(1), []),
    "empty": lambda _: content(b""),
    "cut": lambda data: content(data[: len(data) // 2]),
    "longer": lambda data: content(data + b"PK"),
    "other client": forged(lambda f: f.metadata.update(client="mallory")),
    "other round": forged(lambda f: f.metadata.update(round="2")),
    "other base": forged(lambda f: f.metadata.update(base="c" * 64)),
    "weight": forged(lambda f: f.metadata.update(weight=str(1 << 40))),
    "count": forged(lambda f: f.metadata.update(kept="1")),
    "first byte": forged(put(0, 0, 0x7F)),
    "scales": forged(lambda f: f.tensors.get("scales", np.zeros(1, np.int8)).fill(127)),
    "loud": loud,
}


def received(data: bytes, forge: Forge | None) -> Message:
    """A reply as it comes off the wire."""
    said = forge(data) if forge else content(data)
    return from_bytes(to_bytes(Message(said, reply_to=ASKED)))


def merge(found: dict[str, Admitted], text: str) -> str:
    arrivals = [
        Arrival(name, one.payload, one.payload.header.weight)
        for name, one in found.items()
    ]
    merged = merge_round(recipe(text), "full", arrivals, key=Key("00", 3))
    return digests.of_tensors(merged.update)


replies = st.tuples(st.sampled_from(WIRES), st.sampled_from([None, *FORGES]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(replies, min_size=1, max_size=7),
    st.sampled_from(["fedavg", "ties(density=0.5)", "median"]),
    st.randoms(use_true_random=False),
)
def test_mixtures(asked: list[tuple[str, str | None]], text: str, random: Any) -> None:
    order = list(enumerate(asked))
    random.shuffle(order)
    accepted: dict[str, Admitted] = {}
    refused: Counter[Reason] = Counter()
    for client, (wire, how) in order:
        data = honest(client, wire)
        member = Member(f"c{client}", 7, 70)
        found = admit(received(data, FORGES[how] if how else None), member, RULES)
        if isinstance(found, Refusal):
            assert how, found
            refused[found.reason] += 1
        elif how is None:
            accepted[member.name] = found
        else:  # a forgery that says the same, or something else that is in order
            assert how in ("first byte", "scales"), how
    good = {f"c{n}" for n, (_, how) in enumerate(asked) if how is None}
    assert accepted.keys() == good
    if not good:
        return
    alone: dict[str, Admitted] = {}
    for name in sorted(good):
        client = int(name[1:])
        member = Member(name, 7, 70)
        one = admit(received(honest(client, asked[client][0]), None), member, RULES)
        assert isinstance(one, Admitted)
        alone[name] = one
    assert merge(accepted, text) == merge(alone, text)


def test_every_forgery_is_refused_by_name() -> None:
    for how, forge in FORGES.items():
        found = admit(received(honest(0, "fp16"), forge), Member("c0", 7, 70), RULES)
        assert isinstance(found, Refusal) or how == "first byte", how
    assert Context(SMALL.layout, "00", 1, "ff").limit < 1 << 20
