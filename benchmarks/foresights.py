"""Which figure predicts trouble: diagnostics held against what merges of pairs lose.

After the manner of section 7.4 of the survey `Model merging in the era of large
language models`: figures of parameters beside those of hidden states. A cohort's pairs
are no independent draws, so intervals draw whole cohorts again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from fedelta.protocols import seeds
from fedelta.server.evidence.diagnoses import predictors

FIGURES = {
    "cosine": -1.0,
    "conflict": 1.0,
    "conflict_trimmed": 1.0,
    "disparity": 1.0,
    "overlap_written": -1.0,
    "cka": -1.0,
    "rate_gap": 1.0,
}
"""What is asked, and whether more of it should mean trouble (1) or less (-1)."""
DRAWS = 300

Rows = Sequence[Mapping[str, Any]]
Values = npt.NDArray[np.float64]
Score = Callable[[Values, Values], float]


def rank(figure: Values, drop: Values) -> float:
    """Spearman's correlation."""
    return predictors({"figure": figure.tolist()}, drop.tolist())["figure"]


def area(figure: Values, drop: Values) -> float:
    """How often a merge in trouble has the higher figure of two: the AUC.

    In trouble is the quarter of merges that lose most.

    Example:
        >>> area(np.array([1.0, 2, 3, 4]), np.array([0.0, 0, 0, 1]))
        1.0
    """
    bad = drop > np.quantile(drop, 0.75)
    if bad.all() or not bad.any():
        return 0.5
    one, other = figure[bad][:, None], figure[~bad]
    return float((one > other).mean() + 0.5 * (one == other).mean())


def recipes(rows: Rows) -> list[str]:
    """By what pairs were merged."""
    return [name[5:] for name in rows[0]["pairs"][0] if name.startswith("drop ")]


def series(rows: Rows, name: str, recipe: str) -> Iterator[tuple[Values, Values]]:
    """By cohort: a figure, turned so that more should mean trouble, and drops."""
    for row in rows:
        figure = [FIGURES[name] * pair[name] for pair in row["pairs"]]
        yield np.array(figure), np.array([p[f"drop {recipe}"] for p in row["pairs"]])


def pooled(parts: Sequence[tuple[Values, Values]], score: Score) -> float:
    """A score over the pairs of all cohorts."""
    return score(*(np.concatenate([part[n] for part in parts]) for n in (0, 1)))


def within(parts: Sequence[tuple[Values, Values]], score: Score) -> float:
    """The mean of cohorts' own scores: what is left where skew and seed are alike."""
    return fmean(score(*part) for part in parts)


def interval(
    parts: Sequence[tuple[Values, Values]], read: Callable[..., float], score: Score
) -> tuple[float, float, float]:
    """A score with the ends of its 95 % interval, cohorts drawn again."""
    count = len(parts)
    key = seeds.key("foresights", count)
    places = (seeds.uniform(key, 0, DRAWS * count) * count).astype(np.int64)
    found = [
        read([parts[place] for place in draw], score)
        for draw in places.reshape(DRAWS, count).tolist()
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return read(parts, score), float(low), float(high)


def told(rows: Rows) -> Iterator[tuple[str, str, list[tuple[float, float, float]]]]:
    """By recipe and figure: rank over all; within all and strong cohorts; AUC."""
    held = [row for row in rows if len(row.get("pairs", ())) > 2]  # noqa: PLR2004
    strong = [row for row in held if row["skew"] == "strong"] or held
    for recipe in recipes(held) if held else ():
        for name in FIGURES:
            parts = list(series(held, name, recipe))
            found = [interval(parts, pooled, rank), interval(parts, within, rank)]
            found += [interval(list(series(strong, name, recipe)), within, rank)]
            yield recipe, name, [*found, interval(parts, pooled, area)]


def table(rows: Rows) -> str:
    """As Markdown."""
    head = ["pairs merged by", "figure", "rank, all pairs", "rank, within a cohort"]
    head += ["within a strongly skewed one", "AUC, worst quarter"]
    lines = [head, ["---"] * len(head)]
    for recipe, name, found in told(rows):
        cells = [f"{middle:+.2f} ({a:+.2f} to {b:+.2f})" for middle, a, b in found]
        sign = "" if FIGURES[name] > 0 else "less "
        area_of = cells[-1].replace("+", "")
        lines.append([f"`{recipe}`", f"{sign}{name}", *cells[:-1], area_of])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def draw(rows: Rows, path: Path) -> None:
    """Drops over three figures, by skew."""
    from matplotlib import pyplot as plt

    names = ("conflict", "cosine", "overlap_written", "rate_gap")
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    rows = [row for row in rows if "pairs" in row]
    recipe = recipes(rows)[0]
    for axis, name in zip(axes, names, strict=True):
        for skew in dict.fromkeys(row["skew"] for row in rows):
            held = [
                pair for row in rows if row["skew"] == skew for pair in row["pairs"]
            ]
            drops = [pair[f"drop {recipe}"] for pair in held]
            axis.plot([p[name] for p in held], drops, ".", markersize=3, label=skew)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set(xlabel=name)
    axes[0].set(ylabel=f"what a pair's {recipe} loses, nats")
    axes[-1].legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
