"""What the coordinator asks of its own SuperLink, over the loopback control API.

Flower's command line does the same (`flwr supernode register`, `flwr ls`), with seconds
of start-up a call and without saying which key a node has.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...client.joins import keys
from ...protocols import telemetry  # noqa: F401  before flwr
from ...protocols.errors import FedeltaError
from . import rosters
from .folders import HostFolder

if TYPE_CHECKING:
    from flwr.supercore.control import ControlHttpClient

GONE = "unregistered"


def register(folder: HostFolder) -> dict[str, int]:
    """Make SuperLink's registrations those of the roster.

    Returns:
        Flower's node id of every admitted member.

    Raises:
        FedeltaError: SuperLink does not answer, or refuses.
    """
    from flwr.proto.control_pb2 import RegisterNodeRequest, UnregisterNodeRequest

    wanted = {
        keys.public_pem(one.key): one.name
        for one in rosters.active(folder.roster).values()
    }
    ids: dict[str, int] = {}
    with _control(folder) as control:
        for node in _nodes(control):
            if node.public_key in wanted:
                ids[wanted.pop(node.public_key)] = node.node_id
            else:
                control.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))
        for key, name in wanted.items():
            said = control.RegisterNode(RegisterNodeRequest(public_key=key, name=name))
            ids[name] = said.node_id
    return ids


def nodes(folder: HostFolder) -> dict[str, str]:
    """Each registered member's state, such as "online"; by name.

    Raises:
        FedeltaError: SuperLink does not answer.
    """
    with _control(folder) as control:
        return {node.name: node.status for node in _nodes(control)}


def runs(folder: HostFolder) -> list[Any]:
    """All of Flower's runs, newest first.

    Raises:
        FedeltaError: SuperLink does not answer.
    """
    from flwr.proto.control_pb2 import ListRunsRequest

    with _control(folder) as control:
        found = control.ListRuns(ListRunsRequest()).run_dict.values()
        return sorted(found, key=lambda run: str(run.pending_at), reverse=True)


def stop(folder: HostFolder, run_id: int) -> None:
    """Stop one of Flower's runs.

    Raises:
        FedeltaError: SuperLink does not answer, or refuses.
    """
    from flwr.proto.control_pb2 import StopRunRequest

    with _control(folder) as control:
        control.StopRun(StopRunRequest(run_id=run_id))


def _nodes(control: "ControlHttpClient") -> list[Any]:
    from flwr.proto.control_pb2 import ListNodesRequest

    found = control.ListNodes(ListNodesRequest()).nodes_info
    return [node for node in found if node.status != GONE]


@contextmanager
def _control(folder: HostFolder) -> "Iterator[ControlHttpClient]":
    import httpx
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    control = ControlHttpClient.from_server_address(
        server_address=folder.superlink,
        insecure=False,
        root_certificates=folder.authority.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="fedelta host")],
    )
    try:
        yield control
    except httpx.HTTPStatusError as error:
        raise FedeltaError(f"SuperLink refused: {error.response.text[:300]}") from error
    except httpx.HTTPError as error:
        raise FedeltaError(
            f"SuperLink does not answer on {folder.superlink}: is `fedelta host up "
            f"{folder.root}` running? ({error})"
        ) from error
    finally:
        control.close()
