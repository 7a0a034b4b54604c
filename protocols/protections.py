"""The table of a run's configuration that says what its releases may reveal."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Privacy"]


@dataclass(frozen=True, slots=True)
class Privacy:
    """[privacy]: differential privacy, as docs/privacy.md defines it.

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
            added their share.
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
