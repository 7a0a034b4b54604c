"""What a transport may do to honest replies: the model is that of the honest run."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from flwr.app import Message

from fedelta.client.data import load
from fedelta.client.models import load_base
from fedelta.protocols.refusals import Reason
from fedelta.server.engine import InProcessGrid
from tests.federations import federate, forged, lines, silent
from tests.protocols.forgeries import Change, Forgery, longer, planes, put, table

from .test_rounds import BAD, made


class Handed(InProcessGrid):
    """The real engine; what it hands on goes through `change` first."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies to training are changed, others are not."""
        sent = list(messages)
        replies = super().send_and_receive(sent, timeout=timeout)
        kinds = {message.metadata.message_type for message in sent}
        return self.change(replies) if kinds == {"train"} else replies

    def change(self, replies: Iterable[Message]) -> Iterator[Message]:
        """As they are."""
        yield from replies


class Twice(Handed):
    """Every reply comes twice."""

    def change(self, replies: Iterable[Message]) -> Iterator[Message]:
        """One and the same again."""
        for reply in replies:
            yield reply
            yield reply


class Foreign(Handed):
    """Every reply is followed by one to a question that nobody asked."""

    def change(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Another question's after each."""
        for reply in replies:
            yield reply
            reply.metadata.__dict__["_reply_to_message_id"] = "another"
            yield reply


class Lossy(Handed):
    """The second client's first reply is lost."""

    lost = False

    def change(self, replies: Iterable[Message]) -> Iterator[Message]:
        """All but one."""
        for reply in replies:
            if self.lost or reply.metadata.src_node_id != self.nodes[BAD]:
                yield reply
                continue
            self.lost = True
            self.missed(reply)

    def missed(self, reply: Message) -> None:
        """Nothing came."""


class Stalled(Lossy):
    """The same reply was announced, but its bytes never came."""

    stalled: frozenset[str] = frozenset()

    def missed(self, reply: Message) -> None:
        """It stays announced."""
        self.stalled = frozenset([reply.metadata.reply_to_message_id])


def spoofed(reply: Message) -> Message:
    """Its metadata names another sender and another question."""
    reply.metadata.__dict__["_src_node_id"] = 999
    reply.metadata.__dict__["_reply_to_message_id"] = "another"
    return reply


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The model of the honest run, and that without one client in round 1."""
    folder = tmp_path_factory.mktemp("models")
    plain = federate(made(folder, "plain"))
    absent = federate(made(folder, "absent"), {(BAD, 1): silent})
    return str(plain["model_digest"]), str(absent["model_digest"])


@pytest.mark.parametrize(
    ("engine", "refused"),
    [(Twice, {Reason.DUPLICATE: 8}), (Foreign, {Reason.SPOOFED_METADATA: 8})],
)
def test_what_nobody_asked_for_changes_nothing(
    tmp_path: Path,
    models: tuple[str, str],
    engine: type[InProcessGrid],
    refused: dict[Reason, int],
) -> None:
    summary = federate(made(tmp_path, "run"), engine=engine)
    assert summary["refused"] == refused
    assert summary["model_digest"] == models[0]


def test_who_answers_is_whom_we_asked(tmp_path: Path, models: tuple[str, str]) -> None:
    config = made(tmp_path, "run")
    summary = federate(config, {(BAD, 1): spoofed})
    assert summary["refused"] == {Reason.SPOOFED_METADATA: 1}
    assert summary["model_digest"] == models[0]
    told = [one["client"] for one in lines(config, "contribution")]
    assert told.count(BAD) == 2


@pytest.mark.parametrize("engine", [Lossy, Stalled])
def test_a_reply_that_does_not_come_is_none(
    tmp_path: Path, models: tuple[str, str], engine: type[InProcessGrid]
) -> None:
    summary = federate(made(tmp_path, "run"), engine=engine)
    why = Reason.UPLOAD_STALLED if engine is Stalled else Reason.TIMEOUT
    assert summary["refused"] == {why: 1}
    assert summary["model_digest"] == models[1]


def widths(text: str) -> Change:
    """The first frame's table entry for places is another code."""
    return table("codes", 0, {"bits": 1, "wide": 2, "none": 7}[text])


FORMATS: dict[str, tuple[dict[str, str | int], Change, Reason]] = {
    "a code below": ({"up": "int4"}, put(0, 0, 0x88), Reason.NOT_CANONICAL),
    "a step that is infinite": ({"up": "int4"}, put(1, 1, 0x7C), Reason.NON_FINITE),
    "a value too many": (
        {"up": "masked(density=0.25)"},
        planes(longer),
        Reason.LENGTH_MISMATCH,
    ),
    "bits that are gaps": (
        {"up": "sparse(density=0.05)"},
        widths("bits"),
        Reason.LENGTH_MISMATCH,
    ),
    "wide gaps that are none": (
        {"up": "sparse(density=0.05)"},
        widths("wide"),
        Reason.LENGTH_MISMATCH,
    ),
    "places in no code": (
        {"up": "moved(values='int8')"},
        widths("none"),
        Reason.WRONG_SCHEMA,
    ),
    "a tensor in no format": (
        {"up_bytes": 850},
        table("kinds", 0, 15),
        Reason.WRONG_SCHEMA,
    ),
    "a tensor in another": (
        {"up_bytes": 850},
        lambda forgery: forgery.tensors["kinds"].__setitem__(slice(None), 0),
        Reason.LENGTH_MISMATCH,
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_refused_without_a_trace(tmp_path: Path, name: str) -> None:
    wire, change, reason = FORMATS[name]
    config = made(tmp_path, "run", wire=wire)
    layout = load_base(config, load(config).labels).layout(config)

    def forge(data: bytes) -> bytes:
        forgery = Forgery.of(data, layout)
        change(forgery)
        return forgery.data()

    summary = federate(config, {(BAD, 1): forged(forge)})
    assert summary["refused"] == {reason: 1}
    absent = federate(made(tmp_path, "absent", wire=wire), {(BAD, 1): silent})
    assert summary["model_digest"] == absent["model_digest"]
