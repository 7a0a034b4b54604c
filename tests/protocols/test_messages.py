"""Records from others: what is read, and what is refused by which name."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.protocols import digests, messages
from fedelta.protocols.errors import PayloadError
from fedelta.protocols.messages import METRICS, PAYLOAD, PLAN, STYPE, TEXTS, UPDATES
from fedelta.protocols.plans import PROTOCOL, RoundPlan
from fedelta.protocols.refusals import Reason, Refusal

Record = ArrayRecord | MetricRecord | ConfigRecord
SENT = [b"first update", b"second"]


def plan(updates: list[bytes]) -> RoundPlan:
    names = tuple(digests.of_bytes(one) for one in updates)
    return RoundPlan(
        run="00ff" * 4,
        round=2,
        client="ann",
        base="b" * 64,
        layout="c" * 64,
        version=2,
        updates=names,
        recipe="fedavg()",
        space="product",
        wire="sign256",
        feedback=True,
        before="server",
    )


def blob(data: bytes = b"abc", **changes: Any) -> Array:
    given_: dict[str, Any] = {
        "dtype": "uint8",
        "shape": (len(data),),
        "stype": STYPE,
        "data": data,
    }
    return Array(**(given_ | changes))


def reply(array: Array | None = None) -> RecordDict:
    return RecordDict({PAYLOAD: ArrayRecord({"payload": array or blob()})})


def also(content: RecordDict, name: str, record: Record) -> RecordDict:
    content[name] = record
    return content


@pytest.mark.parametrize("updates", [[], SENT])
def test_plans(updates: list[bytes]) -> None:
    messages.identify(7, 1)
    sent = Message(messages.plan_content(plan(updates), updates), 9, "train")
    got = messages.from_bytes(messages.to_bytes(sent))
    assert messages.read_plan(got.content) == (plan(updates), updates)
    assert messages.to_bytes(got) == messages.to_bytes(sent)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({PLAN: MetricRecord({"plan": 1})}),
        RecordDict({PLAN: ConfigRecord({"plan": 1})}),
        RecordDict({PLAN: ConfigRecord({"plan": "{}"})}),
        messages.plan_content(plan(SENT), SENT[:1]),
        messages.plan_content(plan(SENT), SENT[::-1]),
        messages.plan_content(plan([]), SENT),
        also(messages.plan_content(plan([]), []), "more", MetricRecord()),
        also(messages.plan_content(plan([]), []), UPDATES, MetricRecord()),
        *(
            messages.plan_content(replace(plan([]), run=run), [])
            for run in ("", "..", "../00ff", "00ff/1", "/00ff", "00ff\n", "0" * 17)
        ),
    ],
)
def test_no_plans(content: RecordDict) -> None:
    with pytest.raises(PayloadError):
        messages.read_plan(content)


def test_another_protocol() -> None:
    content = messages.plan_content(plan([]), [])
    said = str(content[PLAN]["plan"])
    text = said.replace(f'"protocol":{PROTOCOL}', '"protocol":99')
    assert text != said
    with pytest.raises(PayloadError, match="install the same fedelta version"):
        messages.read_plan(RecordDict({PLAN: ConfigRecord({"plan": text})}))


def test_replies() -> None:
    metrics = {"loss": 1.5, "examples": 70.0}
    content = messages.reply_content(b"payload", metrics)
    assert messages.read_reply(content) == (b"payload", metrics)
    assert messages.read_reply(reply()) == (b"abc", {})


RECORDS: dict[str, tuple[RecordDict, Reason]] = {
    "nothing": (RecordDict(), Reason.MISSING_PAYLOAD),
    "numbers only": (RecordDict({METRICS: MetricRecord()}), Reason.MISSING_PAYLOAD),
    "no array": (RecordDict({PAYLOAD: ArrayRecord()}), Reason.MISSING_PAYLOAD),
    "array of another name": (
        RecordDict({PAYLOAD: ArrayRecord({"w": blob()})}),
        Reason.MISSING_PAYLOAD,
    ),
    "second payload": (
        RecordDict({PAYLOAD: ArrayRecord({"payload": blob(), "more": blob()})}),
        Reason.UNEXPECTED_RECORD,
    ),
    "another record": (
        also(reply(), "more", ArrayRecord({"payload": blob()})),
        Reason.UNEXPECTED_RECORD,
    ),
    "texts": (
        also(reply(), TEXTS, ConfigRecord({"secret": "x"})),
        Reason.UNEXPECTED_RECORD,
    ),
    "payload no arrays": (
        RecordDict({PAYLOAD: ConfigRecord({"payload": b"abc"})}),
        Reason.BAD_OBJECT,
    ),
    "numbers no numbers": (
        also(reply(), METRICS, ConfigRecord({"loss": "x"})),
        Reason.BAD_OBJECT,
    ),
    "numpy array": (
        reply(Array(np.zeros(3, np.float32))),
        Reason.BAD_OBJECT,
    ),
    "huge npy shape": (
        reply(blob(b"x", dtype="float32", shape=(1 << 33,), stype="numpy.ndarray")),
        Reason.BAD_OBJECT,
    ),
    "huge shape": (reply(blob(shape=(1 << 35,))), Reason.BAD_OBJECT),
    "two dimensions": (reply(blob(shape=(1, 3))), Reason.BAD_OBJECT),
    "stype of the future": (
        reply(blob(stype="fedelta.payload.v2")),
        Reason.BAD_VERSION,
    ),
    "floats": (reply(blob(dtype="float32")), Reason.BAD_DTYPE),
    "objects": (reply(blob(dtype="object")), Reason.BAD_DTYPE),
    "too large": (reply(blob(bytes(2000))), Reason.INFLATED_SIZE),
    "NaN loss": (
        also(reply(), METRICS, MetricRecord({"loss": math.nan})),
        Reason.NON_FINITE,
    ),
    "infinite loss": (
        also(reply(), METRICS, MetricRecord({"loss": -math.inf})),
        Reason.BAD_OBJECT,
    ),
    "list": (
        also(reply(), METRICS, MetricRecord({"loss": [1.0]})),
        Reason.BAD_OBJECT,
    ),
    "huge integer": (
        also(reply(), METRICS, MetricRecord({"n": 1 << 63})),
        Reason.BAD_OBJECT,
    ),
    "many numbers": (
        also(reply(), METRICS, MetricRecord({str(i): i for i in range(200)})),
        Reason.BAD_OBJECT,
    ),
    "long name": (
        also(reply(), METRICS, MetricRecord({"n" * 500: 1})),
        Reason.BAD_OBJECT,
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_refused(name: str) -> None:
    content, reason = RECORDS[name]
    found = messages.read_reply(content, max_bytes=1000)
    assert isinstance(found, Refusal)
    assert found.reason == reason


def test_metrics() -> None:
    given_: dict[str, float | int | str] = {
        "accuracy": 0.5,
        "examples": 3,
        "client": "ann",
    }
    content = messages.metrics_content(given_)
    assert messages.read_metrics(content) == given_
    assert messages.read_metrics(RecordDict()) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (reply(), Reason.UNEXPECTED_RECORD),
        (RecordDict({TEXTS: MetricRecord()}), Reason.BAD_OBJECT),
        (RecordDict({TEXTS: ConfigRecord({"a": b"x"})}), Reason.BAD_OBJECT),
        (RecordDict({TEXTS: ConfigRecord({"a": "x" * 5000})}), Reason.BAD_OBJECT),
        (RecordDict({METRICS: MetricRecord({"a": math.nan})}), Reason.NON_FINITE),
    ],
)
def test_metrics_refused(content: RecordDict, reason: Reason) -> None:
    found = messages.read_metrics(content)
    assert isinstance(found, Refusal)
    assert found.reason == reason


def test_errors_travel() -> None:
    messages.identify(7, 1)
    asked = Message(RecordDict(), 9, "train")
    got = messages.from_bytes(
        messages.to_bytes(Message(Error(3, "no"), reply_to=asked))
    )
    assert got.has_error()
    assert (got.error.code, got.error.reason) == (3, "no")


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
@settings(deadline=None)
def test_broken_messages(noise: bytes, at: int, code: int) -> None:
    """Bytes of a message are read or refused; what is read ends in a verdict."""
    messages.identify(7, 1)
    whole = bytearray(messages.to_bytes(Message(reply(), 9, "train")))
    whole[at % len(whole)] = code
    for data in (noise, bytes(whole), bytes(whole[: at % len(whole)])):
        try:
            got = messages.from_bytes(data)
        except PayloadError:
            continue
        if got.has_content():
            assert isinstance(messages.read_reply(got.content), tuple | Refusal)
            assert isinstance(messages.read_metrics(got.content), dict | Refusal)
