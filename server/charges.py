"""Noisy sums under masks, charged to the run's ledger before they are opened."""

import json
from collections.abc import Sequence

from ..client.accountants import Event
from ..client.ledgers import Charge
from ..protocols import digests
from ..protocols.terms import Terms
from . import protections
from .sessions import Session


def charge(session: Session, terms: Terms, survivors: Sequence[str]) -> None:
    """Charge one sum; nothing where no noise is in it.

    Another attempt at a round is another release: it is charged again.

    Raises:
        BudgetError: the sum would exceed the budget: it stays closed.
    """
    if not terms.clip:
        return
    given = session.config.privacy
    said = [terms.digest, list(survivors)]
    subject = digests.of_bytes(json.dumps(said).encode())
    ledger = protections.ledger(session)
    event = Event(given.noise_multiplier)
    spent = ledger.charge(Charge("client", terms.round, subject, event))
    session.record.add(
        "privacy",
        round=terms.round,
        delta=given.delta,
        clip=terms.clip,
        deviation=terms.noise,
        portions=len(survivors),
        epsilon=spent,
    )
