"""What institutions sign of their replies: held to what came, and to one key each."""

from pathlib import Path

from flwr.app import RecordDict

from ..client import signatures
from ..protocols import chains, digests
from ..protocols.messages import read_signed
from ..protocols.refusals import Reason, Refusal

FILE = "signers.json"
"""In a run's folder: by client, the key that it signed with first."""


def signed(
    content: RecordDict, run: str, client: str, data: bytes, folder: Path
) -> dict[str, str] | Refusal:
    """A reply's signer and signature for its seal's note; nothing where none is asked.

    Whoever has signed once in a run signs always, and with the same key.

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
    path = folder / FILE
    known = signatures.pinned(path) if path.exists() else {}
    if found is None:
        unsigned = Refusal(Reason.BAD_SIGNATURE, "unsigned, and signed before")
        return unsigned if client in known else {}
    signer, signature = found
    text = chains.contribution(run, client, digests.of_bytes(data))
    if not chains.holds(signer, signature, text):
        return Refusal(Reason.BAD_SIGNATURE, "of something else than what came")
    if known.get(client, signer) != signer:
        return Refusal(Reason.BAD_SIGNATURE, "by another key than before")
    signatures.seen(path, {client: signer})
    return {"signer": signer, "signature": signature}
