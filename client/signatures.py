"""An institution's signing key, and the keys of the others that it has pinned.

The key is Ed25519, made once, and signs adverts of masked rounds. The pins say who
signs with which key. A file that the institution wrote is the roster, and nobody else
takes part. Without one (simulations) the first key that a name signs with is
pinned for the run: a server that lies from the first round on is not found out then.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocols import chains, digests
from ..protocols.adverts import Advert
from ..protocols.disks import write
from ..protocols.errors import CheckpointError, ConfigError
from ..protocols.plans import RoundPlan
from .joins.keys import write_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SENT = "signed.jsonl"
"""In a client's folder of a run: what it signed, a line each."""


def signer(path: Path) -> "Ed25519PrivateKey":
    """The signing key in a file, for its owner alone; made where there is none.

    Raises:
        ConfigError: the file is no Ed25519 key.
    """
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        made = Ed25519PrivateKey.generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = made.private_bytes(
            forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()
        )
        write_secret(path, text)
        return made
    try:
        key = forms.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no readable OpenSSH private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key")
    return key


def given(
    node: Mapping[str, object], folder: Path, plan: RoundPlan, data: bytes
) -> tuple[str, str] | None:
    """Sign a reply, and note in a client's folder of the run that this was sent.

    Args:
        node: the node's configuration; "signing" names the key's file.
        folder: where ``signed.jsonl`` gets a line.
        plan: the round's.
        data: the payload.

    Returns:
        The public key and the signature, hex; None for a node without a key.
    """
    if not node.get("signing"):
        return None
    key, digest = signer(Path(str(node["signing"]))), digests.of_bytes(data)
    signature = key.sign(chains.contribution(plan.run, plan.client, digest)).hex()
    said = {"run": plan.run, "round": plan.round, "signature": signature}
    noted(folder, said | {"digest": digest})
    return key.public_key().public_bytes_raw().hex(), signature


def noted(folder: Path, said: Mapping[str, object]) -> None:
    """Add a line to what an institution keeps of what it signed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SENT).open("ab") as file:
        file.write(chains.canonical(said) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def public_of(path: Path) -> str:
    """The public half of a signing key, hex."""
    return signer(path).public_key().public_bytes_raw().hex()


def pinned(path: Path) -> dict[str, str]:
    """Keys by name, hex, from a file.

    Raises:
        CheckpointError: it cannot be read or is no roster.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        good = all(len(bytes.fromhex(one)) == 32 for one in found.values())  # noqa: PLR2004
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: no roster of signing keys: {error}") from error
    if not good:
        raise CheckpointError(f"{path}: an Ed25519 key has 32 bytes")
    return dict(found)


def first_seen(path: Path, adverts: Iterable[Advert]) -> dict[str, str]:
    """The pins of a run without a roster: who is new is pinned as it comes."""
    return seen(path, {one.name: one.signer for one in adverts})


def seen(path: Path, keys: Mapping[str, str]) -> dict[str, str]:
    """Pin the keys (hex) of who is new; gives all pins."""
    known = pinned(path) if path.exists() else {}
    both = {**keys, **known}
    if both != known:
        write(path, json.dumps(both, sort_keys=True).encode())
    return both
