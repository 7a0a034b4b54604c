"""Nodes that are away while their reply is awaited: for how long, and who is back."""

import time
from collections.abc import Mapping

from flwr.app import Message

NODE_UNAVAILABLE = 5
"""What SuperLink answers for a node that it has not heard of for a minute, or that has
said goodbye (Flower's `ErrorCode`)."""
MESSAGE_UNAVAILABLE = 3
"""What it answers for a message that it has forgotten, as it does when its node
registers anew, or for a reply of which parts never came."""


def away(reply: Message) -> bool:
    """Whether SuperLink answered in a node's place, because that is not there."""
    return reply.has_error() and reply.error.code == NODE_UNAVAILABLE


def lost(reply: Message) -> bool:
    """Whether SuperLink answered because there is nothing left to answer."""
    return reply.has_error() and reply.error.code == MESSAGE_UNAVAILABLE


class Absences:
    """Whose node is away, by the id of the message that it is to answer.

    A node that was away has lost what it was asked, if it was killed, and is still at
    it, if only its line was cut. Nobody can tell which, so it is asked again.

    Args:
        gone: seconds after which nothing more is awaited of a node.
    """

    def __init__(self, gone: float) -> None:
        self._gone = gone
        self._since: dict[str, float] = {}

    def note(self, name: str) -> None:
        """A message's node is away."""
        self._since.setdefault(name, time.monotonic())

    def forget(self) -> None:
        """Nobody knows who is there: count anew."""
        self._since.clear()

    def look(
        self, awaited: Mapping[str, Message], there: set[int]
    ) -> tuple[list[str], list[str]]:
        """Who is gone for good, and who is back.

        Args:
            awaited: messages by their ids.
            there: the nodes that are there.

        Returns:
            Ids of messages of nodes that have been away too long; and of those whose
            nodes are there again.
        """
        now = time.monotonic()
        gone, back = [], []
        for name, message in awaited.items():
            if message.metadata.dst_node_id not in there:
                if now - self._since.setdefault(name, now) >= self._gone:
                    gone.append(name)
            elif self._since.pop(name, None) is not None:
                back.append(name)
        return gone, back
