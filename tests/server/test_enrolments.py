"""Who is silent when a run begins: asked again, and never lost to it for good."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, MessageType

from fedelta.protocols.errors import QuorumError
from fedelta.server.engine import InProcessGrid
from tests import tiny
from tests.federations import federate, lines


class Deaf(InProcessGrid):
    """Of the first question, three of four answers do not come."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.asked: list[int] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """As it is, but for the first question."""
        sent = list(messages)
        query = bool(sent) and sent[0].metadata.message_type == MessageType.QUERY
        if query:
            self.asked.append(len(sent))
        lost = 3 if query and len(self.asked) == 1 else 0
        yield from list(super().send_and_receive(sent, timeout=timeout))[lost:]


def test_the_silent_are_asked_again(tmp_path: Path) -> None:
    made = tiny.config(tmp_path, round={"retries": 1}, eval={"local": False})
    grids: list[Deaf] = []

    class Kept(Deaf):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            grids.append(self)

    assert federate(made, engine=Kept)["clients"] == 4
    assert grids[0].asked == [4, 3]
    assert not lines(made, "enrolment")
    (told,) = (one for one in lines(made, "traffic") if one["what"] == "query")
    assert all(one["up"] > 0 for one in told["clients"].values())


def test_too_few_at_the_beginning_commit_nothing(tmp_path: Path) -> None:
    """Else the run would go on for ever with those who were there by chance."""
    made = tiny.config(tmp_path, eval={"local": False})
    with pytest.raises(QuorumError, match="1 of 4 clients answered, 2 are needed"):
        federate(made, engine=Deaf)
    assert federate(made)["clients"] == 4
