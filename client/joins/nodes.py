"""`fedelta join up`: an institution's SuperNode, kept alive until told to stop."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from ...protocols.errors import ConfigError
from . import runtimes
from .folders import JoinFolder
from .hints import Hints
from .processes import Service, Supervisor

OURS = "fedelta.client.joins.tasks"
REFUSED = (
    "flwr-agentapp",
    "flwr-connector",
    "flwr-model",
    "flwr-simulation",
    "flwr-serverapp",
)
"""Tasks that a coordinator could ask a node for and that an institution never runs."""


def up(folder: JoinFolder, tell: Callable[[str], None], port: int) -> None:
    """Run the node until SIGTERM or Ctrl-C.

    Args:
        folder: the institution's.
        tell: gets lines for people; they are in logs/join.log as well.
        port: for the node's own processes, on 127.0.0.1 alone.

    Raises:
        ConfigError: no invitation, a wrong join.toml, or it is up already.
    """
    log = folder.logs / "join.log"
    service = node(folder, port)
    with (
        runtimes.held(folder.state),
        runtimes.told(log, tell) as say,
        runtimes.stopping() as stop,
    ):
        write_launchers(folder)
        supervisor = Supervisor(
            [service],
            folder.logs,
            say,
            lambda running: runtimes.note(folder.state / runtimes.UP, running),
        )
        hints = Hints(folder.logs, say)

        def ended() -> bool:
            hints.look()
            return stop()

        try:
            supervisor.start()
            say(f"{folder.invitation.name} joins {folder.invitation.server}")
            supervisor.watch(ended)
        finally:
            say("ending")
            supervisor.end()


def node(folder: JoinFolder, port: int) -> Service:
    """The SuperNode: our key, the federation's CA, our client, nothing else."""
    command = [
        runtimes.program("flower-supernode"),
        "--superlink", folder.invitation.server,
        "--root-certificates", str(folder.authority),
        "--auth-supernode-private-key", str(folder.private),
        "--host", "127.0.0.1",
        "--port", str(port),
        "--isolation", "subprocess",
        "--node-config", f"folder={json.dumps(str(folder.root))}",
    ]  # fmt: skip
    return Service(
        "supernode",
        command,
        environment(folder),
        ready=lambda: runtimes.answers("127.0.0.1", port),
        folder=folder.root,
        helper="flower-superexec",
    )


def environment(folder: JoinFolder) -> dict[str, str]:
    """Variables of the node and of the client that it starts."""
    compute = folder.policy.compute
    threads = str(compute.threads)
    return runtimes.QUIET | {
        "FLWR_HOME": str(folder.flower),
        "PATH": runtimes.search_path(launchers(folder)),
        "FEDELTA_NICE": str(compute.nice),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def launchers(folder: JoinFolder) -> Path:
    """Where the commands are that SuperExec starts: ours before Flower's."""
    return folder.state / "bin"


def write_launchers(folder: JoinFolder, module: str = OURS) -> None:
    """Put our client before Flower's loader, and refusals before everything else."""
    place = launchers(folder)
    place.mkdir(parents=True, exist_ok=True)
    runtimes.write_launcher(
        place / "flwr-clientapp", module, folder.logs / "client.log"
    )
    for name in REFUSED:
        path = place / name
        path.write_text(
            f'#!/bin/sh\necho "fedelta: {name} is not run here" >&2\nexit 78\n'
        )
        path.chmod(0o755)


def port_of(folder: JoinFolder) -> int:
    """A loopback port for the node: the one used before, or a free one.

    Raises:
        ConfigError: none is free.
    """
    import socket

    noted = folder.state / "port"
    if noted.exists() and (text := noted.read_text().strip()).isdigit():
        return int(text)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
    except OSError as error:
        raise ConfigError(f"no port is free on 127.0.0.1: {error}") from error
    folder.state.mkdir(parents=True, exist_ok=True)
    noted.write_text(f"{port}{os.linesep}")
    return port
