"""The table of a run's configuration that says what its releases may reveal."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Privacy"]


@dataclass(frozen=True, slots=True)
class Privacy:
    """[privacy]: differential privacy, and sums under masks: what releases may reveal.

    Attributes:
        mode: whose presence a release hides: "none": nobody's; "client": a whole
            client's, by noise on the sum of clipped contributions; "record": one
            record's of an institution, by noise in its own training (DP-SGD).
        clip: the largest L2 norm that a client's change of the weights ("client"), or
            one record's gradient ("record"), counts with.
        noise_multiplier: deviation of the noise over the sensitivity.
        rate: the chance that a client is asked in a round, for each on its own
            ("client"); it takes the place of round.clients.
        denominator: what the noisy sum is divided by, fixed and public; 0: the rate
            times the number of registered clients.
        epsilon: the budget: nothing is released that would spend more; 0: none.
        delta: the chance that is left to the guarantee.
        counts: TIES divides by noisy counts of who agrees, each counted as this times
            one beside values; 0: by the denominator.
        quantile: the clip follows this quantile of the clients' norms; 0: it is fixed.
        clip_rate: how fast it follows.
        clip_noise: deviation of the noise on the count of unclipped clients; 0: a
            twentieth of the denominator.
        noise_by: the "server" adds the noise, or the "clients" add shares of it, which
            only a masked sum makes worth anything.
        honest: with noise by clients: how many honest ones are counted on to have
            added their share; 0: `threshold` less `colluders`.
        secure_aggregation: the server sees no single contribution, only sums that it
            is given by at least `threshold` clients.
        threshold: the fewest clients in such a sum; 0: the least that is safe.
        colluders: so many clients may work with the server and learn nothing more.
        release: values are opened only where at least so many clients stand behind
            what is opened, by side of a sign; 0: wherever all send the same places.
        slack: so many clients may be lost between counts and values, which takes as
            many more behind each value.
        support: clients send the same places ("shared": what a recipe trims follows
            the last update, what it drops one mask for all), or "private" ones.
        lane: bits of the words that are added, 64 or 32.
        bound: no change of an element may be larger (the next power of two).
    """

    mode: Literal["none", "client", "record"] = "none"
    clip: float = 0.0
    noise_multiplier: float = 0.0
    rate: float = 1.0
    denominator: float = 0.0
    epsilon: float = 0.0
    delta: float = 1e-5
    counts: float = 0.0
    quantile: float = 0.0
    clip_rate: float = 0.2
    clip_noise: float = 0.0
    noise_by: Literal["server", "clients"] = "server"
    honest: int = 0
    secure_aggregation: bool = False
    threshold: int = 0
    colluders: int = 1
    release: int = 3
    slack: int = 0
    support: Literal["shared", "private"] = "shared"
    lane: Literal[32, 64] = 64
    bound: float = 8.0
