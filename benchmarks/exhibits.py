"""Tables and plots of what `evidence.py` found: which recipe when.

A recipe's gap is its metric less FedAvg's on the same replies. Intervals are Student's
over seeds; the test turns gaps round by all signs (`bootstraps.chance`), so that five
seeds alone would reach p = 0.06 at best: it is of all skews' cohorts together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fedelta.server.evidence.bootstraps import chance

IMAGES = Path(__file__).parent.parent / "docs" / "images"
BASIS = "fedavg()"
SKEWS = ("iid", "mild", "strong")
LANGUAGE = "smollm2-domains"
BELOW = "perplexity below FedAvg's, per cent"
SPOKEN = ("iid", "mild", "domains")
"""Of the language model; the last is a domain a client."""
WIRES = ("fp32", "sparse(density=0.2, values='sign256')")
KINDS = dict(zip(("dense", "sparse"), WIRES, strict=True))
COURSES = (
    BASIS,
    "fedavg() | scale(2.0)",
    "ties(density=0.8)",
    "min_agree(members=3)",
    "dare_ties(density=0.5)",
    "model_stock()",
)
"""Recipes whose accuracy after each round is told."""
STUDENT = (math.nan, math.nan, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, 97.5 %, by degrees of freedom from two; 2.1 from ten on."""

Rows = Sequence[Mapping[str, Any]]


def half(values: Sequence[float]) -> float:
    """Half a 95 % interval of a mean.

    Example:
        >>> round(half([1.0, 2.0, 3.0]), 2)
        2.48
    """
    count = len(values)
    if count < 3:  # noqa: PLR2004  two say nothing of how far others are
        return math.nan
    factor = STUDENT[count - 1] if count <= len(STUDENT) else 2.1
    return factor * stdev(values) / math.sqrt(count)


def some(rows: Rows, **wanted: Any) -> list[Mapping[str, Any]]:
    """Rows that are of a kind."""
    return [
        row for row in rows if all(row[key] == value for key, value in wanted.items())
    ]


def gaps(rows: Rows, wire: str, metric: str = "accuracy") -> dict[str, list[float]]:
    """By recipe, a gap a row: how much better than FedAvg on the same replies."""
    found: dict[str, list[float]] = {}
    for row in rows:
        told = row["recipes"].get(wire, {})
        for name, value in told.items() if BASIS in told else ():
            gap = value[metric] - told[BASIS][metric]
            better = gap if metric == "accuracy" else -gap
            found.setdefault(name, []).append(better)
    return found


def longer(rows: Rows, preset: str, after: int = 0) -> Rows:
    """Runs of several rounds as rows with all recipes of the same skew and seed.

    Args:
        rows: everything that is kept.
        preset: the runs wanted.
        after: the round whose model is told; 0: each run's last.
    """
    found: dict[Any, dict[str, Any]] = {}
    for row in some(rows, preset=preset):
        if row["rounds"] > 1:
            own = {"skew": row["skew"], "recipes": {}, "by_round": {}}
            held = found.setdefault((row["skew"], row["seed"]), own)
            for wire, ended in row["recipes"].items():
                for name in ended:
                    model = row["by_round"][after - 1]
                    held["recipes"].setdefault(wire, {})[name] = model
                    held["by_round"].setdefault(wire, {})[name] = row["by_round"]
    return list(found.values())


def told(values: Sequence[float], scale: float = 100.0, digits: int = 1) -> str:
    """A mean with its interval; bold where that does not hold 0.

    Example:
        >>> told([0.01, 0.02, 0.03]), told([0.02, 0.021, 0.019])
        ('+2.0 ± 2.5', '**+2.0 ± 0.2**')
    """
    if not values:
        return ""
    mean, wide = scale * fmean(values), scale * half(values)
    if math.isnan(wide):
        return f"{mean:+.{digits}f}"
    text = f"{mean:+.{digits}f} ± {wide:.{digits}f}"
    return f"**{text}**" if abs(mean) > wide and any(values) else text


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def code(text: str) -> str:
    """As Markdown's code within a table."""
    return f"`{text}`".replace("|", "\\|")


def once(held: Rows, wire: str) -> str:
    """On the encoder: points above FedAvg by recipe and skew."""
    by_skew = [gaps(some(held, skew=skew), wire) for skew in SKEWS]
    every, worst = gaps(held, wire), gaps(held, wire, "worst")
    counts = [len(one.get(BASIS, [])) for one in by_skew]
    body = []
    for name, values in every.items():
        found = chance(values)
        given = [one.get(name, []) for one in by_skew]
        cells = map(_counted, given, counts)
        p = _chance(found.signs) if found and name != BASIS else ""
        body.append([code(name), *cells, p, told(worst[name], 1.0, 2)])
    head = [f"{skew} ({n})" for skew, n in zip(SKEWS, counts, strict=True)]
    return table(["recipe", *head, "p, all", "worst client's loss"], body)


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"  # noqa: PLR2004


def levels(single: Rows, skews: Sequence[str], metric: str, scale: float) -> str:
    """What the gaps stand on: the base's metric, clients' alone, FedAvg's."""
    body = []
    for skew in skews:
        held = some(single, skew=skew)
        alone = [row["solo"].values() for row in held if row.get("solo")]
        solos = [fmean(one[metric] for one in row) for row in alone]
        found = [[row["before"][metric] for row in held], solos] + [
            [row["recipes"][wire][BASIS][metric] for row in held] for wire in WIRES
        ]
        cells = [f"{scale * fmean(one):.1f}" if one else "" for one in found]
        body.append([skew, *cells])
    head = ["skew", "no training", "one client's own", "FedAvg, dense"]
    return table([*head, "FedAvg, sparse"], body)


def courses(held: Rows, wire: str) -> str:
    """Accuracy in per cent after each round, by skew, of some recipes."""
    body = []
    for name in COURSES:
        cells = []
        for skew in SKEWS:
            given = some(held, skew=skew)
            runs = [row["by_round"].get(wire, {}).get(name) for row in given]
            kept = zip(*filter(None, runs), strict=True)
            means = [fmean(one["accuracy"] for one in each) for each in kept]
            cells.append(", ".join(f"{100 * mean:.1f}" for mean in means))
        body.append([code(name), *cells])
    return table(["recipe", *SKEWS], body)


def _counted(values: Sequence[float], usual: int) -> str:
    """As `told`, with how many there are, where they are fewer than usual."""
    fewer = f" ({len(values)})" if 0 < len(values) < usual else ""
    return told(values) + fewer


def language(held: Rows) -> str:
    """The language model: perplexity below FedAvg's, in per cent, by skew."""
    found = {}
    for (kind, wire), skew in product(KINDS.items(), SPOKEN):
        told_of = _perplexities(some(held, skew=skew), wire)
        if told_of:
            found[f"{kind}, {skew} ({len(told_of[BASIS])})"] = told_of
    names = dict.fromkeys(name for one in found.values() for name in one)
    body = [
        [code(name)]
        + [_counted(one.get(name, []), len(one[BASIS])) for one in found.values()]
        for name in names
    ]
    return table(["recipe", *found], body)


def _perplexities(held: Rows, wire: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in held:
        told_of = row["recipes"].get(wire, {})
        for name, value in told_of.items() if BASIS in told_of else ():
            share = value["perplexity"] / told_of[BASIS]["perplexity"]
            found.setdefault(name, []).append(1 - share)
    return found


def tables(rows: Rows) -> Iterator[tuple[str, str]]:
    """Everything that the rows tell, by its mark in docs/findings.md."""
    single = some(rows, preset="icd10", rounds=1)
    several = longer(rows, "icd10")
    if single:
        yield "levels", levels(single, SKEWS, "accuracy", 100.0)
    for name, wire in KINDS.items():
        if single:
            yield name, once(single, wire)
        if any(wire in row["recipes"] for row in several):
            yield f"rounds-{name}", once(several, wire)
            yield f"courses-{name}", courses(several, wire)
    spoken = some(rows, preset=LANGUAGE, rounds=1)
    if spoken:
        yield "language-levels", levels(spoken, SPOKEN, "perplexity", 1.0)
        yield "language", language(spoken)
    several = longer(rows, LANGUAGE, after=2)
    if several:
        yield "rounds-language", language(several)
    last = some(longer(rows, LANGUAGE), skew=SPOKEN[-1])
    if last:
        yield "rounds-domains", language(last)


def show(rows: Rows) -> None:
    """Print the tables."""
    print(f"{len(rows)} cells")
    for name, text in tables(rows):
        print(f"\n{name}\n{text}")


def draw(rows: Rows, folder: Path = IMAGES) -> None:
    """Write recipes.png and recipes-language.png, where there are such rows."""
    for preset, found, skews, when, after, label, name in (
        ("icd10", gaps, SKEWS, "three", 0, "accuracy above FedAvg's, points", ""),
        (LANGUAGE, _perplexities, SPOKEN, "two", 2, BELOW, "-language"),
    ):
        single = some(rows, preset=preset, rounds=1)
        if single:
            kinds = {"one round": single, f"{when} rounds": longer(rows, preset, after)}
            told_of = {
                f"{many}, {kind} replies": {
                    skew: found(some(held, skew=skew), wire) for skew in skews
                }
                for (many, held), (kind, wire) in product(kinds.items(), KINDS.items())
            }
            _panels(told_of, label, folder / f"recipes{name}.png")


def _panels(
    told_of: Mapping[str, Mapping[str, Mapping[str, list[float]]]],
    label: str,
    path: Path,
) -> None:
    """Four panels, by title, skew and recipe."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 10.4), layout="constrained")
    for axis, (title, by_skew) in zip(axes.flat, told_of.items(), strict=True):
        _gaps(axis, by_skew)
        axis.set(xlabel=label, title=title)
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _gaps(axis: Any, by_skew: Mapping[str, Mapping[str, list[float]]]) -> None:
    """One panel: a recipe a line, a colour a skew, intervals over seeds."""
    every = dict.fromkeys(name for found in by_skew.values() for name in found)
    names = [name for name in every if name != BASIS][::-1]
    for shift, (skew, found) in enumerate(by_skew.items()):
        kept = [name for name in names if name in found]
        axis.errorbar(
            [100 * fmean(found[name]) for name in kept],
            [names.index(name) + 0.25 * (1 - shift) for name in kept],
            xerr=[100 * half(found[name]) for name in kept],
            fmt="o",
            markersize=3,
            linewidth=1,
            label=skew,
        )
    axis.axvline(0, color="grey", linewidth=1)
    axis.grid(axis="y", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_yticks(range(len(names)), names, fontsize=7)
