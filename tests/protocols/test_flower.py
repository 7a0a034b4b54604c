"""What we rely on in Flower 1.41: if one of these fails, read what changed there."""

import subprocess
import sys
from importlib.metadata import version
from typing import cast

import pytest
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
from flwr.supercore.task_identity import TaskIdentity

from fedelta.protocols import messages


def test_version() -> None:
    assert version("flwr").startswith("1.41.")


def test_an_array_of_our_own_type_keeps_its_bytes() -> None:
    """Any stype and any bytes; nothing is decoded, nothing is copied on the way in."""
    data = bytes(range(256)) * 9
    array = Array(dtype="uint8", shape=(len(data),), stype=messages.STYPE, data=data)
    assert array.data is data
    deflated = array.deflate()
    children = array.children
    again = Array.inflate(deflated, children)
    assert (again.data, again.stype, again.dtype) == (data, messages.STYPE, "uint8")
    assert again.shape == (len(data),)


def test_an_array_wants_bytes() -> None:
    with pytest.raises(TypeError):
        Array("uint8", (3,), messages.STYPE, cast("bytes", memoryview(b"abc")))


def test_records_check_their_types() -> None:
    with pytest.raises(TypeError):
        MetricRecord({"name": cast("float", "text")})
    with pytest.raises(TypeError):
        MetricRecord({"name": True})
    with pytest.raises(TypeError):
        ArrayRecord({"name": cast("Array", b"bytes")})
    assert ConfigRecord({"text": "x", "bytes": b"y"})["bytes"] == b"y"
    assert isinstance(RecordDict({"a": MetricRecord({"x": 1})})["a"], MetricRecord)


def test_messages_need_an_identity() -> None:
    """Outside a run a message cannot be made until someone says who speaks."""
    script = (
        "from flwr.app import Message, RecordDict\n"
        "from fedelta.protocols.messages import identify\n"
        "try:\n"
        "    Message(RecordDict(), 9, 'train')\n"
        "except RuntimeError:\n"
        "    identify(7, 1)\n"
        "    made = Message(RecordDict(), 9, 'train', group_id='2')\n"
        "    print(made.metadata.run_id, made.metadata.src_node_id)\n"
    )
    assert _output(script) == "7 1"


def test_a_reply_goes_back_where_its_question_came_from() -> None:
    messages.identify(7, 1)
    asked = Message(RecordDict(), 9, "train.alone", group_id="2")
    asked.metadata.__dict__["_message_id"] = "q"
    reply = Message(RecordDict(), reply_to=asked).metadata
    assert (reply.src_node_id, reply.dst_node_id) == (9, 1)
    assert (reply.reply_to_message_id, reply.group_id) == ("q", "2")
    assert (reply.run_id, reply.message_type) == (7, "train.alone")


def test_messages_survive_protobuf() -> None:
    messages.identify(7, 1)
    content = messages.reply_content(b"abc", {"loss": 0.5, "examples": 3.0})
    sent = Message(content, 9, "train")
    data = message_to_proto(sent).SerializeToString(deterministic=True)
    got = message_from_proto(Wired.FromString(data))
    assert got.content == content
    assert got.metadata.__dict__ == sent.metadata.__dict__
    assert got.metadata.run_id == TaskIdentity.run_id == 7


def test_nothing_calls_home() -> None:
    """Whichever of our modules brings Flower in, telemetry is off before."""
    for name in ("protocols.messages", "client.app", "server.app"):
        script = (
            f"import os; import fedelta.{name}\n"
            "from flwr.supercore import telemetry\n"
            "print(telemetry.FLWR_TELEMETRY_ENABLED,"
            " os.environ['FLWR_DISABLE_UPDATE_CHECK'])\n"
        )
        assert _output(script) == "0 1", name


def _output(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    return done.stdout.strip()
