"""Certificates that TLS itself accepts, and that open nothing else."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from fedelta.client.joins import keys
from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.folders import JoinFolder
from fedelta.protocols.errors import ConfigError
from fedelta.server.hosts import certificates, renewals
from fedelta.server.hosts.folders import HostFolder

from .federations import host, join


@pytest.fixture
def hosted(tmp_path: Path) -> HostFolder:
    return host(tmp_path / "host")


def handshake(hosted: HostFolder, authority: Path, name: str) -> str:
    """A real TLS handshake on loopback; the certificate's first name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(hosted.keys / "server.pem", hosted.keys / "server.key")
    client = ssl.create_default_context(cafile=str(authority))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as wrapped:
                wrapped.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as wrapped:
            wrapped.send(b"x")
            return str(wrapped.getpeercert()["subject"])  # type: ignore[index]
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_tls_accepts_the_server(hosted: HostFolder, name: str) -> None:
    assert "127.0.0.1" in handshake(hosted, hosted.authority, name)


def test_another_federations_ca_does_not(hosted: HostFolder, tmp_path: Path) -> None:
    other = host(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(hosted, other.authority, "localhost")


def test_another_name_does_not(hosted: HostFolder) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(hosted, hosted.authority, "example.org")


def test_a_members_certificate_is_for_its_own_key_and_for_clients(
    hosted: HostFolder, tmp_path: Path
) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    keys.create(tmp_path / "k", tmp_path / "k.pub", "x")
    public = keys.parse_public((tmp_path / "k.pub").read_text())
    made = x509.load_pem_x509_certificate(
        certificates.issue_client(hosted.keys, "hospital-a", public)
    )
    assert made.public_key() == public
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


def test_secrets_are_the_owners_alone(hosted: HostFolder) -> None:
    for name in ("ca.key", "server.key", "coordinator.key", "superexec.secret"):
        assert not (hosted.keys / name).stat().st_mode & 0o077
    for folder in (hosted.keys, hosted.state):
        assert not folder.stat().st_mode & 0o077


def test_a_lost_ca_is_named(hosted: HostFolder, tmp_path: Path) -> None:
    keys.create(tmp_path / "k", tmp_path / "k.pub", "x")
    public = keys.parse_public((tmp_path / "k.pub").read_text())
    (hosted.keys / "ca.key").unlink()
    with pytest.raises(ConfigError, match="CA cannot be read"):
        certificates.issue_client(hosted.keys, "a", public)


def test_days_left(hosted: HostFolder) -> None:
    assert certificates.days_left((hosted.keys / "server.pem").read_bytes()) > 800


def test_a_renewed_server_is_another_that_members_trust(
    hosted: HostFolder, tmp_path: Path
) -> None:
    member = join(hosted, tmp_path / "a", "a")
    before = {
        name: (hosted.keys / name).read_bytes()
        for name in ("server.key", "server.pem", "coordinator.pem", "ca.pem")
    }
    settings = hosted.root / "host.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1", "fed.example.org"))
    fresh = HostFolder.open(hosted.root)
    assert len([*renewals.renew(fresh), *renewals.invite(fresh)]) == 4
    changed = {
        name for name, one in before.items() if (hosted.keys / name).read_bytes() != one
    }
    assert changed == before.keys() - {"ca.pem"}
    assert handshake(hosted, member.authority, "fed.example.org")
    assert handshake(hosted, member.authority, "localhost")
    assert (hosted.keys / "server.key").stat().st_mode & 0o077 == 0
    assert not (hosted.keys / ".fresh").exists()
    institutions.accept(member, hosted.members / "a.invitation.json")
    assert JoinFolder.open(member.root).invitation.server.startswith("fed.example.org:")
