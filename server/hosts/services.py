"""A coordinator's processes: SuperLink, SuperExec, the proxy, the status service."""

import os
import shutil
import sys
from pathlib import Path

from ...client.joins.processes import Service
from ...client.joins.runtimes import answers, program, search_path
from ...protocols.errors import ConfigError
from .. import environments
from .folders import HostFolder

PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where a proxy may be beside PATH: a user's PATH leaves these out on Debian."""

FRUGAL = {"MALLOC_ARENA_MAX": "2"}
"""What threads give back to the C library, others can have: large replies are read by
several, and each would keep room for one."""


def environment(folder: HostFolder) -> dict[str, str]:
    """Variables for all of them: a private Flower home, and nobody phones home."""
    return (
        environments.quiet_environment()
        | FRUGAL
        | {
            "FLWR_HOME": str(folder.flower),
            "PATH": search_path(launchers(folder)),
            "PYTHONUNBUFFERED": "1",
        }
    )


def launchers(folder: HostFolder) -> Path:
    """Where the commands are that SuperExec starts: ours before Flower's."""
    return folder.state / "bin"


def services(folder: HostFolder) -> list[Service]:
    """All services, in the order in which they need each other.

    Raises:
        ConfigError: the proxy or one of Flower's commands is not installed.
    """
    around = environment(folder)
    inside = folder.settings.inside.superlink_port
    host = folder.settings.host
    return [
        Service(
            "superlink",
            superlink(folder),
            around,
            ready=lambda: answers("127.0.0.1", inside),
            folder=folder.root,
        ),
        Service("superexec", superexec(folder), around, folder=folder.root),
        Service(
            "proxy",
            [
                nginx(),
                "-p",
                str(folder.root),
                "-c",
                str(folder.proxy),
                "-e",
                str(folder.logs / "proxy.log"),
                "-g",
                "daemon off;",
            ],
            around,
            ready=lambda: answers(reachable(host.listen), host.port),
            folder=folder.root,
        ),
        Service(
            "status",
            [sys.executable, "-m", "fedelta.server.hosts.statuses", str(folder.root)],
            around,
            ready=lambda: answers(reachable(host.listen), host.status_port),
            folder=folder.root,
        ),
    ]


def superlink(folder: HostFolder) -> list[str]:
    """SuperLink: node keys are checked, runs survive it, nothing is installed."""
    return [
        program("flower-superlink"),
        "--host", "127.0.0.1",
        "--port", str(folder.settings.inside.superlink_port),
        "--isolation", "process",
        "--database", str(folder.state / "superlink.db"),
        "--enable-supernode-auth",
        "--ssl-certfile", str(folder.keys / "server.pem"),
        "--ssl-keyfile", str(folder.keys / "server.key"),
        "--ssl-ca-certfile", str(folder.authority),
        "--superexec-auth-secret-file", str(folder.secret),
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def superexec(folder: HostFolder) -> list[str]:
    """SuperExec: starts the server app of each run."""
    return [
        program("flower-superexec"),
        "--runtime-api-address", folder.superlink,
        "--root-certificates", str(folder.authority),
        "--superexec-auth-secret-file", str(folder.secret),
    ]  # fmt: skip


def nginx() -> str:
    """The proxy's program.

    Raises:
        ConfigError: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PATHS])
    found = shutil.which("nginx", path=path)
    if not found:
        raise ConfigError(
            "nginx is not installed: apt-get install nginx (or your system's)"
        )
    return found


def reachable(listen: str) -> str:
    """The address to ask, of one that is listened on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(listen, listen)  # noqa: S104
