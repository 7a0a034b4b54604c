"""Letting institutions in and out: the roster first, then whoever must follow it."""

import datetime as dt
import os
import re
import signal
from dataclasses import asdict
from pathlib import Path

from ...client.joins import keys
from ...client.joins.folders import Invitation
from ...client.joins.runtimes import answers
from ...protocols.errors import ConfigError
from .. import files
from . import certificates, controls, layouts, rosters
from .folders import HostFolder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def admit(folder: HostFolder, key_file: Path, name: str) -> Path:
    """Admit an institution.

    Args:
        folder: the host's.
        key_file: the public key that the institution sent.
        name: what it is called from now on.

    Returns:
        The invitation's file, for the institution.

    Raises:
        ConfigError: a bad name or key, or one that is taken.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--name must be letters, digits, dot, dash or underscore, at most 63, not "
            f"{name!r}"
        )
    try:
        line = key_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key_file}: cannot be read ({error})") from error
    member = rosters.admit(folder.roster, name, line, now())
    files.write(folder.members / f"{name}.pub", f"{member.key} {name}\n".encode())
    certificate = certificates.issue_client(
        folder.keys, name, keys.parse_public(member.key)
    )
    host = folder.settings.host
    invitation = Invitation(
        host.name,
        name,
        f"{host.names[0]}:{host.port}",
        f"{host.names[0]}:{host.status_port}",
        folder.authority.read_text("ascii"),
        certificate.decode("ascii"),
    )
    target = folder.members / f"{name}.invitation.json"
    files.write_json(target, asdict(invitation))
    follow(folder)
    return target


def revoke(folder: HostFolder, name: str) -> None:
    """Put an institution out, at once.

    Raises:
        ConfigError: nobody is admitted under that name.
    """
    rosters.revoke(folder.roster, name, now())
    follow(folder)


def follow(folder: HostFolder) -> None:
    """Make the proxy and SuperLink follow the roster, where they are up."""
    layouts.write_proxy(folder)
    reload_proxy(folder)
    if answers("127.0.0.1", folder.settings.inside.superlink_port):
        controls.register(folder)


def reload_proxy(folder: HostFolder) -> None:
    """Have the proxy read its list of keys again; nothing if it is not up."""
    try:
        os.kill(int((folder.state / "nginx.pid").read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        return


def now() -> str:
    """The time, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
