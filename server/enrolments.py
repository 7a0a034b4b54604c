"""Who is there: one question to every node before round 1."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..client.failures import CODE
from ..protocols.errors import QuorumError
from ..protocols.messages import read_metrics
from ..protocols.refusals import Reason, Refusal
from ..protocols.settings import Config
from .records import Record
from .rosters import quorum
from .traffic import Watch

LOG = logging.getLogger("fedelta.run")
TOLD = 3
"""Refusals that an error names; the record has all."""
LONGEST = 160
"""Characters of each one's detail."""
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
    questions = _questions(nodes)
    known: Mapping[str, int] = getattr(grid, "nodes", {})
    names = {node: name for name, node in known.items()}
    watch = Watch(grid, questions)
    replies = watch.over(grid.send_and_receive(questions, timeout=timeout))
    return Question(nodes, names, replies, watch)


def insist(grid: Grid, question: Question, config: Config) -> Question:
    """Every node's answer; the silent are asked again as often as in a round.

    (Where fewer than a quorum have answered. Who is still silent then takes no part.)
    """
    found: dict[int, Message] = {}
    replies, wait = question.replies, config.round.deadline_seconds
    for left in range(config.round.retries, -1, -1):
        found |= {one.metadata.src_node_id: one for one in replies}
        silent = [one for one in question.nodes if not _heard(found.get(one))]
        if not left or len(question.nodes) - len(silent) >= _needed(question, config):
            break
        LOG.warning("%d are silent; they are asked again who they are", len(silent))
        questions = _questions(silent)
        question.watch.also(questions)
        replies = question.watch.over(grid.send_and_receive(questions, timeout=wait))
    return replace(question, replies=list(found.values()))


def locate(grid: Grid, timeout: float) -> dict[str, int]:
    """The node of each client, by the names that the grid knows or that nodes tell."""
    known: Mapping[str, int] = getattr(grid, "nodes", {})
    if known:
        return dict(known)
    return {name: node for node, name, _ in _answers(ask(grid, timeout))}


def enrol(
    question: Question,
    base: str,
    layout: Callable[[str], str],
    record: Record,
    config: Config,
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Take in who every node is, how much data it has, and on what it would train.

    Args:
        question: what was asked.
        base: digest of the base model, which a client must share.
        layout: the fingerprint of the layout that a client of that name must have.
        record: told of everyone that cannot take part.
        config: the run's.

    Returns:
        By client name: its node; and its number of training examples.

    Raises:
        QuorumError: nobody can take part, or fewer have answered than a round needs.
    """
    question = replace(question, replies=list(question.replies))
    nodes: dict[str, int] = {}
    members: dict[str, dict[str, int]] = {}
    told: list[str] = []
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
            short = shorten(refusal.detail, LONGEST, placeholder=" ...")
            told.append(f"{name}: {refusal.reason} {short}".rstrip())
    if not members:
        more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise QuorumError(f"no client can take part: {'; '.join(told[:TOLD])}{more}")
    heard, needed = sum(map(_heard, question.replies)), _needed(question, config)
    if heard < needed:
        raise QuorumError(
            f"round 0: {heard} of {len(question.nodes)} clients answered, {needed} are "
            "needed; the same command asks again"
        )
    return nodes, members


def _questions(nodes: Iterable[int]) -> list[Message]:
    return [
        Message(RecordDict(), node, MessageType.QUERY, group_id="0") for node in nodes
    ]


def _heard(reply: Message | None) -> bool:
    """Whether a client has spoken for itself, if only to say no."""
    return reply is not None and not (reply.has_error() and reply.error.code != CODE)


def _needed(question: Question, config: Config) -> int:
    return min(quorum(config, len(question.nodes)), len(question.nodes))


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
