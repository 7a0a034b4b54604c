"""Plans, payloads and numbers as Flower's records, and messages as bytes.

A payload is one ``uint8`` array in an `ArrayRecord`; beside it stand at most one
`MetricRecord` with numbers and, in replies without a payload, one `ConfigRecord` with
texts. What a client wrote is read by functions that return a `Refusal` and raise
nothing. Nothing else in this folder imports flwr.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as Wired
from flwr.supercore import telemetry as calls
from flwr.supercore.task_identity import TaskIdentity

from . import digests
from .errors import ConfigError, PayloadError
from .plans import RoundPlan
from .refusals import Reason, Refusal, RefusedError, refuse

# Flower read its environment when it was imported, which may be before ours was set.
calls.FLWR_TELEMETRY_ENABLED = os.environ["FLWR_TELEMETRY_ENABLED"]

Metric: TypeAlias = float | int | str

PLAN = "fedelta.plan"
UPDATES = "fedelta.updates"
PAYLOAD = "fedelta.payload"
METRICS = "fedelta.metrics"
TEXTS = "fedelta.texts"
SIGNED = "fedelta.signed"
PARCEL, BLOBS = "fedelta.parcel", "fedelta.blobs"
STYPE = "fedelta.payload.v1"

MOST = 128
"""Numbers, and texts, that a reply may have."""
LONGEST_NAME, LONGEST_TEXT = 128, 4096
_LARGEST = 1 << 62

Signed: TypeAlias = tuple[str, str]
"""An institution's public key and its signature, hex."""

_Record = TypeVar("_Record", ArrayRecord, MetricRecord, ConfigRecord)


def plan_content(plan: RoundPlan, updates: Sequence[bytes]) -> RecordDict:
    """What the server asks of one client.

    Args:
        plan: the plan.
        updates: the payloads that bring the client up to date, oldest first.
    """
    content = RecordDict({PLAN: ConfigRecord({"plan": plan.to_json()})})
    if updates:
        arrays = {f"{at:04d}": _blob(update) for at, update in enumerate(updates)}
        content[UPDATES] = ArrayRecord(arrays)
    return content


def read_plan(content: RecordDict) -> tuple[RoundPlan, list[bytes]]:
    """The plan, and the updates that it names.

    Raises:
        PayloadError: no plan, one of another protocol version, or other updates than
            it names.
    """
    try:
        _known(content, {PLAN, UPDATES, PARCEL, BLOBS})
        text = _record(content, PLAN, ConfigRecord).get("plan")
        if not isinstance(text, str):
            refuse(Reason.BAD_OBJECT, "the plan is no text")
        plan = RoundPlan.from_json(text)
        arrays = _record(content, UPDATES, ArrayRecord) if UPDATES in content else {}
        updates = [_bytes(arrays[name]) for name in sorted(arrays)]
    except RefusedError as error:
        raise PayloadError(f"not a round's message: {error.refusal}") from None
    if tuple(map(digests.of_bytes, updates)) != plan.travelling:
        raise PayloadError("the updates are not those that the plan names")
    return plan, updates


def add_parcel(content: RecordDict, text: str, blobs: Sequence[bytes]) -> RecordDict:
    """Put a text and bytes of a step beside what a message holds; gives it back."""
    content[PARCEL] = ConfigRecord({"parcel": text})
    if blobs:
        arrays = {f"{at:04d}": _blob(one) for at, one in enumerate(blobs)}
        content[BLOBS] = ArrayRecord(arrays)
    return content


def read_parcel(content: RecordDict) -> tuple[str, list[bytes]] | Refusal:
    """What `add_parcel` put there."""
    try:
        _known(content, {PLAN, UPDATES, PARCEL, BLOBS})
        text = _record(content, PARCEL, ConfigRecord).get("parcel")
        if not isinstance(text, str):
            refuse(Reason.BAD_OBJECT, "the parcel is no text")
        arrays = _record(content, BLOBS, ArrayRecord) if BLOBS in content else {}
        return text, [_bytes(arrays[name]) for name in sorted(arrays)]
    except RefusedError as error:
        return error.refusal


def reply_content(
    payload: bytes, metrics: Mapping[str, float], signed: Signed | None = None
) -> RecordDict:
    """What a client replies with after training.

    Args:
        payload: what `codec.encode` gave.
        metrics: finite numbers by name.
        signed: the institution's key and what it signed (`chains.contribution`).
    """
    content = RecordDict(
        {
            PAYLOAD: ArrayRecord({"payload": _blob(payload)}),
            METRICS: MetricRecord(dict(metrics)),
        }
    )
    if signed is not None:
        told = {"signer": signed[0], "signature": signed[1]}
        content[SIGNED] = ConfigRecord(dict(told))
    return content


def read_signed(content: RecordDict) -> Signed | Refusal | None:
    """Who signed a reply, and the signature; None where nobody did."""
    if SIGNED not in content:
        return None
    try:
        texts = _record(content, SIGNED, ConfigRecord)
        if texts.keys() != {"signer", "signature"}:
            refuse(Reason.BAD_OBJECT, "a signature and its signer belong together")
        told = [texts["signer"], texts["signature"]]
        if any(not isinstance(one, str) or len(one) > LONGEST_NAME for one in told):
            refuse(Reason.BAD_OBJECT, "a signature that is no short text")
    except RefusedError as error:
        return error.refusal
    return str(told[0]), str(told[1])


def read_reply(
    content: RecordDict, max_bytes: int = 0
) -> tuple[bytes, dict[str, float]] | Refusal:
    """A reply's payload, not yet decoded, and its numbers.

    Args:
        content: what the client wrote.
        max_bytes: the largest payload; 0: any.
    """
    try:
        _known(content, {PAYLOAD, METRICS, SIGNED})
        if PAYLOAD not in content:
            refuse(Reason.MISSING_PAYLOAD, "no payload")
        arrays = _record(content, PAYLOAD, ArrayRecord)
        if len(arrays) > 1:
            refuse(Reason.UNEXPECTED_RECORD, "a second payload")
        if "payload" not in arrays:
            refuse(Reason.MISSING_PAYLOAD, "no payload")
        data = _bytes(arrays["payload"], max_bytes)
        numbers = _numbers(content)
    except RefusedError as error:
        return error.refusal
    return data, {name: float(value) for name, value in numbers.items()}


def metrics_content(metrics: Mapping[str, Metric]) -> RecordDict:
    """Numbers and short texts by name, as an evaluation or a query replies."""
    texts = {name: one for name, one in metrics.items() if isinstance(one, str)}
    numbers = {name: one for name, one in metrics.items() if not isinstance(one, str)}
    content = RecordDict({METRICS: MetricRecord(dict(numbers))})
    if texts:
        content[TEXTS] = ConfigRecord(dict(texts))
    return content


def read_metrics(content: RecordDict) -> dict[str, Metric] | Refusal:
    """What `metrics_content` held."""
    try:
        _known(content, {METRICS, TEXTS})
        metrics: dict[str, Metric] = dict(_numbers(content))
        if TEXTS in content:
            texts = _record(content, TEXTS, ConfigRecord)
            _bounded(texts)
            for name, text in texts.items():
                if not isinstance(text, str) or len(text) > LONGEST_TEXT:
                    refuse(Reason.BAD_OBJECT, f"{name} is no short text")
                metrics[name] = text
    except RefusedError as error:
        return error.refusal
    return metrics


def to_bytes(message: Message) -> bytes:
    """A message as Flower itself writes it (protobuf)."""
    return bytes(message_to_proto(message).SerializeToString(deterministic=True))


def from_bytes(data: bytes) -> Message:
    """A message from its bytes.

    Raises:
        PayloadError: not a message.
    """
    try:
        return message_from_proto(Wired.FromString(data))
    except Exception as error:  # noqa: BLE001 - whatever broken bytes raise in flwr
        raise PayloadError(f"not a message: {type(error).__name__}") from None


def config_text(run_config: Mapping[str, object]) -> str:
    """The settings' text in Flower's run configuration.

    Raises:
        ConfigError: there is none.
    """
    text = run_config.get("config")
    if not isinstance(text, str):
        raise ConfigError("the run configuration holds no `config`")
    return text


def identify(run_id: int, node_id: int) -> None:
    """Say on whose behalf this process makes messages; Flower refuses without."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def _blob(data: bytes) -> Array:
    return Array(dtype="uint8", shape=(len(data),), stype=STYPE, data=data)


def _bytes(array: Array, max_bytes: int = 0) -> bytes:
    if array.stype != STYPE:
        ours = array.stype.startswith("fedelta.payload.")
        reason = Reason.BAD_VERSION if ours else Reason.BAD_OBJECT
        refuse(reason, f"an array of type {array.stype[:40]!r}")
    if array.dtype != "uint8":
        refuse(Reason.BAD_DTYPE, f"an array of {array.dtype[:40]!r}")
    if max_bytes and len(array.data) > max_bytes:
        refuse(Reason.INFLATED_SIZE, f"{len(array.data)} bytes")
    if tuple(array.shape) != (len(array.data),):
        refuse(Reason.BAD_OBJECT, "its shape is not its size")
    return array.data


def _known(content: RecordDict, names: set[str]) -> None:
    for name in content:
        if name not in names:
            refuse(Reason.UNEXPECTED_RECORD, f"a record {name[:40]!r}")


def _record(content: RecordDict, name: str, kind: type[_Record]) -> _Record:
    found: Any = content.get(name)
    if not isinstance(found, kind):
        refuse(Reason.BAD_OBJECT, f"{name} is no {kind.__name__}")
    return found


def _bounded(record: Mapping[str, Any]) -> None:
    if len(record) > MOST or any(len(name) > LONGEST_NAME for name in record):
        refuse(Reason.BAD_OBJECT, "too many values, or too long a name")


def _numbers(content: RecordDict) -> dict[str, float | int]:
    if METRICS not in content:
        return {}
    record = _record(content, METRICS, MetricRecord)
    _bounded(record)
    numbers: dict[str, float | int] = {}
    for name, value in record.items():
        if isinstance(value, list) or abs(value) > _LARGEST:
            refuse(Reason.BAD_OBJECT, f"{name} is no number of use")
        if not math.isfinite(value):
            refuse(Reason.NON_FINITE, f"{name} is not finite")
        numbers[name] = value
    return numbers
