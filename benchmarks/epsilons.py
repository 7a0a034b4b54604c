"""Federations by epsilon: what a cell is, the table over seeds, the picture.

`privacy.py` and `heads.py` fill the rows. What a federation is worth is its gain: how
much accuracy it adds, or how many nats a token a language model loses of the logarithm
of its perplexity; so seeds with other test texts can stand side by side.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DELTA = 1e-5
EPSILONS = (8.0, 3.0, 1.0)
ACCURACY, PERPLEXITY = "accuracy", "perplexity"
GAINS = {ACCURACY: "accuracy gained", PERPLEXITY: "log perplexity lost, nats a token"}
HEAD = (
    "| | clients | before | no noise | ε = 8 | ε = 3 | ε = 1 | seeds |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One federation.

    Attributes:
        model: "tiny", "head", or a preset's name.
        level: "client" or "record".
        epsilon: the budget of all rounds together; 0: no noise.
        clients: how many there are.
        seed: of everything but the noise.
    """

    model: str
    level: str
    epsilon: float
    clients: int
    seed: int = 0


def gain(row: Row) -> float:
    """What a federation added; above 0 is better.

    Example:
        >>> round(gain({"metric": "accuracy", "base": 0.5, "final": 0.75}), 3)
        0.25
        >>> round(gain({"metric": "perplexity", "base": 20.0, "final": 10.0}), 3)
        0.693
    """
    base, final = row["base"], row["final"]
    if row["metric"] == PERPLEXITY:
        return math.log(base / final)
    return float(final - base)


def lines(rows: Sequence[Row]) -> dict[tuple[str, str, int], dict[float, list[Row]]]:
    """Rows by (model, level, clients), then by epsilon."""
    held: dict[Any, dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        held[row["model"], row["level"], row["clients"]][row["epsilon"]].append(row)
    return dict(sorted(held.items()))


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line a federation: before, and by epsilon the mean gain over its seeds.

    Behind ± stands the standard deviation over seeds, where there are several; in
    brackets how many, where they are fewer than the line's.
    """
    yield from HEAD
    for (model, level, clients), held in lines(rows).items():
        some = [row for found in held.values() for row in found]
        bases = {row["seed"]: row["base"] for row in some}
        base = statistics.fmean(bases.values())
        before = f"{some[0]['metric']} {base:.4g}"
        most = max(len(found) for found in held.values())
        gains = [_gains(held.get(one, []), most) for one in (0.0, *EPSILONS)]
        told = [f"{model}, {level}", str(clients), before, *gains, str(most)]
        yield f"| {' | '.join(told)} |"


def _gains(rows: Sequence[Row], most: int) -> str:
    found = [gain(row) for row in rows]
    if not found:
        return ""
    mean = f"{statistics.fmean(found):+.3f}"
    spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    return f"{mean}{spread}" + (f" ({len(found)})" if len(found) < most else "")


def plot(rows: Sequence[Row], path: Path) -> None:
    """Gain over epsilon: a panel a model, a line a federation, seeds as dots.

    What was run at one epsilon alone is in the table, and not here.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    models = sorted({row["model"] for row in rows})
    size = (6.0 * len(models), 5.2)
    figure, panels = plt.subplots(1, len(models), figsize=size, squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        some = [row for row in rows if row["model"] == model]
        drawn = [one for one in lines(some).items() if len(one[1]) > 1]
        for place, ((_, level, clients), held) in enumerate(drawn):
            told = f"{level} level, {clients} clients"
            _line(axes, held, told, f"C{place}")
        axes.axhline(0.0, ls="--", color="grey", label="before any round")
        axes.set(xlabel=f"epsilon (delta {DELTA:g})", xscale="log", title=model)
        axes.set(ylabel=GAINS[some[0]["metric"]])
        axes.set_xticks(EPSILONS, [f"{one:g}" for one in EPSILONS])
        axes.minorticks_off()
        axes.legend(
            fontsize="x-small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14)
        )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(axes: Any, held: dict[float, list[Row]], told: str, colour: str) -> None:
    dots = [(e, gain(row)) for e in sorted(EPSILONS) for row in held.get(e, [])]
    means = [
        (e, statistics.fmean(gain(row) for row in held[e]))
        for e in sorted(EPSILONS)
        if held.get(e)
    ]
    if dots:
        axes.plot(*zip(*means, strict=True), "-", color=colour, label=told)
        axes.plot(*zip(*dots, strict=True), ".", color=colour)
    if calm := [gain(row) for row in held.get(0.0, [])]:
        mean = statistics.fmean(calm)
        axes.axhline(mean, ls=":", color=colour, label=f"{told}, no noise")
