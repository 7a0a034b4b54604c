"""Who signs with which key: the institutions' own roster, which no server writes.

Masked rounds hide contributions from the coordinator, so it cannot be the one to say
whose keys are whose. Institutions hand each other their public lines, compare them by
telephone, and pin them here.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ...protocols.disks import write
from ...protocols.errors import ConfigError
from .. import signatures
from .policies import NotAgreedError

if TYPE_CHECKING:
    from ...protocols.settings import Config
    from .folders import JoinFolder


def line(folder: "JoinFolder") -> str:
    """This institution's public signing key as an OpenSSH line; made at first."""
    from cryptography.hazmat.primitives import serialization as forms

    key = signatures.signer(folder.signing).public_key()
    text = key.public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    return f"{text.decode('ascii')} {folder.invitation.name}"


def parsed(text: str) -> str:
    """The key of an OpenSSH line, hex.

    Raises:
        ConfigError: no Ed25519 public key.

    Example:
        >>> parsed("ssh-rsa AAAA")
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: no Ed25519 public key: they print theirs \
by `fedelta join peers`
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            "no Ed25519 public key: they print theirs by `fedelta join peers`"
        )
    return key.public_bytes_raw().hex()


def pin(folder: "JoinFolder", name: str, file: Path) -> None:
    """Pin another institution's key.

    Raises:
        ConfigError: no key in the file, or the name is pinned with another one.
    """
    try:
        key = parsed(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error
    known = roster(folder)
    if known.get(name, key) != key:
        raise ConfigError(
            f"{name!r} is pinned with another key in {folder.peers}: ask them, and "
            "take the old line out first"
        )
    text = json.dumps(known | {name: key}, indent=2, sort_keys=True)
    write(folder.peers, text.encode() + b"\n")


def roster(folder: "JoinFolder") -> dict[str, str]:
    """The pinned keys by name, this institution's own among them."""
    known = signatures.pinned(folder.peers) if folder.peers.exists() else {}
    return known | {folder.invitation.name: signatures.public_of(folder.signing)}


def written(folder: "JoinFolder") -> Path:
    """The roster as a masked round reads it: what is pinned, and one's own key."""
    path = folder.state / "roster.json"
    write(path, json.dumps(roster(folder), sort_keys=True).encode())
    return path


def check(folder: "JoinFolder", config: "Config") -> None:
    """Refuse a masked run of which not everybody is pinned.

    Raises:
        NotAgreedError: nobody is, or the run names others.
    """
    if not config.privacy.secure_aggregation:
        return
    strange = sorted({one.name for one in config.clients} - roster(folder).keys())
    if strange or not folder.peers.exists():
        raise NotAgreedError(
            f"no signing key is pinned here of: {', '.join(strange) or 'anybody'}; "
            "`fedelta join peers DIR --pin NAME=FILE`"
        )
