"""Keys in the forms that Flower, TLS and people want."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fedelta.client.joins import keys
from fedelta.protocols.errors import ConfigError


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    keys.create(tmp_path / "node.key", tmp_path / "node.pub", "ward 3")
    return tmp_path / "node.key", tmp_path / "node.pub"


def test_flower_reads_both(pair: tuple[Path, Path]) -> None:
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.cli.supernode.register import try_load_public_key
    from flwr.supercore.primitives.asymmetric import (
        public_key_to_bytes,
        uses_nist_ec_curve,
    )

    private, public = pair
    key = load_ssh_private_key(private.read_bytes(), None)
    assert uses_nist_ec_curve(key.public_key())  # type: ignore[arg-type]
    registered = try_load_public_key(public)
    assert registered == public_key_to_bytes(key.public_key())  # type: ignore[arg-type]
    assert registered == keys.public_pem(public.read_text())


def test_the_private_key_is_the_owners_alone(pair: tuple[Path, Path]) -> None:
    assert pair[0].stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_written_over(pair: tuple[Path, Path]) -> None:
    before = pair[0].read_bytes()
    with pytest.raises(ConfigError, match="keeps its key"):
        keys.create(*pair, "again")
    assert pair[0].read_bytes() == before


@pytest.mark.needs_program("ssh-keygen", "openssh-client")
def test_the_fingerprint_is_ssh_keygens(pair: tuple[Path, Path]) -> None:
    program = str(shutil.which("ssh-keygen"))
    said = subprocess.check_output([program, "-lf", str(pair[1])], text=True)
    assert keys.fingerprint(pair[1].read_text()) in said


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    line = key.public_key().public_bytes(
        forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH
    )
    with pytest.raises(ConfigError, match="elliptic-curve"):
        keys.parse_public(line.decode())
    for text in ("", "ssh", "-----BEGIN PUBLIC KEY-----", "ecdsa-sha2-nistp384 AAAA x"):
        with pytest.raises(ConfigError, match="elliptic-curve"):
            keys.fingerprint(text)
    path = tmp_path / "k"
    path.write_bytes(
        key.private_bytes(
            forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()
        )
    )
    with pytest.raises(ConfigError, match="no elliptic-curve key"):
        keys.read_private(path)
