"""What institutions sign of their replies: held to what came, and to one key each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from ..client import signatures
from ..protocols import chains, digests
from ..protocols.messages import Signed, read_signed
from ..protocols.refusals import Reason, Refusal

FILE = "signers.json"
"""In a run's folder: by client, the key that it signed with first."""


Told = dict[str, str]
"""Signer and signature for a seal's note; nothing where nobody signed."""


def signed(
    content: RecordDict, run: str, client: str, data: bytes, folder: Path
) -> Told | Refusal:
    """A reply's signature, held to what came.

    Args:
        content: the reply.
        run: the run's id.
        client: whose reply it is.
        data: its payload.
        folder: the run's.
    """
    found = read_signed(content)
    if isinstance(found, Refusal):
        return found
    return _held(found, run, client, digests.of_bytes(data), folder)


def vouched(
    said: Mapping[str, Any], run: str, client: str, folder: Path
) -> Told | Refusal:
    """The same of a reply that a region vouches for, by the digest that it tells."""
    found = (str(said.get("signer", "")), str(said.get("signature", "")))
    digest = str(said.get("digest"))
    return _held(found if found[0] else None, run, client, digest, folder)


def _held(
    found: Signed | None, run: str, client: str, digest: str, folder: Path
) -> Told | Refusal:
    """Whoever has signed once in a run signs always, and with the same key."""
    path = folder / FILE
    known = signatures.pinned(path) if path.exists() else {}
    if found is None:
        unsigned = Refusal(Reason.BAD_SIGNATURE, "unsigned, and signed before")
        return unsigned if client in known else {}
    signer, signature = found
    if not chains.holds(signer, signature, chains.contribution(run, client, digest)):
        return Refusal(Reason.BAD_SIGNATURE, "of something else than what came")
    if known.get(client, signer) != signer:
        return Refusal(Reason.BAD_SIGNATURE, "by another key than before")
    signatures.seen(path, {client: signer})
    return {"signer": signer, "signature": signature}
