"""A grid whose nodes may lie behind regions: many clients' messages in one parcel.

To whoever drives a round every client is a node of its own, wherever it is. What goes
to a region's clients travels as one message, each update in it once; what comes back
is handed on client by client.
"""

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import Error, Message, MessageType
from flwr.serverapp import Grid

from ...aggregators.scales import Survey
from ...protocols.bundles import Answer, Ask, Asked
from ...protocols.errors import PayloadError
from ...protocols.messages import (
    from_bytes,
    metrics_content,
    read_metrics,
    read_plan,
)
from ...protocols.refusals import Reason, Refusal
from ..engine import Receipt, bind, receipt
from ..grids import OuterGrid, stamp
from .parcels import bundle, given, surveyed

LOG = logging.getLogger("fedelta.host")
ERROR = 1002
VOUCHER = "voucher"
KINDS = {
    MessageType.TRAIN: "train",
    MessageType.EVALUATE: "evaluate",
    MessageType.QUERY: "query",
}


class TreeGrid(OuterGrid):
    """The clients of a tree, as nodes.

    Args:
        grid: reaches the clients and regions that are this server's own.
        nodes: their nodes, by name.
        routes: by client, its way: the regions that it is behind, such as
            "harbour/north"; empty: it is this server's own.
        vouch: replies stay in the regions, vouchers and states climb.

    Attributes:
        nodes: by client, its node.
        routes: as given.
        receipts: by message id, what a message and its reply cost.
        surveys: by region, what its replies of this round come to at first sight.
        tolls: by region, bytes (down, up) of parcels since they were last taken.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        routes: Mapping[str, str],
        *,
        vouch: bool,
    ) -> None:
        super().__init__(grid)
        self._known = dict(nodes)
        self._vouch = vouch
        self._count = 0
        self.routes = dict(routes)
        self.receipts: dict[str, Receipt] = {}
        self.surveys: dict[str, Survey] = {}
        self.tolls: dict[str, tuple[int, int]] = {}
        behind = sorted(name for name, way in routes.items() if way)
        self.nodes = {name: nodes[name] for name, way in routes.items() if not way}
        taken = set(nodes.values())
        free = (number for number in itertools.count(1) if number not in taken)
        self.nodes |= dict(zip(behind, free, strict=False))
        self._names = {node: name for name, node in self.nodes.items()}

    def get_node_ids(self) -> Iterable[int]:
        """The nodes of clients whose own node, or whose region's, is there."""
        there = set(self._grid.get_node_ids())
        return [
            node
            for name, node in sorted(self.nodes.items())
            if self._known[self.head(name) or name] in there
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not for trees: parcels are sent and received in one go."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not for trees: parcels are sent and received in one go."""
        raise NotImplementedError

    def head(self, client: str) -> str:
        """The region of this server's own that a client is behind; empty: none."""
        return self.routes[client].partition("/")[0]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send at once; hand on each client's reply as it comes."""
        direct: list[Message] = []
        behind: dict[str, dict[str, Message]] = {}
        for message in messages:
            name = self._names[message.metadata.dst_node_id]
            if head := self.head(name):
                self._count += 1
                stamp(message, f"{head}-{self._count}")
                behind.setdefault(head, {})[name] = message
            else:
                direct.append(message)
        parcels = {
            head: self._parcel(head, some, timeout or 3600.0)
            for head, some in sorted(behind.items())
        }
        both = [*direct, *parcels.values()]
        heads = {self._known[head]: head for head in parcels}
        for reply in self._grid.send_and_receive(both, timeout=timeout):
            cost = receipt(self._grid, reply)
            head = heads.get(reply.metadata.src_node_id, "")
            if not head:
                self.receipts[reply.metadata.reply_to_message_id] = cost
                yield reply
            else:
                yield from self._open(head, reply, behind[head], cost)
        for message in direct:
            self.receipts[message.metadata.message_id] = receipt(self._grid, message)

    def ask(
        self,
        kind: str,
        number: int,
        clients: Sequence[str],
        timeout: float,
        exponents: Sequence[int] = (),
        shares: Mapping[str, int] | None = None,
    ) -> Iterator[tuple[str, bytes]]:
        """Ask regions for something of their own: "survey" or "reduce".

        Args:
            kind: for what.
            number: the round.
            clients: whose replies it is about.
            timeout: seconds.
            exponents: of the merge, by span.
            shares: of the merge, by client.

        Yields:
            A region that answered, with what it says.
        """
        asked: dict[str, list[Asked]] = {}
        for name in sorted(clients):
            head, _, rest = self.routes[name].partition("/")
            asked.setdefault(head, []).append(Asked(name, rest))
        parcels = {}
        for head, some in asked.items():
            ask = Ask(
                kind,
                number,
                timeout,
                tuple(some),
                exponents=tuple(exponents),
                shares=dict(shares or {}),
            )
            parcels[head] = bundle(ask, some, self._known[head])
        heads = {self._known[head]: head for head in parcels}
        for reply in self._grid.send_and_receive(parcels.values(), timeout=timeout):
            head = heads[reply.metadata.src_node_id]
            self._toll(head, receipt(self._grid, reply))
            try:
                yield head, given(reply)
            except PayloadError as error:
                LOG.warning("region %s: %s", head, error)

    def _parcel(
        self, head: str, some: Mapping[str, Message], timeout: float
    ) -> Message:
        """All messages to a region's clients in one."""
        asked: list[Asked] = []
        blobs: dict[str, bytes] = {}
        first = next(iter(some.values())).metadata
        for name, message in sorted(some.items()):
            rest = self.routes[name].partition("/")[2]
            if first.message_type == MessageType.QUERY:
                asked.append(Asked(name, rest))
                continue
            plan, updates = read_plan(message.content)
            blobs |= dict(zip(plan.travelling, updates, strict=True))
            asked.append(Asked(name, rest, plan.to_json()))
        for message, one in zip(some.values(), asked, strict=True):
            self.receipts[message.metadata.message_id] = Receipt(len(one.plan))
        kind = KINDS[first.message_type]
        number = int(first.group_id or 0)
        ask = Ask(kind, number, timeout, tuple(asked), blobs, self._vouch)
        return bundle(ask, asked, self._known[head])

    def _open(
        self, head: str, reply: Message, some: Mapping[str, Message], cost: Receipt
    ) -> Iterator[Message]:
        """A region's answer, client by client."""
        try:
            answer = Answer.read(given(reply))
            survey = surveyed(answer)
        except PayloadError as error:
            answer = Answer(errors=dict.fromkeys(some, f"region {head}: {error}"))
            survey = None
        parts = sum(len(answer.replies.get(name, b"")) for name in some)
        plans = sum(self.receipts[m.metadata.message_id].down for m in some.values())
        self._toll(head, Receipt(cost.down - plans, cost.up - parts))
        if survey is not None:
            held = self.surveys.get(head)
            self.surveys[head] = survey if held is None else held.merge(survey)
        for name, message in some.items():
            if answer.errors.get(name) == Reason.TIMEOUT:
                continue  # nobody has spoken
            down = self.receipts[message.metadata.message_id].down
            up = len(answer.replies.get(name, b""))
            yield self._reply(name, message, answer, Receipt(down, up, cost.seconds))

    def _reply(
        self, name: str, message: Message, answer: Answer, cost: Receipt
    ) -> Message:
        """One client's reply, whatever it says of itself."""
        if name in answer.vouchers and self._vouch:
            text = json.dumps(answer.vouchers[name], sort_keys=True)
            made = Message(metrics_content({VOUCHER: text[:4096]}), reply_to=message)
        elif name in answer.replies:
            made = _opened(answer.replies[name], message)
        else:
            why = answer.errors.get(name, "its region says nothing of it")
            made = Message(Error(ERROR, why), reply_to=message)
        self.receipts[message.metadata.message_id] = cost
        return made

    def _toll(self, head: str, cost: Receipt) -> None:
        down, up = self.tolls.get(head, (0, 0))
        self.tolls[head] = (down + cost.down, up + cost.up)


def voucher(message: Message) -> dict[str, Any] | None:
    """What a region says of a reply that it keeps; None: this is no voucher."""
    if message.has_error():
        return None
    said = read_metrics(message.content)
    text = None if isinstance(said, Refusal) else said.get(VOUCHER)
    return json.loads(text) if isinstance(text, str) else None


def routes(config_regions: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """By client, the regions that it is behind: those whose first name is a node's.

    Example:
        >>> routes({"ada": "north/harbour", "bob": "south"}, ["bob", "north"])
        {'ada': 'north/harbour', 'bob': ''}
    """
    there = set(known)
    return {
        name: way if way.partition("/")[0] in there else ""
        for name, way in config_regions.items()
    }


def _opened(data: bytes, message: Message) -> Message:
    """A client's reply as the region had it; whose it is, is the region's word."""
    try:
        reply = from_bytes(data)
    except PayloadError as error:
        return Message(Error(ERROR, str(error)), reply_to=message)
    bind(reply, message)
    return reply
