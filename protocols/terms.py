"""What a masked round is agreed to be: every party computes with these, and no others.

The digest of the terms is in every advert and every key, so that what was made for
other terms, another round or another attempt opens nothing here.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .aborts import Abort, stop
from .errors import ConfigError

_NOISE = ("clip", "noise")
LEAST = 3
"""The fewest survivors of any masked round, and the least release threshold."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A masked round's numbers.

    Attributes:
        run: the run's id.
        round: counted from 1.
        attempt: 32 hex digits that the server draws anew each time.
        base: digest of the model version that training starts from.
        layout: fingerprint of a contribution's layout.
        recipe: the merge, as text.
        space: the space that it merges in.
        names: who is asked, in name order.
        shares: what each counts for, from 1.
        threshold: the fewest survivors, and how many shares open a secret.
        colluders: how many clients may work with the server.
        release: the fewest clients whose values one opened sum may hold, by side; 0:
            no demand.
        slack: how many may be lost between counts and values.
        support: "shared": all send the same places; "private": each its own.
        passes: 1: sums at once; 2: counts first, then the sums that may be opened.
        places: digest of the places that all send; empty: all, or keyed ones.
        lane: bits of a word.
        fraction: fractional bits below the bound.
        exponent: no magnitude is above two to the power of it.
        clip: the norm that each client clips its own change to; 0: no noise is added.
        noise: deviation of the noise that each client adds to each of its sums.
    """

    run: str
    round: int
    attempt: str
    base: str
    layout: str
    recipe: str
    space: str
    names: tuple[str, ...]
    shares: tuple[int, ...]
    threshold: int
    colluders: int
    release: int
    slack: int
    support: str
    passes: int
    places: str
    lane: int
    fraction: int
    exponent: int
    clip: float = 0.0
    noise: float = 0.0

    @property
    def total(self) -> int:
        """All shares together."""
        return sum(self.shares)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text, hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def share(self, name: str) -> int:
        """What a member counts for."""
        return self.shares[self.names.index(name)]

    def held(self, names: Any) -> int:
        """The shares of some members together."""
        return sum(self.share(one) for one in names)

    def number(self, name: str) -> int:
        """A holder's number among the shares of a secret, from 1."""
        return self.names.index(name) + 1

    def blank(self) -> "Terms":
        """The same without what only the server draws: to be compared."""
        return replace(self, attempt="", places="")

    def to_json(self) -> str:
        """Canonical text; of noise, where there is some."""
        said = {k: one for k, one in asdict(self).items() if k not in _NOISE or one}
        return json.dumps(said, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Terms":
        """Read it back.

        Raises:
            AbortError: WRONG_TERMS, these are none.
        """
        try:
            given = json.loads(text)
            if {*given, *_NOISE} != {one.name for one in fields(cls)}:
                stop(Abort.WRONG_TERMS, "other fields than terms have")
            lists = {name: tuple(given[name]) for name in ("names", "shares")}
            return cls(**given | lists)
        except (ValueError, TypeError, AttributeError) as error:
            stop(Abort.WRONG_TERMS, f"no terms of a masked round ({error!r})")


def least(asked: int, colluders: int) -> int:
    """The least threshold: a server with so many clients on its side learns nothing.

    More than half of the asked and the colluders together, so that the honest cannot
    be brought to open both secrets of one client by being told different things; and
    two honest clients in every sum.

    Example:
        >>> least(4, 1), least(10, 1), least(10, 3)
        (3, 6, 7)
    """
    return max(LEAST, colluders + 2, (asked + colluders) // 2 + 1)


def check(terms: Terms) -> None:
    """Hold terms to what makes a masked round safe.

    Raises:
        ConfigError: the message names the key and what is allowed.
    """
    asked, wanted = len(terms.names), least(len(terms.names), terms.colluders)
    if terms.colluders < 0 or terms.slack < 0:
        raise ConfigError("privacy.colluders and privacy.slack are 0 or more")
    if not wanted <= terms.threshold <= asked:
        raise ConfigError(
            f"privacy.threshold is {terms.threshold}, allowed for {asked} clients of "
            f"whom {terms.colluders} may collude: {wanted} to {asked}"
            + ("" if wanted <= asked else ": ask more clients")
        )
    floor = max(LEAST, terms.colluders + 2)
    if terms.release and terms.release < floor:
        raise ConfigError(
            f"privacy.release is {terms.release}, allowed: {floor} and above "
            "(two honest clients in every opened sum), or 0"
        )
    if len(set(terms.names)) != asked or asked != len(terms.shares):
        raise ConfigError("a masked round names each client once, with its share")
    if any(share < 1 for share in terms.shares):
        raise ConfigError("a client that counts for nothing takes no part under masks")


def of_text(text: str) -> Terms:
    """Terms that came, held to what makes a round safe.

    Raises:
        AbortError: WRONG_TERMS.
    """
    found = Terms.from_json(text)
    try:
        check(found)
    except (ConfigError, TypeError) as error:
        stop(Abort.WRONG_TERMS, str(error))
    return found
