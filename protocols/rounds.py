"""The table of a run's rounds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Round:
    """[round]: who takes part and how long it may take.

    Attributes:
        clients: how many are asked a round; 0: all.
        quorum: the least number (or, below 1, share) of accepted replies.
        deadline_seconds: after which a round stops waiting.
        norm_cap: a reply whose norm is larger is refused; 0: none.
        retries: how often a round without quorum is tried again.
        over_select: ask so many more than `clients` (0.25: a quarter more); the first
            `clients` good replies count.
        late: a reply that comes when its round is over: "refuse" it, or "keep" it for
            the next one, at 1 / sqrt(1 + s) of its weight, s versions behind.
        mode: "sync": a round waits for all it asked; "async": it is over as soon as
            `buffer` replies are there, and every client goes at its own pace.
        buffer: replies that make an asynchronous round; 0: half the clients.
    """

    clients: int = 0
    quorum: float = 0.5
    deadline_seconds: float = 600.0
    norm_cap: float = 0.0
    retries: int = 0
    over_select: float = 0.0
    late: Literal["refuse", "keep"] = "refuse"
    mode: Literal["sync", "async"] = "sync"
    buffer: int = 0
