"""`fedelta host renew`: certificates before they end, keys that may have leaked."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator

from ...client.joins.runtimes import UP, state_of
from . import admissions, certificates, rosters
from .folders import HostFolder

REPLACED = ("server", "coordinator")
RESTARTED = ("superlink", "status")
"""Services that read the server's certificate at their start alone."""


def renew(folder: HostFolder) -> Iterator[str]:
    """Make the server's and the coordinator's keys and certificates anew.

    The server's holds the names that host.toml has now; the CA stays, so that nobody
    has to be asked. What is up takes them at once: the proxy reads them again, the
    others are started again by `fedelta host up`, and a run goes on.

    Yields:
        What was done, in lines for people.

    Raises:
        ConfigError: the CA cannot be read.
    """
    fresh = folder.keys / ".fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    try:
        for name in ("ca.key", "ca.pem"):
            (fresh / name).symlink_to(folder.keys / name)
        certificates.issue_server(fresh, folder.settings.host.names)
        certificates.issue_own(fresh)
        for name in REPLACED:
            for ending in ("key", "pem"):
                (fresh / f"{name}.{ending}").replace(folder.keys / f"{name}.{ending}")
            yield f"{name}: {_left(folder, name)}"
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    yield f"ca: {_left(folder, 'ca')} (a new CA is a new federation)"
    admissions.reload_proxy(folder)
    for name, one in state_of(folder.state / UP)["services"].items():
        if name in RESTARTED and one["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one["pid"], signal.SIGTERM)
            yield f"{name} starts again"


def invite(folder: HostFolder) -> Iterator[str]:
    """Write a fresh invitation for every member, over the key that it has.

    Yields:
        What was done, in lines for people.
    """
    for name in rosters.active(folder.roster):
        target = admissions.admit(folder, folder.members / f"{name}.pub", name)
        yield f"{name}: send {target}"


def _left(folder: HostFolder, name: str) -> str:
    days = certificates.days_left((folder.keys / f"{name}.pem").read_bytes())
    return f"good for {days} days"
