"""A client's own part in client-level privacy: its portion of noise, and its ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..aggregators import portions
from ..protocols import digests
from ..protocols.lanes import Numbers
from ..protocols.secrets import Secret
from ..protocols.settings import Config
from ..protocols.terms import Terms
from ..protocols.vectors import Floats, Pair
from . import clippings
from .accountants import Event
from .clippings import FOLDER
from .ledgers import FILE, Charge, Ledger

Tensors = Mapping[str, Floats]


def brought(
    config: Config, change: Tensors, pairs: Sequence[Pair], start: Tensors
) -> Tensors:
    """A change in the coordinates in which it is clipped and summed."""
    noisy = portions.asked(config.privacy)
    return portions.coordinates(change, pairs, start) if noisy else change


def source(terms: Terms, numbers: Numbers, home: Path) -> Secret:
    """Where a client's noise comes from: the same for the same sums in any attempt.

    Args:
        terms: the round's.
        numbers: what noise is added to.
        home: the client's folder for the run.
    """
    said = replace(terms, attempt="").to_json().encode()
    subject = digests.of_bytes(said + numbers.tobytes())
    return clippings.secret(home.parent / FOLDER).of("portion", subject)


def charge(config: Config, terms: Terms, survivors: Sequence[str], home: Path) -> None:
    """Charge a noisy sum to this client's own ledger, before it helps to open it.

    Raises:
        BudgetError: the sum would exceed the budget: nothing is revealed.
    """
    if not terms.clip:
        return
    given = config.privacy
    ledger = Ledger(home.parent / FOLDER / FILE, given.delta, given.epsilon)
    said = [terms.digest, sorted(survivors)]
    subject = digests.of_bytes(json.dumps(said).encode())
    event = Event(given.noise_multiplier)
    ledger.charge(Charge("client", terms.round, subject, event))
