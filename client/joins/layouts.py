"""The files of an institution's folder."""

import getpass
import json
import sys
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from ...protocols.disks import write
from ...protocols.errors import ConfigError
from . import keys
from .folders import POLICY, JoinFolder, read_invitation


def create(root: Path, name: str, data: str) -> JoinFolder:
    """Make an institution's folder: its key, and its own file to fill in.

    Args:
        root: the folder, new or empty.
        name: what the institution wants to be called; the coordinator decides.
        data: the data file to begin with; may be empty.

    Raises:
        ConfigError: there is something already.
    """
    folder = JoinFolder(Path(root).absolute())
    if folder.root.exists() and any(folder.root.iterdir()):
        raise ConfigError(f"{root} is not empty: choose another folder")
    folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for one in (folder.state, folder.logs, folder.models):
        one.mkdir()
    keys.create(folder.private, folder.public, name)
    given = str(Path(data).absolute()) if data and Path(data).exists() else data
    write(folder.root / POLICY, fill("join.toml", file=json.dumps(given)).encode())
    unit = fill(
        "fedelta-join.service",
        name=name,
        account=getpass.getuser(),
        program=f"{sys.executable} -m fedelta.server.cli",
        root=str(folder.root),
    )
    write(folder.root / "fedelta-join.service", unit.encode())
    return folder


def accept(folder: JoinFolder, path: Path) -> None:
    """Take the coordinator's answer in.

    Raises:
        ConfigError: no invitation, or one for another key.
    """
    from cryptography import x509

    invitation = read_invitation(path)
    try:
        certificate = x509.load_pem_x509_certificate(invitation.certificate.encode())
    except ValueError as error:
        raise ConfigError(f"{path}: its certificate cannot be read") from error
    own = keys.read_private(folder.private).public_key()
    if certificate.public_key() != own:
        raise ConfigError(f"{path} is for another key than {folder.public}")
    write(folder.authority, invitation.authority.encode())
    write(folder.root / "invitation.json", path.read_bytes())


def fill(template: str, **values: str) -> str:
    """A template's text with its placeholders filled in."""
    source = resources(__package__ or "") / "templates" / template
    return Template(source.read_text("utf-8")).substitute(values)
