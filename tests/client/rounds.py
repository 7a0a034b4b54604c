"""Just enough of a server to talk to the client app through real Flower messages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from flwr.app import Message, RecordDict

from fedelta.client import models
from fedelta.client.worker import Job, handle
from fedelta.protocols import digests, messages
from fedelta.protocols.codec import Context, Header, decode, encode
from fedelta.protocols.payloads import Payload
from fedelta.protocols.plans import RoundPlan
from fedelta.protocols.settings import Config
from fedelta.protocols.vectors import Floats, TaskVector

RUN = "00ff00ff00ff00ff"


def job(config: Config, state: Path, client: str = "client-00") -> Job:
    """Where a client's messages run."""
    text = json.dumps(asdict(config))
    return Job(1, 7, {"client": client, "state": str(state)}, {"config": text})


def sent(content: RecordDict, kind: str = "train") -> bytes:
    """A message as the server sends it."""
    messages.identify(1, 1)
    message = Message(content, 7, kind, group_id="1")
    message.metadata.__dict__["_message_id"] = "m1"
    return messages.to_bytes(message)


def plan(
    base: models.Base,
    config: Config,
    chain: Sequence[bytes] = (),
    held: int = 0,
    client: str = "client-00",
) -> RoundPlan:
    """A plan on the version that a chain of updates leads to; `held` are known."""
    version = base.digest
    for data in chain:
        version = digests.chain(version, digests.of_bytes(data))
    return RoundPlan(
        run=RUN,
        round=len(chain) + 1,
        client=client,
        base=version,
        layout=base.layout(config).fingerprint,
        version=len(chain),
        updates=tuple(digests.of_bytes(data) for data in chain[held:]),
        recipe=config.merge.recipe,
        space=config.lora.space,
        wire=config.wire.up,
        feedback=config.wire.feedback,
        before="server",
        accepted=len(chain),
    )


def update(
    base: models.Base, number: int, version: str, size: float, wire: str = "fp16"
) -> bytes:
    """A merged update as the server sends it down."""
    layout = base.update_layout()
    tensors = {
        name: np.full(shape, size, np.float32)
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    }
    header = Header(RUN, number, "", version, layout.fingerprint)
    return encode(TaskVector.of(tensors), wire, header)


def chain(base: models.Base, count: int) -> list[bytes]:
    """So many updates, one upon the other."""
    version, found = base.digest, []
    for number in range(1, count + 1):
        found.append(update(base, number, version, 0.02 * number))
        version = digests.chain(version, digests.of_bytes(found[-1]))
    return found


def ask(
    where: Job, asked: RoundPlan, data: Sequence[bytes] = (), kind: str = "train"
) -> Message:
    """Send a plan to the app and read its reply."""
    content = messages.plan_content(asked, data)
    return messages.from_bytes(handle(where, sent(content, kind)))


def change(
    reply: Message, asked: RoundPlan, base: models.Base, config: Config
) -> dict[str, Floats]:
    """The decoded payload of a reply."""
    said = messages.read_reply(reply.content)
    assert isinstance(said, tuple), said
    context = Context(base.layout(config), RUN, asked.round, asked.base, asked.wire)
    found = decode(said[0], context)
    assert isinstance(found, Payload), found
    return dict(found.tensors())


def numbers(reply: Message) -> Mapping[str, float]:
    """The metrics beside a payload."""
    said = messages.read_reply(reply.content)
    assert isinstance(said, tuple), said
    return said[1]
