"""What the grid of attacks and defences found: condensed, as tables, as a plot."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fedelta.benchmarks.adversaries import ATTACKS

FIELDS = ("model", "rounds", "space", "alpha", "share", "attack", "defence")
FOUND = ("seed", "accuracy", "minority", "success")
IID = 100.0
"""What alpha counts as even shares from."""
MAIN = "frozen-a"
"""The space of most cells."""
PLAIN, TOP = "fedavg()", 0.7
"""What prices are counted from; the accuracy that is drawn in white."""
Row = dict[str, Any]


def condense(rows: Iterable[Row]) -> list[Row]:
    """A row a cell, with a list over seeds of each number; of equal ones the last."""
    once = {(*(row[name] for name in FIELDS), row["seed"]): row for row in rows}
    held: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for key, row in once.items():
        held[key[:-1]].append(row)
    made = []
    for key in sorted(held):
        some = sorted(held[key], key=lambda row: row["seed"])
        found = {n: [one[n] for one in some] for n in FOUND if n in some[0]}
        made.append(dict(zip(FIELDS, key, strict=True)) | found)
    return made


def spread(condensed: Iterable[Row]) -> Iterator[Row]:
    """A row a cell and seed again."""
    for row in condensed:
        for at in range(len(row["seed"])):
            yield {n: one[at] if n in FOUND else one for n, one in row.items()}


def place_of(row: Row) -> tuple[Any, ...]:
    """Model, rounds, space and skew."""
    return tuple(row[name] for name in FIELDS[:4])


def _order(place: tuple[Any, ...]) -> tuple[Any, ...]:
    """One round first, of the main space; the larger grid before the whole encoder."""
    model, rounds, space, alpha = place
    return rounds, space != MAIN, model != "upper", space, alpha


def table(rows: list[Row]) -> Iterator[str]:
    """Means over seeds in Markdown: by place and share a table, a line a defence."""
    calm = {(place_of(r), r["defence"]): r for r in rows if r["attack"] == "none"}
    fought = [row for row in rows if row["attack"] != "none"]
    places = {(place_of(row), row["share"]) for row in fought}
    for place, share in sorted(places, key=lambda one: (*_order(one[0]), one[1])):
        some = [r for r in fought if (place_of(r), r["share"]) == (place, share)]
        attacks = [name for name in ATTACKS if any(r["attack"] == name for r in some)]
        yield from _head(place, share, attacks, some)
        by = {(row["defence"], row["attack"]): row for row in some}
        for defence in dict.fromkeys(row["defence"] for row in some):
            clean = calm.get((place, defence))
            told = [_mean(clean, "accuracy"), _mean(clean, "minority")]
            told += [_mean(by.get((defence, n)), _judged(n)) for n in attacks]
            yield f"| `{defence}` | " + " | ".join(told) + " |"


def _head(
    place: tuple[Any, ...], share: float, attacks: list[str], some: list[Row]
) -> Iterator[str]:
    model, rounds, space, alpha = place
    seeds = [len(row["seed"]) for row in some]
    many = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)}-{max(seeds)}"
    yield ""
    yield (
        f"**{model}, {_skew(alpha)}, f/n = {share:g}**, {space}, "
        f"rounds: {rounds}, seeds: {many}"
    )
    yield ""
    heads = [f"*{name}*" if ATTACKS[name].triggered else name for name in attacks]
    yield "| defence | clean | minority | " + " | ".join(heads) + " |"
    yield "|---|" + "---|" * (len(attacks) + 2)


def _skew(alpha: float) -> str:
    return "IID" if alpha >= IID else f"skewed (alpha {alpha:g})"


def _judged(attack: str) -> str:
    return "success" if ATTACKS[attack].triggered else "accuracy"


def _mean(row: Row | None, key: str) -> str:
    return f"{statistics.fmean(row[key]):.2f}" if row and key in row else ""


def prices(rows: list[Row]) -> Iterator[str]:
    """What a defence costs without attackers, and the worst that is left with them.

    Prices are differences from the plain mean, seed by seed, with their standard
    error; the worst is the worst attack's mean over seeds.
    """
    for place in sorted({place_of(row) for row in rows}, key=_order):
        some = [row for row in rows if place_of(row) == place]
        calm = {row["defence"]: row for row in some if row["attack"] == "none"}
        shares = sorted({row["share"] for row in some if row["share"]})
        if PLAIN not in calm or not shares:
            continue
        yield f"\n**{place[0]}, {_skew(place[3])}**, {place[2]}, rounds: {place[1]}\n"
        worst = [f"f/n {one:g}: accuracy | *success*" for one in shares]
        yield "| defence | accuracy | minority | " + " | ".join(worst) + " |"
        yield "|---|" + "---|" * (2 + 2 * len(shares))
        for defence, clean in calm.items():
            told = [_price(clean, calm[PLAIN], key) for key in ("accuracy", "minority")]
            for share in shares:
                met = [
                    r for r in some if (r["defence"], r["share"]) == (defence, share)
                ]
                told += _worst(met)
            yield f"| `{defence}` | " + " | ".join(told) + " |"


def _price(row: Row, plain: Row, key: str) -> str:
    theirs = dict(zip(plain["seed"], plain[key], strict=True))
    gaps = [
        one - theirs[seed]
        for seed, one in zip(row["seed"], row[key], strict=True)
        if seed in theirs
    ]
    if len(gaps) < 2:  # noqa: PLR2004
        return f"{gaps[0]:+.3f}" if gaps else ""
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    return f"{statistics.fmean(gaps):+.3f} ± {error:.3f}"


def _worst(met: list[Row]) -> list[str]:
    """The least accuracy that an attack leaves, and the most that a trigger reaches."""
    left = [
        (statistics.fmean(row["accuracy"]), row["attack"])
        for row in met
        if row["attack"] != "absent"
    ]
    opened = [
        (statistics.fmean(row["success"]), row["attack"])
        for row in met
        if ATTACKS[row["attack"]].triggered
    ]
    told = []
    for some, pick in ((left, min), (opened, max)):
        found = pick(some, default=None)
        told.append(f"{found[0]:.2f} ({found[1]})" if found else "")
    return told


def draw(rows: list[Row], path: Path) -> None:
    """Both skews at the largest share: accuracy, or a trigger's success, by cell."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    some = [r for r in rows if r["space"] == MAIN and r["model"] == "upper"]
    some = [r for r in some if r["rounds"] == 1 and r["share"] in (0.0, 0.3)]
    skews = sorted({row["alpha"] for row in some})
    if not skews:
        return
    figure, axes = plt.subplots(1, len(skews), figsize=(13, 5.2), squeeze=False)
    for axis, alpha in zip(axes[0], skews, strict=True):
        held = [row for row in some if row["alpha"] == alpha]
        _map(axis, held, first=alpha == skews[0])
        axis.set_title(f"{_skew(alpha)}, f/n = 0.3", fontsize=10)
    figure.suptitle(
        "accuracy that is left (red: little); for the last three how often "
        "the trigger works (red: often)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


def _map(axis: Any, held: list[Row], *, first: bool) -> None:
    by = {(row["defence"], row["attack"]): row for row in held}
    defences = list(dict.fromkeys(row["defence"] for row in held))
    attacks = [one for one in ATTACKS if any(key[1] == one for key in by)]
    attacks.sort(key=lambda one: ATTACKS[one].triggered)
    for y, defence in enumerate(defences):
        for x, attack in enumerate(attacks):
            row = by.get((defence, attack))
            if row is None:
                continue
            value = statistics.fmean(row[_judged(attack)])
            bad = value if ATTACKS[attack].triggered else 1 - value / TOP
            colour = (1.0, 1 - 0.7 * min(max(bad, 0), 1), 1 - 0.7 * min(max(bad, 0), 1))
            axis.add_patch(_square(x, y, colour))
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7)
    axis.set(xlim=(-0.5, len(attacks) - 0.5), ylim=(len(defences) - 0.5, -0.5))
    axis.set_xticks(range(len(attacks)), attacks, rotation=45, ha="right", fontsize=8)
    shown = defences if first else [""] * len(defences)
    axis.set_yticks(range(len(defences)), shown, fontsize=8)


def _square(x: int, y: int, colour: tuple[float, float, float]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white")
