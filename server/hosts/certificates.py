"""The federation's own certificate authority.

One CA a federation, made by `fedelta host init`: it signs the server's certificate
and one for each admitted institution, over the public key that the institution sent.
Nobody's private key travels, and no public authority is asked.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...client.joins.keys import write_secret
from ...protocols.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateBuilder, GeneralName

CA_DAYS, SERVER_DAYS, CLIENT_DAYS = 3650, 825, 825


def create_authority(key_file: Path, certificate: Path, name: str) -> None:
    """Make the CA: its key (owner alone may read it) and its own certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = _new_key(key_file)
    subject = _name(f"{name} CA")
    built = _builder(subject, subject, key.public_key(), CA_DAYS)
    built = built.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    built = built.add_extension(_usage(signs=True), critical=True)
    built = _identified(built, key.public_key(), key.public_key())
    certificate.write_bytes(_pem(built.sign(key, hashes.SHA384())))


def issue_server(folder: Path, names: Sequence[str]) -> None:
    """Make the server's key and certificate, for `names` and for this machine itself.

    Args:
        folder: holds ca.key and ca.pem; gets server.key and server.pem.
        names: host names or addresses that institutions reach the server by.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = _new_key(folder / "server.key")
    wanted = [*dict.fromkeys([*names, "localhost", "127.0.0.1"])]
    alternatives = x509.SubjectAlternativeName([_alternative(one) for one in wanted])
    certificate = _issue(
        folder,
        names[0],
        key.public_key(),
        SERVER_DAYS,
        [alternatives, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])],
    )
    (folder / "server.pem").write_bytes(_pem(certificate))


def issue_client(folder: Path, name: str, public: Any) -> bytes:
    """Sign an institution's public key under its admitted name.

    Returns:
        The certificate (PEM), for TLS clients only.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _pem(_issue(folder, name, public, CLIENT_DAYS, [usage]))


def issue_own(folder: Path) -> None:
    """Make the key and certificate by which the coordinator asks its own service."""
    key = _new_key(folder / "coordinator.key")
    certificate = issue_client(folder, "coordinator:", key.public_key())
    (folder / "coordinator.pem").write_bytes(certificate)


def days_left(pem: bytes) -> int:
    """Whole days until a certificate ends; negative once it has."""
    from cryptography import x509

    end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    return (end - dt.datetime.now(dt.UTC)).days


def _issue(
    folder: Path, name: str, public: Any, days: int, extensions: Sequence[Any]
) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: the CA cannot be read: {error}") from error
    built = _builder(_name(name), issuer.subject, public, days)
    built = built.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    built = built.add_extension(_usage(signs=False), critical=True)
    for extension in extensions:
        built = built.add_extension(extension, critical=False)
    built = _identified(built, public, key.public_key())
    return built.sign(key, hashes.SHA384())


def _new_key(path: Path) -> Any:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    text = key.private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    write_secret(path, text)
    return key


def _builder(subject: Any, issuer: Any, public: Any, days: int) -> "CertificateBuilder":
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _identified(
    built: "CertificateBuilder", own: Any, signer: Any
) -> "CertificateBuilder":
    from cryptography import x509

    subject = x509.SubjectKeyIdentifier.from_public_key(own)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer)
    return built.add_extension(subject, critical=False).add_extension(
        authority, critical=False
    )


def _usage(*, signs: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> "GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
