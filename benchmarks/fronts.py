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
    """One row for all seeds of a setting.

    Gains differ more from seed to seed than from setting to setting, so "share" is of
    what dense FedAvg gains with the same seed.
    """
    dense = {row["seed"]: row["gain"] for row in rows if _is_dense(row)}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["seed"] in dense:
            key = tuple(row.get(name, usual) for name, usual in _SHOWN.items())
            share = {"share": row["gain"] / dense[row["seed"]]}
            groups.setdefault(key, []).append(row | share)
    found = []
    for key, some in groups.items():
        numbers = ("gain", "share", "bytes", "bytes_up", "bytes_down", "energy")
        mean = {name: fmean(row[name] for row in some) for name in numbers}
        shown = dict(zip(_SHOWN, key, strict=True))
        found.append(shown | mean | {"seeds": len(some)})
    return found


def _is_dense(row: dict[str, Any]) -> bool:
    """Whether it is the preset with all numbers as float32."""
    plain = {"up": "fp32", "down": "fp32", "space": "product", "optimizer": "adamw"}
    return all(row[name] == one for name, one in plain.items()) and not any(
        row.get(name) for name in ("rank", "rate", "rank_down")
    )


def plain(rows: Rows) -> float:
    """Bytes of plain LoRA FedAvg: all factors as float32, both ways."""
    return max((row["plain"] for row in rows if _is_dense(row)), default=0.0)


def front(rows: Rows) -> list[dict[str, Any]]:
    """The rows that no other one beats in bytes and share.

    Example:
        >>> front([{"bytes": 1, "share": 1}, {"bytes": 2, "share": 1}])
        [{'bytes': 1, 'share': 1}]
    """
    return [
        row
        for row in rows
        if not any(
            other["bytes"] <= row["bytes"]
            and other["share"] >= row["share"]
            and (other["bytes"], -other["share"]) < (row["bytes"], -row["share"])
            for other in rows
        )
    ]


def show(rows: Rows) -> None:
    """Print everything, by bytes; and what is cheapest beside plain LoRA FedAvg."""
    every = averaged(rows)
    best = front(every)
    columns = (*_SHOWN, "seeds", "kB up", "kB down", "energy", "gain", "share", "times")
    table = Table(*columns, "front", title="quality against bytes, whole federations")
    for row in sorted(every, key=lambda one: one["bytes"]):
        cells = [str(row[name]) for name in (*_SHOWN, "seeds")]
        cells += [f"{row[name] / 1000:.0f}" for name in ("bytes_up", "bytes_down")]
        cells += [f"{row[name]:.3f}" for name in ("energy", "gain", "share")]
        cells += [f"{plain(rows) / row['bytes']:.1f}", "*" if row in best else ""]
        table.add_row(*cells)
    Console(width=190).print(table)
    for within in (WITHIN, 0.05, 0.1):
        print(told(rows, within))


def told(rows: Rows, within: float) -> str:
    """One sentence on the cheapest setting that has so much of the dense gain."""
    fit = [row for row in averaged(rows) if row["share"] >= 1 - within]
    if not fit:
        return "no dense run is there to compare with"
    best = min(fit, key=lambda row: (row["bytes"], -row["share"]))
    said = {name: best[name] for name in _SHOWN}
    return (
        f"cheapest within {within:.0%} of what dense FedAvg gains: {best['share']:.3f} "
        f"of it over {best['seeds']} seeds, {plain(rows) / best['bytes']:.1f} times "
        f"fewer bytes both ways than plain LoRA FedAvg (goal {GOAL:.0f}): {said}"
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
            if not points:
                continue
            axes.plot(
                [r["bytes"] / 1e6 for r in points],
                [r["share"] for r in points],
                marker,
                color=color,
                markerfacecolor=face,
                label=label if feedback else f"{label}, no feedback",
            )
    best = sorted(front(every), key=lambda row: row["bytes"])
    line = [[r["bytes"] / 1e6 for r in best], [r["share"] for r in best]]
    axes.plot(*line, "-", color="grey", linewidth=1, label="Pareto front", zorder=0)
    usual = plain(rows) / 1e6
    if usual:
        axes.axvline(usual, color="black", linestyle=":", label="plain LoRA FedAvg")
        axes.axvline(
            usual / GOAL, color="black", linestyle="--", label="100 times less"
        )
    axes.set_xscale("log")
    axes.set(
        xlabel="MB both ways, whole run", ylabel="share of what dense FedAvg gains"
    )
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
