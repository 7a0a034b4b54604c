"""The grid that `attacks.py` runs: which attacks meet which defences, and where."""

from collections.abc import Iterator

from fedelta.aggregators.signs import enough
from fedelta.benchmarks.adversaries import ATTACKS
from fedelta.benchmarks.arenas import PROBE
from fedelta.benchmarks.fights import LEFT_OUT, Cell

CLIENTS, FEARED = 10, 3
"""How many clients there are, and how many of them defences are told to expect."""
MEAN, CLIP, TRIM = "fedavg()", "centered_clipping(steps=1)", "trimmed_mean(trim=0.3)"
TRUST = f"fltrust(probe='{PROBE}')"
NEIGHBOURS, KRUMS = f"nnm({TRIM}, hostile={FEARED})", f"multi_krum(hostile={FEARED})"
DEFENCES = (
    MEAN,
    CLIP,
    "centered_clipping()",
    "median()",
    TRIM,
    "geometric_median()",
    f"krum(hostile={FEARED})",
    KRUMS,
    NEIGHBOURS,
    TRUST,
    "ties(density=0.5)",
    "ties(density=0.5, election='count')",
    f"min_agree(members={enough(CLIENTS, FEARED)})",
    "sign_vote()",
    LEFT_OUT + MEAN,
)
"""`centered_clipping(steps=1)` is clipping to the cohort's median norm, of products.
Bulyan needs 15 clients for three hostile ones, and is not here."""
SHARES = (0.3, 0.1, 0.2)
SKEWS = (0.3, 100.0)
SEEDS = range(5)
FEW = (MEAN, CLIP, TRIM)
SEVERAL = (MEAN, CLIP, TRIM, NEIGHBOURS, TRUST)
LASTING = ("scaling", "label flip", "backdoor", "hijack")


def cells(part: str) -> Iterator[Cell]:
    """The cells of a part, "" being all but "whole" and "quick".

    "once": a single round among all attacks and defences; "fewer": with fewer hostile
    clients; "gauges": other factors for the same products; "rounds": three rounds of
    some; "whole": some on the whole encoder; "quick": few.
    """
    parts = {
        "once": lambda: _once((0.0, SHARES[0])),
        "fewer": lambda: _once(SHARES[1:]),
        "gauges": _gauges,
        "rounds": _rounds,
    }
    if part == "quick":
        yield from _quick()
    elif part == "whole":
        yield from _whole()
    else:
        for name, made in parts.items():
            if part in ("", name):
                yield from made()


def _quick() -> Iterator[Cell]:
    questions = (("none", 0.0), ("scaling", 0.3), ("gaussian", 0.3))
    for attack, share in questions:
        for one in FEW:
            yield Cell(attack, one, share, rounds=3)
    for space in ("factors", "product"):
        yield Cell("gauge", MEAN, 0.3, space, rounds=3)


def _once(shares: tuple[float, ...]) -> Iterator[Cell]:
    fought = [name for name, one in ATTACKS.items() if len(one.spaces) == 1]
    for seed in SEEDS:
        for alpha in SKEWS:
            for share in shares:
                for attack in fought:
                    if (attack == "none") != (share == 0.0):
                        continue
                    for one in DEFENCES if attack != "absent" else (MEAN,):
                        yield Cell(attack, one, share, "frozen-a", alpha, seed)


def _gauges() -> Iterator[Cell]:
    for seed in SEEDS:
        for alpha in SKEWS:
            for space in ATTACKS["gauge"].spaces:
                for one in (MEAN, CLIP, TRIM):
                    yield Cell("none", one, 0.0, space, alpha, seed)
                    yield Cell("gauge", one, 0.3, space, alpha, seed)


def _rounds() -> Iterator[Cell]:
    for seed in SEEDS[:1]:
        for attack in ("none", *LASTING):
            for one in SEVERAL:
                share = 0.0 if attack == "none" else 0.3
                yield Cell(attack, one, share, alpha=0.3, seed=seed, rounds=3)


def _whole() -> Iterator[Cell]:
    for attack in ("none", "sign flip", "scaling", "backdoor"):
        for one in SEVERAL:
            share = 0.0 if attack == "none" else 0.3
            yield Cell(attack, one, share, alpha=0.3)
