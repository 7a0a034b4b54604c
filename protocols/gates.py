"""What a merged model must show before it is handed out."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Gate:
    """[gate]: a merge is judged before it replaces the global model.

    Attributes:
        policy: "off"; "report": every contribution's worth goes into the record;
            "fall_back": a merge that is worse than the last model is replaced by the
            first of `fall_back` that is not; "quarantine": contributions without which
            the merge is better are left out, and their clients for `rounds` more;
            "split": the cohort is cut into `clusters` by how alike its updates are,
            and the cluster whose merge does best is taken.
        source: what is judged on: "validation" (what the clients keep for it, where
            the server has it: in a simulation), "clients" (the same, by the clients
            themselves: whole merges alone), "test" (the global test set, which is
            then no unbiased judge any more), or a file as `data.test`.
        metric: by which; empty: `eval.metric`.
        tolerance: how much worse than the last model a merge may be.
        margin: how much better a merge must be without a contribution to quarantine it.
        fall_back: what is tried instead, in order: a recipe, "gain=0.5" (a share of the
            merged update) or "last" (no update at all).
        rounds: how many further rounds a quarantined client sits out.
        clusters: how many clusters a cohort is split into.
    """

    policy: Literal["off", "report", "fall_back", "quarantine", "split"] = "off"
    source: str = "validation"
    metric: str = ""
    tolerance: float = 0.0
    margin: float = 0.0
    fall_back: tuple[str, ...] = ("fedavg()", "gain=0.5", "last")
    rounds: int = 1
    clusters: int = 2
