"""Who calls the status service: known by the key of its certificate alone."""

from typing import Any

import grpc

from ...client.joins import keys
from . import rosters
from .folders import HostFolder

COORDINATOR = "coordinator:"
"""The coordinator's own name: no member can have it."""


class Callers:
    """Looks callers up in the roster, as it is now.

    Args:
        folder: the host's.
    """

    def __init__(self, folder: HostFolder) -> None:
        self._folder = folder

    def name(self, context: Any) -> str | None:
        """The caller's roster name; None: the coordinator.

        Ends the call where the caller is not (or no longer) admitted.
        """
        key = _key(context)
        if key == _key_of((self._folder.keys / "coordinator.pem").read_bytes()):
            return None
        for one in rosters.active(self._folder.roster).values():
            if keys.public_pem(one.key) == key:
                return one.name
        context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            "your certificate is not on the roster: ask the coordinator",
        )
        return ""  # abort raises


def _key(context: Any) -> bytes:
    found = context.auth_context().get("x509_pem_cert", [b""])[0]
    return _key_of(found) if found else b""


def _key_of(certificate: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as forms

    key = x509.load_pem_x509_certificate(certificate).public_key()
    return key.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
