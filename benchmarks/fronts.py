"""What a grid of federations shows: the Pareto front, the cheapest good one, a plot."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

WITHIN, GOAL = 0.01, 100.0
Rows = Sequence[dict[str, Any]]

_SHOWN = {
    "up": "",
    "down": "",
    "rank_down": 0,
    "feedback": True,
    "recipe": "",
    "space": "",
    "optimizer": "",
    "rank": 0,
    "rate": 0.0,
}
"""What tells settings apart, and what they are where a row does not say."""


def averaged(rows: Rows) -> list[dict[str, Any]]:
    """One row for all seeds of a setting."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row.get(name, usual) for name, usual in _SHOWN.items())
        groups.setdefault(key, []).append(row)
    found = []
    for key, some in groups.items():
        numbers = ("gain", "bytes", "bytes_up", "bytes_down", "energy", "plain")
        mean = {name: fmean(row[name] for row in some) for name in numbers}
        shown = dict(zip(_SHOWN, key, strict=True))
        found.append(shown | mean | {"seeds": len(some)})
    return found


def front(rows: Rows) -> list[dict[str, Any]]:
    """The rows that no other one beats in bytes and gain.

    Example:
        >>> front([{"bytes": 1, "gain": 1}, {"bytes": 2, "gain": 1}])
        [{'bytes': 1, 'gain': 1}]
    """
    return [
        row
        for row in rows
        if not any(
            other["bytes"] <= row["bytes"]
            and other["gain"] >= row["gain"]
            and (other["bytes"], -other["gain"]) < (row["bytes"], -row["gain"])
            for other in rows
        )
    ]


def cheapest(rows: Rows, dense: dict[str, Any], within: float = WITHIN) -> Any:
    """The row with fewest bytes that has so much of the dense gain."""
    fit = [row for row in rows if row["gain"] >= (1 - within) * dense["gain"]]
    return min([*fit, dense], key=lambda row: row["bytes"])


def show(rows: Rows) -> None:
    """Print everything, by bytes; and what is cheapest beside plain LoRA FedAvg.

    That takes all factors as float32, both ways.
    """
    every = averaged(rows)
    best = front(every)
    columns = (*_SHOWN, "seeds", "kB up", "kB down", "energy", "gain", "times", "front")
    table = Table(*columns, title="quality against bytes, whole federations")
    plain = max((row["plain"] for row in every), default=0.0)
    for row in sorted(every, key=lambda one: one["bytes"]):
        cells = [str(row[name]) for name in (*_SHOWN, "seeds")]
        cells += [f"{row[name] / 1000:.0f}" for name in ("bytes_up", "bytes_down")]
        cells += [f"{row['energy']:.3f}", f"{row['gain']:.4f}"]
        cells += [f"{plain / row['bytes']:.1f}", "*" if row in best else ""]
        table.add_row(*cells)
    Console(width=180).print(table)
    for within in (WITHIN, 0.05, 0.1):
        found = told(rows, within)
        if found:
            print(found)


def told(rows: Rows, within: float) -> str:
    """One sentence on the cheapest setting with AdamW clients."""
    own = averaged([row for row in rows if row["optimizer"] == "adamw"])
    dense = next((row for row in own if row["up"] == row["down"] == "fp32"), None)
    if dense is None:
        return ""
    best = cheapest(own, dense, within)
    said = {name: best[name] for name in _SHOWN if name != "optimizer"}
    return (
        f"cheapest within {within:.0%} of the dense gain ({dense['gain']:.4f}): "
        f"{best['gain']:.4f} with {dense['plain'] / best['bytes']:.1f} times fewer "
        f"bytes both ways (goal {GOAL:.0f}): {said}"
    )


def plot(rows: Rows, path: Path) -> None:
    """Gain over bytes, and the front."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    kinds = {
        "AdamW, product": ("adamw", "product", "o", "tab:blue"),
        "AdamW, A frozen": ("adamw", "frozen-a", "s", "tab:green"),
        "SGD, product": ("sgd", "product", "^", "tab:orange"),
    }
    every = averaged(rows)
    for label, (optimizer, space, marker, color) in kinds.items():
        some = [r for r in every if (r["optimizer"], r["space"]) == (optimizer, space)]
        for feedback, face in ((True, color), (False, "none")):
            points = [r for r in some if r["feedback"] == feedback]
            axes.plot(
                [r["bytes"] / 1e6 for r in points],
                [100 * r["gain"] for r in points],
                marker,
                color=color,
                markerfacecolor=face,
                label=label if feedback else f"{label}, no feedback",
            )
    best = sorted(front(every), key=lambda row: row["bytes"])
    line = [[r["bytes"] / 1e6 for r in best], [100 * r["gain"] for r in best]]
    axes.plot(*line, "-", color="grey", linewidth=1, label="Pareto front", zorder=0)
    dense = next((r for r in every if r["up"] == r["down"] == "fp32"), None)
    if dense is not None:
        plain = dense["plain"] / 1e6
        axes.axvline(plain, color="black", linestyle=":", label="plain LoRA FedAvg")
        axes.axvline(
            plain / GOAL, color="black", linestyle="--", label="100 times less"
        )
    axes.set_xscale("log")
    axes.set(xlabel="MB both ways, whole run", ylabel="gain in accuracy, points")
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
