"""Who is there: one question to every node before round 1."""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..protocols.errors import QuorumError
from ..protocols.messages import read_metrics
from ..protocols.refusals import Reason, Refusal
from .engine import InProcessGrid
from .records import Record

Said = Mapping[str, Any]


def locate(grid: Grid, timeout: float) -> dict[str, int]:
    """The node of each client, by the names that the grid knows or that nodes tell."""
    if isinstance(grid, InProcessGrid):
        return dict(grid.nodes)
    return {name: node for node, name, _ in _answers(grid, timeout)}


def enrol(
    grid: Grid,
    timeout: float,
    base: str,
    layout: Callable[[str], str],
    record: Record,
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Ask every node who it is, how much data it has, and on what it would train.

    Args:
        grid: the nodes.
        timeout: seconds to wait for all of them.
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
    for node, name, said in _answers(grid, timeout):
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


def _answers(grid: Grid, timeout: float) -> list[tuple[int, str, Said | Refusal]]:
    """Each node's answer, in the order of the nodes; silence is one too."""
    names = {node: name for name, node in getattr(grid, "nodes", {}).items()}
    asked = list(grid.get_node_ids())
    questions = [
        Message(RecordDict(), node, MessageType.QUERY, group_id="0") for node in asked
    ]
    found: dict[int, Said | Refusal] = {}
    for reply in grid.send_and_receive(questions, timeout=timeout):
        node = reply.metadata.src_node_id
        if reply.has_error():
            found[node] = Refusal(Reason.CLIENT_ERROR, reply.error.reason or "")
        else:
            found[node] = read_metrics(reply.content)
    answers: list[tuple[int, str, Said | Refusal]] = []
    for node in asked:
        said = found.get(node, Refusal(Reason.TIMEOUT))
        claimed = (
            f"node {node}" if isinstance(said, Refusal) else str(said.get("client"))
        )
        answers.append((node, names.get(node, claimed), said))
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
