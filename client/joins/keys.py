"""A node's key: an elliptic-curve key pair in the forms that its users want.

Flower's SuperNode reads the private key in OpenSSH's format and the coordinator
registers the public one; the same key, as PEM, is what the status service's TLS
knows the institution by.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...protocols.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

CURVES = ("secp256r1", "secp384r1", "secp521r1")


def create(private: Path, public: Path, comment: str) -> None:
    """Make a P-384 key pair; the private file is readable by its owner alone.

    Args:
        private: where the private key goes (OpenSSH format, no passphrase).
        public: where the public key goes (one line).
        comment: what the public line ends with.

    Raises:
        ConfigError: there is a key already.
    """
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    if private.exists():
        raise ConfigError(f"{private} is there already: a node keeps its key")
    key = ec.generate_private_key(ec.SECP384R1())
    text = key.private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()
    )
    write_secret(private, text)
    line = key.public_key().public_bytes(
        forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH
    )
    public.write_bytes(line + f" {comment}\n".encode())


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that nobody else may read, not even for a moment."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path) -> "EllipticCurvePrivateKey":
    """A private key from its file.

    Raises:
        ConfigError: not there, or not a key of a kind that Flower takes.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is no readable OpenSSH private key: {error}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(
            f"{path} is no elliptic-curve key: make one by `fedelta join init`"
        )
    return key


def private_pem(path: Path) -> bytes:
    """The private key as TLS libraries read it (PKCS #8 PEM); kept in memory only."""
    from cryptography.hazmat.primitives import serialization as forms

    return read_private(path).private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )


def parse_public(line: str) -> "EllipticCurvePublicKey":
    """A public key from its OpenSSH line.

    Raises:
        ConfigError: not one, or of a curve that Flower does not take.

    Example:
        >>> parse_public("ssh-ed25519 AAAA")
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: no OpenSSH elliptic-curve public key: \
the institution makes one by `fedelta join init`
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(line.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ConfigError(
            "no OpenSSH elliptic-curve public key: the institution makes one by "
            "`fedelta join init`"
        )
    return key


def public_pem(line: str) -> bytes:
    """A public key as it stands in the headers of Flower's node requests (PEM)."""
    from cryptography.hazmat.primitives import serialization as forms

    return parse_public(line).public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint(line: str) -> str:
    """What people compare by telephone: SHA-256 of the key, as `ssh-keygen -l` says.

    Raises:
        ConfigError: not a public key's line.
    """
    parse_public(line)
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
