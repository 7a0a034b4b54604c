"""What all our grids have alike: messages, their ids, and whose run they are of."""

from collections.abc import Iterable, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from ..protocols.messages import identify

SERVER_NODE = 1


def stamp(message: Message, name: str) -> None:
    """Write a message's id into it, as Flower's own grids do."""
    message.metadata.__dict__["_message_id"] = name


class MessageGrid(Grid):
    """A grid on which a message is one of this run to one node."""

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message of this run to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


class LocalGrid(MessageGrid):
    """Nodes that are always there, without a SuperLink.

    Args:
        nodes: node ids by name, in order.
        run_id: Flower's number for the run.

    Attributes:
        nodes: as given.
    """

    def __init__(self, nodes: Mapping[str, int], run_id: int = 1) -> None:
        self.nodes = dict(nodes)
        self._run = Run.create_empty(run_id)
        self._count = 0
        identify(run_id, SERVER_NODE)

    def set_run(self, run: Run) -> None:
        """Take another run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that this grid is for."""
        return self._run

    def get_node_ids(self) -> Iterable[int]:
        """The nodes, in their order."""
        return list(self.nodes.values())

    def numbered(self, message: Message) -> str:
        """Give a message the next id."""
        self._count += 1
        name = f"{self._run.run_id}-{self._count}"
        stamp(message, name)
        return name


class OuterGrid(MessageGrid):
    """Ours around another, which knows the run.

    Args:
        grid: the other.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Run) -> None:
        """Take another run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The other's run."""
        return self._grid.run
