"""Which figure predicts trouble: diagnostics held against what merges of pairs lose.

After the manner of section 7.4 of the survey `Model merging in the era of large
language models`: figures of parameters beside those of hidden states. A score is a mean
over the methods that pairs were merged by. A cohort's pairs are no independent draws,
so intervals draw whole cohorts again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fedelta.benchmarks.exhibits import code, table
from fedelta.protocols import seeds
from fedelta.server.evidence.diagnoses import predictors

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "foretold.png"
FIGURES = {
    "cosine": -1.0,
    "conflict": 1.0,
    "conflict_trimmed": 1.0,
    "disparity": 1.0,
    "overlap_written": -1.0,
    "cka": -1.0,
    "rate_gap": 1.0,
    "barrier": 1.0,
}
"""What is asked, and whether more of it should mean trouble (1) or less (-1)."""
DRAWS = 300

Kind = TypeVar("Kind")

Rows = Sequence[Mapping[str, Any]]
Values = npt.NDArray[np.float64]
Score = Callable[[Values, Values], float]
Part = tuple[Values, Values]
"""Of a cohort: a figure, [pairs], and what merges lose, [methods, pairs]."""
MEAN, SIGNS = "fedavg()", "ties(density=0.2)"
PRESETS = {"icd10": "foretold", "smollm2-domains": "foretold-language"}


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


def methods(rows: Rows) -> list[str]:
    """By what pairs were merged."""
    return [name[5:] for name in rows[0]["pairs"][0] if name.startswith("drop ")]


def parts(rows: Rows, name: str, wanted: Sequence[str]) -> list[Part]:
    """By cohort: a figure, turned so that more should mean trouble, and drops."""
    found = []
    for row in rows:
        figure = [FIGURES[name] * pair[name] for pair in row["pairs"]]
        drops = [[pair[f"drop {one}"] for pair in row["pairs"]] for one in wanted]
        found.append((np.array(figure), np.array(drops)))
    return found


def pooled(given: Sequence[Part], score: Score) -> float:
    """A score over the pairs of all cohorts."""
    figure = np.concatenate([part[0] for part in given])
    drops = np.concatenate([part[1] for part in given], axis=1)
    return fmean(score(figure, drop) for drop in drops)


def apart(given: Sequence[Part], score: Score) -> list[float]:
    """Each cohort's own score: what is left where skew and seed are alike."""
    return [fmean(score(figure, drop) for drop in drops) for figure, drops in given]


def interval(
    given: Sequence[Kind], read: Callable[[Sequence[Kind]], float]
) -> tuple[float, float, float]:
    """What is read of cohorts, with its 95 % interval: cohorts are drawn again."""
    count = len(given)
    key = seeds.key("foresights", count)
    places = (seeds.uniform(key, 0, DRAWS * count) * count).astype(np.int64)
    found = [
        read([given[place] for place in draw])
        for draw in places.reshape(DRAWS, count).tolist()
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return read(given), float(low), float(high)


def told(rows: Rows) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
    """By figure: rank over all; within cohorts, and within strong ones; AUC."""
    strong = [row for row in rows if row["skew"] == "strong"]
    for name in FIGURES:
        given = parts(rows, name, methods(rows))
        found = [interval(given, partial(pooled, score=rank))]
        found.append(interval(apart(given, rank), fmean))
        if strong:
            some = parts(strong, name, methods(rows))
            found.append(interval(apart(some, rank), fmean))
        yield name, [*found, interval(given, partial(pooled, score=area))]


def scores(rows: Rows) -> str:
    """How well figures foretell, as Markdown."""
    head = ["figure", "rank, all pairs", "rank, within a cohort"]
    if any(row["skew"] == "strong" for row in rows):
        head.append("within a strongly skewed one")
    body = []
    for name, found in told(rows):
        cells = [f"{middle:+.2f} ({a:+.2f} to {b:+.2f})" for middle, a, b in found]
        body.append([_titled(name), *cells[:-1], cells[-1].replace("+", "")])
    return table([*head, "AUC, worst quarter"], body)


def by_method(rows: Rows) -> str:
    """The rank over all pairs by method; and of what `SIGNS` gains over `MEAN`."""
    wanted, body = methods(rows), []
    for name in FIGURES:
        ranks = [pooled(parts(rows, name, [one]), rank) for one in wanted]
        two = parts(rows, name, [MEAN, SIGNS])
        gains = [(figure, drops[:1] - drops[1:]) for figure, drops in two]
        ranks.append(pooled(gains, rank))
        body.append([_titled(name), *(f"{one:+.2f}" for one in ranks)])
    lost = [[p[f"drop {one}"] for row in rows for p in row["pairs"]] for one in wanted]
    means = [fmean(one) for one in lost]
    means.append(means[wanted.index(MEAN)] - means[wanted.index(SIGNS)])
    body.append(["mean drop, nats", *(f"{one:+.2f}" for one in means)])
    head = map(code, wanted)
    return table(["figure", *head, f"{code(SIGNS)} over {code(MEAN)}"], body)


def _titled(name: str) -> str:
    return name if FIGURES[name] > 0 else f"less {name}"


def tables(rows: Rows) -> Iterator[tuple[str, str]]:
    """By mark in docs/findings.md."""
    for preset, mark in PRESETS.items():
        held = [row for row in rows if row["preset"] == preset]
        if held:
            yield mark, scores(held)
            yield f"{mark}-methods", by_method(held)


def draw(rows: Rows, path: Path = IMAGE) -> None:
    """Drops over four figures, by preset and skew."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    names = ("conflict", "cosine", "overlap_written", "rate_gap")
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.2), layout="constrained")
    for line, preset in zip(axes, PRESETS, strict=True):
        held = [row for row in rows if row["preset"] == preset]
        for axis, name in zip(line, names, strict=True):
            for skew in dict.fromkeys(row["skew"] for row in held):
                found = [p for r in held if r["skew"] == skew for p in r["pairs"]]
                drops = [pair[f"drop {MEAN}"] for pair in found]
                values = [pair[name] for pair in found]
                axis.plot(values, drops, ".", markersize=3, label=skew)
            axis.axhline(0, color="grey", linewidth=0.8)
            axis.set(xlabel=name)
        line[0].set_title(preset, loc="left", fontsize=9)
        line[0].set_ylabel(f"what a pair's {MEAN} loses, nats", fontsize=8)
        line[-1].legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
