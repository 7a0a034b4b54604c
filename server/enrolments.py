"""Who is there: one question to every node before round 1."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..protocols.errors import QuorumError
from ..protocols.messages import read_metrics
from ..protocols.refusals import Reason, Refusal
from .records import Record
from .traffic import Watch

Said = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What every node was asked, and the replies that are to come.

    Attributes:
        nodes: all nodes, in the grid's order.
        names: the client behind each, as far as the grid knows.
        replies: as the grid hands them on.
        watch: counts them.
    """

    nodes: tuple[int, ...]
    names: Mapping[int, str]
    replies: Iterable[Message]
    watch: Watch


def ask(grid: Grid, timeout: float) -> Question:
    """Ask every node who it is; it may load its model meanwhile."""
    nodes = tuple(grid.get_node_ids())
    questions = [
        Message(RecordDict(), node, MessageType.QUERY, group_id="0") for node in nodes
    ]
    known: Mapping[str, int] = getattr(grid, "nodes", {})
    names = {node: name for name, node in known.items()}
    watch = Watch(grid, questions)
    replies = watch.over(grid.send_and_receive(questions, timeout=timeout))
    return Question(nodes, names, replies, watch)


def locate(grid: Grid, timeout: float) -> dict[str, int]:
    """The node of each client, by the names that the grid knows or that nodes tell."""
    known: Mapping[str, int] = getattr(grid, "nodes", {})
    if known:
        return dict(known)
    return {name: node for node, name, _ in _answers(ask(grid, timeout))}


def enrol(
    question: Question, base: str, layout: Callable[[str], str], record: Record
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Take in who every node is, how much data it has, and on what it would train.

    Args:
        question: what was asked.
        base: digest of the base model, which a client must share.
        layout: the fingerprint of the layout that a client of that name must have.
        record: told of everyone that cannot take part.

    Returns:
        By client name: its node; and its number of training examples.

    Raises:
        QuorumError: nobody can take part.
    """
    nodes: dict[str, int] = {}
    members: dict[str, dict[str, int]] = {}
    for node, name, said in _answers(question):
        refusal = (
            said if isinstance(said, Refusal) else _misfit(said, base, layout(name))
        )
        if name in members:
            refusal = Refusal(Reason.DUPLICATE, "another node goes by that name")
        if refusal is None and not isinstance(said, Refusal):
            nodes[name] = node
            members[name] = {"examples": int(said["examples"])}
        elif refusal is not None:
            record.add(
                "enrolment",
                client=name,
                verdict="refused",
                reason=str(refusal.reason),
                detail=refusal.detail,
            )
    if not members:
        raise QuorumError(
            "no client can take part: see the enrolment lines of the record"
        )
    return nodes, members


def _answers(question: Question) -> list[tuple[int, str, Said | Refusal]]:
    """Each node's answer, in the order of the nodes; silence is one too."""
    found: dict[int, Said | Refusal] = {}
    for reply in question.replies:
        node = reply.metadata.src_node_id
        if reply.has_error():
            found[node] = Refusal(Reason.CLIENT_ERROR, reply.error.reason or "")
        else:
            found[node] = read_metrics(reply.content)
    answers: list[tuple[int, str, Said | Refusal]] = []
    for node in question.nodes:
        said = found.get(node, Refusal(Reason.TIMEOUT))
        claimed = f"node {node}"
        if not isinstance(said, Refusal):
            claimed = str(said.get("client"))
        answers.append((node, question.names.get(node, claimed), said))
    return answers


def _misfit(said: Said, base: str, layout: str) -> Refusal | None:
    examples = said.get("examples")
    if not isinstance(examples, int | float) or not 1 <= examples < 1 << 31:
        return Refusal(Reason.BAD_WEIGHT, f"it declares {examples!r} examples")
    if said.get("base") != base:
        return Refusal(Reason.WRONG_BASE, "it has another base model")
    if said.get("layout") != layout:
        return Refusal(Reason.WRONG_SCHEMA, "its adapter or classes differ")
    return None
