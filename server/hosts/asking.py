"""The coordinator's own questions to its status service, on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...client.joins.statuses import Status
from ...protocols.status import wires
from .folders import HostFolder


@contextmanager
def status(folder: HostFolder) -> Iterator[Status]:
    """The host's own status service, asked as the coordinator."""
    from .services import reachable

    host = folder.settings.host
    where = f"{reachable(host.listen)}:{host.status_port}"
    channel = wires.channel(
        where,
        folder.authority.read_bytes(),
        (folder.keys / "coordinator.key").read_bytes(),
        (folder.keys / "coordinator.pem").read_bytes(),
        name="localhost",
    )
    try:
        yield Status(channel, where, f"is `fedelta host up {folder.root}` running?")
    finally:
        channel.close()
