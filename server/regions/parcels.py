"""Parcels between a server and the regions below it: packed, opened, put together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import zstandard
from flwr.app import Message

from ...aggregators import branches
from ...aggregators.branches import Branch
from ...aggregators.scales import Survey
from ...protocols.bundles import Answer, Ask, Asked
from ...protocols.errors import PayloadError
from ...protocols.messages import read_reply, reply_content
from ...protocols.plans import RoundPlan
from ...protocols.refusals import Refusal
from ...protocols.states import decode_state, encode_state

REGION = "query.region"
"""Type of the messages that a region is asked by."""
PATIENCE = 0.8
"""Of the time that a server has, what it leaves to those below it."""


@dataclass(slots=True)
class Found:
    """What a region knows so far.

    Attributes:
        replies: by client, its reply's bytes.
        vouchers: by client, what is said of a reply that stays below.
        errors: by client, why there is no reply.
        surveys: what the replies that stay below come to at first sight.
    """

    replies: dict[str, bytes] = field(default_factory=dict)
    vouchers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    surveys: list[Survey] = field(default_factory=list)

    def told(self, client: str) -> bool:
        """Whether there is something to say of a client."""
        return any(client in one for one in (self.replies, self.vouchers, self.errors))

    def join(self, answer: Answer) -> None:
        """Take in what a region below says."""
        self.replies |= answer.replies
        self.vouchers |= answer.vouchers
        self.errors |= answer.errors
        if (survey := surveyed(answer)) is not None:
            self.surveys.append(survey)

    def answer(self) -> Answer:
        """All of it."""
        given = Answer(self.replies, self.vouchers, self.errors)
        if not self.surveys:
            return given
        one = branches.joined(self.surveys)
        layout = one.layout
        return replace(given, names=layout.names, shapes=layout.shapes, peaks=one.peaks)


def bundle(ask: Ask, asked: Iterable[Asked], node: int) -> Message:
    """Some of a question's clients, for the region that they are behind."""
    some = tuple(asked)
    plans = [RoundPlan.from_json(one.plan) for one in some if one.plan]
    wanted = {name for plan in plans for name in plan.travelling}
    blobs = {name: ask.blobs[name] for name in sorted(wanted)}
    part = replace(ask, asked=some, blobs=blobs)
    content = reply_content(part.data(), {})
    return Message(content, node, REGION, group_id=str(ask.round))


def surveyed(answer: Answer) -> Survey | None:
    """The survey in an answer; None: there is none.

    Raises:
        PayloadError: not one number a span.
    """
    if answer.peaks is None:
        return None
    manifest = {"names": answer.names, "shapes": answer.shapes}
    layout = branches.layout_of(manifest)
    if len(layout.spans) != len(answer.peaks) or (answer.peaks < 0).any():
        raise PayloadError("a survey holds one magnitude a span")
    return Survey(layout, answer.peaks, {})


def packed(branch: Branch) -> bytes:
    """A branch as it travels."""
    tensors, manifest = branches.written(branch)
    return zstandard.ZstdCompressor(level=1).compress(encode_state(tensors, manifest))


def unpacked(data: bytes, most: int = 1 << 36) -> Branch:
    """A branch from what `packed` gave.

    Raises:
        PayloadError: it is none, or larger than expected.
    """
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > most:
            raise PayloadError(f"a state of {size} bytes, at most {most} are expected")
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except zstandard.ZstdError as error:
        raise PayloadError(f"not a state: {error}") from error
    found = decode_state(plain)
    if isinstance(found, Refusal):
        raise PayloadError(f"not a state: {found}")
    return branches.restored(*found)


def given(reply: Message) -> bytes:
    """The bytes of a parcel.

    Raises:
        PayloadError: there are none.
    """
    if reply.has_error():
        raise PayloadError(reply.error.reason or "a region failed")
    said = read_reply(reply.content)
    if isinstance(said, Refusal):
        raise PayloadError(str(said))
    return said[0]
