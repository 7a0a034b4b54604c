"""The files of a coordinator's folder, from their templates."""

import base64
import getpass
import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from ... import __version__
from ...client.joins import keys
from ...protocols.errors import ConfigError
from .. import files
from . import certificates, rosters
from .folders import SETTINGS, HostFolder


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the host listens."""

    nodes: int = 9443
    status: int = 9444
    superlink: int = 9391
    metrics: int = 9445


def create(root: Path, name: str, names: Sequence[str], ports: Ports) -> HostFolder:
    """Make a coordinator's folder.

    Args:
        root: the folder, new or empty.
        name: the federation's name.
        names: host names or addresses that institutions reach this machine by.
        ports: where it listens.

    Raises:
        ConfigError: there is something already.
    """
    folder = HostFolder(Path(root).absolute())
    if folder.root.exists() and any(folder.root.iterdir()):
        raise ConfigError(f"{root} is not empty: choose another folder")
    folder.root.mkdir(parents=True, exist_ok=True)
    for one in (folder.keys, folder.state):  # replies pass through SuperLink's state
        one.mkdir(mode=0o700)
    for one in (folder.members, folder.logs, folder.runs):
        one.mkdir()
    text = fill(
        "host.toml",
        name=json.dumps(name),
        names=json.dumps(list(names)),
        port=str(ports.nodes),
        status_port=str(ports.status),
        superlink_port=str(ports.superlink),
        metrics_port=str(ports.metrics),
    )
    certificates.create_authority(folder.keys / "ca.key", folder.authority, name)
    certificates.issue_server(folder.keys, names)
    certificates.issue_own(folder.keys)
    keys.write_secret(folder.secret, secrets.token_bytes(48))
    rosters.write(folder.roster, ())
    files.write(folder.root / SETTINGS, text.encode())
    write_derived(folder)
    return folder


def write_derived(folder: HostFolder) -> None:
    """Write everything that follows from host.toml and the roster."""
    root, settings = folder.root, folder.settings
    write_app(folder.app)
    files.write(folder.flower / "config.toml", _flower(folder).encode())
    unit = fill(
        "fedelta-host.service",
        name=settings.host.name,
        account=getpass.getuser(),
        program=f"{sys.executable} -m fedelta.server.cli",
        root=str(root),
    )
    files.write(root / "fedelta-host.service", unit.encode())
    write_proxy(folder)


def write_app(target: Path) -> None:
    """Write the bundle."""
    files.write(
        target / "pyproject.toml", fill("app.toml", version=__version__).encode()
    )
    files.write(target / "README.md", fill("app.md").encode())


def write_proxy(folder: HostFolder) -> None:
    """Write the proxy's configuration, and the list of keys that it lets through."""
    settings = folder.settings
    (folder.state / "nginx").mkdir(parents=True, exist_ok=True)
    lines = [
        f'"{base64.b64encode(keys.public_pem(one.key)).decode()}" 1; # {one.name}\n'
        for one in rosters.active(folder.roster).values()
    ]
    files.write(folder.admitted, "".join(lines).encode())
    text = fill(
        "nginx.conf",
        user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        state=str(folder.state),
        logs=str(folder.logs),
        keys=str(folder.keys),
        admitted=str(folder.admitted),
        superlink=folder.superlink,
        listen=settings.host.listen,
        port=str(settings.host.port),
        body=str(settings.limits.body_mebibytes),
        requests=str(settings.limits.requests_per_second),
        burst=str(settings.limits.burst),
        connections=str(settings.limits.connections),
    )
    files.write(folder.proxy, text.encode())


def fill(template: str, **values: str) -> str:
    """A template's text with its placeholders filled in."""
    source = resources(__package__ or "") / "templates" / template
    return Template(source.read_text("utf-8")).substitute(values)


def _flower(folder: HostFolder) -> str:
    return fill(
        "flower.toml",
        flower=str(folder.flower),
        superlink=folder.superlink,
        authority=str(folder.authority),
    )
