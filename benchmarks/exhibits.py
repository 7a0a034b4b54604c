"""Tables and plots of what `evidence.py` found: which recipe when.

A recipe's gap is its metric less FedAvg's on the same replies. Intervals are Student's
over seeds; the test turns gaps round by all signs (`bootstraps.chance`), so that five
seeds alone would reach p = 0.06 at best: it is of all skews' cohorts together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fedelta.benchmarks import foresights
from fedelta.server.evidence.bootstraps import chance

IMAGES = Path(__file__).parent.parent / "docs" / "images"
BASIS = "fedavg()"
SKEWS = ("iid", "mild", "strong")
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


def longer(rows: Rows) -> Rows:
    """Runs of several rounds as rows with all recipes of the same skew and seed."""
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if row["rounds"] > 1:
            own = {"skew": row["skew"], "seed": row["seed"], "recipes": {}}
            held = found.setdefault((row["skew"], row["seed"]), own)
            for wire, told in row["recipes"].items():
                held["recipes"].setdefault(wire, {}).update(told)
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


def once(rows: Rows, wire: str) -> str:
    """One round on the encoder: points above FedAvg by recipe and skew."""
    single = some(rows, preset="icd10", rounds=1)
    by_skew = [gaps(some(single, skew=skew), wire) for skew in SKEWS]
    every, worst = gaps(single, wire), gaps(single, wire, "worst")
    body = []
    for name, values in every.items():
        found = chance(values)
        cells = [told(one.get(name, [])) for one in by_skew]
        p = _chance(found.signs) if found and name != BASIS else ""
        body.append([code(name), *cells, p, told(worst[name], 1.0, 2)])
    counts = [len(some(single, skew=skew)) for skew in SKEWS]
    head = [f"{skew} ({n})" for skew, n in zip(SKEWS, counts, strict=True)]
    return table(["recipe", *head, "p, all", "worst client's loss"], body)


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"  # noqa: PLR2004


def levels(rows: Rows) -> str:
    """What the gaps stand on: accuracy of the base, of clients alone, of FedAvg."""
    body = []
    for skew in SKEWS:
        held = some(rows, preset="icd10", rounds=1, skew=skew)
        wires = list(held[0]["recipes"]) if held else []
        alone = [row["solo"].values() for row in held if "solo" in row]
        solos = [fmean(one["accuracy"] for one in row) for row in alone]
        found = [[row["before"]["accuracy"] for row in held], solos] + [
            [row["recipes"][wire][BASIS]["accuracy"] for row in held] for wire in wires
        ]
        body.append([skew, *(f"{100 * fmean(one):.1f}" for one in found if one)])
    head = ["skew", "no training", "one client's own", "FedAvg, dense"]
    return table([*head, "FedAvg, sparse"], body)


def rounds(rows: Rows) -> str:
    """Several rounds: points above FedAvg, trained anew by each recipe."""
    held = longer(rows)
    skews = [skew for skew in SKEWS if some(held, skew=skew)]
    wires = [wire for row in held for wire in row["recipes"]]
    by_skew = [gaps(some(held, skew=skew), wires[0]) for skew in skews]
    names = list(dict.fromkeys(name for one in by_skew for name in one))
    counts = [len(some(held, skew=skew)) for skew in skews]
    body = [
        [code(name), *map(_counted, [one.get(name, []) for one in by_skew], counts)]
        for name in names
    ]
    return table(
        ["recipe", *(f"{s} ({n})" for s, n in zip(skews, counts, strict=True))], body
    )


def _counted(values: Sequence[float], usual: int) -> str:
    """As `told`, with how many there are, where they are fewer than usual."""
    fewer = f" ({len(values)})" if 0 < len(values) < usual else ""
    return told(values) + fewer


def language(rows: Rows) -> str:
    """The language model's domains: perplexity below FedAvg's, in per cent."""
    held = some(rows, preset="smollm2-domains")
    wires = list(dict.fromkeys(wire for row in held for wire in row["recipes"]))
    found = [_perplexities(held, wire) for wire in wires]
    names = list(dict.fromkeys(name for one in found for name in one))
    body = [[code(n), *(told(one.get(n, [])) for one in found)] for n in names]
    head = ["dense", "sparse"][: len(wires)]
    return table(["recipe", *(f"{one} ({len(held)})" for one in head)], body)


def _perplexities(held: Rows, wire: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in held:
        told_of = row["recipes"][wire]
        for name, value in told_of.items():
            share = value["perplexity"] / told_of[BASIS]["perplexity"]
            found.setdefault(name, []).append(1 - share)
    return found


def tables(rows: Rows) -> Iterator[tuple[str, str]]:
    """Everything that the rows tell, by its mark in docs/findings.md."""
    single = some(rows, preset="icd10", rounds=1)
    if single:
        wires = list(single[0]["recipes"])
        yield "levels", levels(rows)
        yield "dense", once(rows, wires[0])
        yield "sparse", once(rows, wires[1])
        yield "foretold", foresights.table(single)
    if longer(rows):
        yield "rounds", rounds(rows)
    if some(rows, preset="smollm2-domains"):
        yield "language", language(rows)


def show(rows: Rows) -> None:
    """Print the tables."""
    print(f"{len(rows)} cells")
    for name, text in tables(rows):
        print(f"\n{name}\n{text}")


def draw(rows: Rows, folder: Path = IMAGES) -> None:
    """Write recipes.png and foretold.png."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    single = some(rows, preset="icd10", rounds=1)
    if not single:
        return
    wires = list(single[0]["recipes"])
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.4), layout="constrained")
    for place, (axis, wire) in enumerate(zip(axes, wires, strict=True)):
        names = [name for name in gaps(single, wire) if name != BASIS][::-1]
        for shift, skew in enumerate(SKEWS):
            found = gaps(some(single, skew=skew), wire)
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
        axis.set(
            xlabel="accuracy above FedAvg's, points",
            title=("dense replies", "sparse replies")[place],
        )
    axes[0].legend(fontsize=8)
    figure.savefig(folder / "recipes.png", dpi=110)
    plt.close(figure)
    foresights.draw(single, folder / "foretold.png")
