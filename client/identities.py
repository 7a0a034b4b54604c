"""Who a client is: its roster name and its folder, from what Flower's node tells.

A node of ours is configured with both (``client`` and ``state``). A node of Flower's
simulation has a partition's number instead: it is the client at that place of the
roster, and its folder lies below the run configuration's ``state``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..protocols.errors import ConfigError

if TYPE_CHECKING:
    from flwr.app import Context

    from .data import Task

PARTITION = "partition-id"


def name(context: "Context", task: "Task") -> str:
    """The client that a node speaks for.

    Raises:
        ConfigError: the node's configuration does not say.
    """
    found = context.node_config.get("client")
    if isinstance(found, str):
        return found
    place = context.node_config.get(PARTITION)
    names = list(task.clients)
    if isinstance(place, int) and 0 <= place < len(names):
        return names[place]
    raise ConfigError("the node's configuration names no `client`")


def home(context: "Context", client: str) -> dict[str, Any]:
    """The node's configuration with the folder that the client keeps.

    Raises:
        ConfigError: neither node nor run names one.
    """
    given = dict(context.node_config)
    if given.get("state"):
        return given
    if above := context.run_config.get("state"):
        return given | {"state": str(Path(str(above)) / stem(client))}
    raise ConfigError("the node's configuration names no `state` folder")


def stem(client: str) -> str:
    """A client's name as a file name.

    Example:
        >>> stem("client-00"), stem("Ward 3/b"), stem("..")
        ('client-00', 'Ward%203%2Fb', '%2E.')
    """
    found = quote(client, safe=" ").replace(" ", "%20") or "%"
    return f"%2E{found[1:]}" if found.startswith(".") else found
