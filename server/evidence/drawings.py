"""Pictures of evidence: reliability, and settings on a Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from ..drawings import CENTRAL, GRID, LOCAL, MERGED, MUTED, sheet, styled, svg
from ..tables import is_share, size, told

CELLS = 16
"""Layers up to which cells have their numbers in them."""
COLOURS = (MUTED, MERGED, LOCAL, CENTRAL)
BYTES, WORST = "bytes", "worst client"


@styled
def reliability(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy by confidence, a line a model.

    Args:
        models: by name, as `fedelta.client.calibrations.reliability` tells them.
    """
    figure, (axes,) = sheet(3.6)
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.6)
    for place, (name, one) in enumerate(models.items()):
        found = [(each["confidence"], each["accuracy"]) for each in one["bins"]]
        axes.plot(
            [each[0] for each in found],
            [each[1] for each in found],
            color=COLOURS[place % len(COLOURS)],
            marker="o",
            markersize=5,
            label=f"{name}, ECE {one['ece']:.3f}",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    figure.legend(loc="outside upper left", ncols=2, fontsize=10)
    seen = "; ".join(f"{name}: ECE {one['ece']:.3f}" for name, one in models.items())
    return svg(figure, "reliability", "Accuracy by confidence", seen)


@styled
def bands(
    matrix: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]
) -> str:
    """Signs that two clients' updates have against each other, by pair and layer.

    Args:
        matrix: [pairs][layers] shares from 0 to 1.
        rows: what pairs are called.
        columns: what layers are called.
    """
    figure, (axes,) = sheet(1.4 + 0.34 * len(rows))
    most = max((value for values in matrix for value in values), default=0.0) or 1.0
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            corner, shade = (column + 0.03, row + 0.03), 0.65 * value / most
            axes.add_patch(Rectangle(corner, 0.94, 0.94, color=LOCAL, alpha=shade))
            if len(columns) <= CELLS:
                text = f"{value:.2f}".removeprefix("0")
                axes.text(
                    column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=10
                )
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    places = [place + 0.5 for place in range(len(columns))]
    axes.set_xticks(places, columns, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks([place + 0.5 for place in range(len(rows))], rows)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    seen = "; ".join(
        f"{row}: {max(values):.2f} at most"
        for row, values in zip(rows, matrix, strict=True)
    )
    return svg(figure, "bands", "Conflict of trimmed signs by pair and layer", seen)


@styled
def front(
    points: Sequence[tuple[float, float]],
    best: Sequence[tuple[float, float]],
    metric: str,
    joined: Sequence[tuple[float, float]],
    beside: str = BYTES,
) -> str:
    """What settings cost and reach, those on the Pareto front larger.

    Args:
        points: (cost, metric) of all.
        best: of those that no other beats, in the order of what they cost.
        metric: its name.
        joined: those of them that no other beats in these two alone.
        beside: what they cost: bytes, epsilon, or the worst client's metric.
    """
    figure, (axes,) = sheet(3.4)
    axes.plot(*zip(*points, strict=True), "o", color=MUTED, markersize=5, alpha=0.7)
    for some, style in ((best, "o"), (joined, "--")):
        if some:
            places = tuple(zip(*some, strict=True))
            axes.plot(*places, style, color=MERGED, markersize=7, linewidth=1)
    axes.set_xlabel(beside)
    axes.set_ylabel(metric)
    if beside == BYTES:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    for axis in (axes.yaxis, *([axes.xaxis] if beside == WORST else [])):
        if is_share(metric):
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.4g} %"))
    axes.margins(0.08)
    axes.locator_params(nbins=6)
    ways: dict[str, Callable[[float], str]] = {
        BYTES: size,
        WORST: partial(told, metric),
    }
    first = ways.get(beside, "{:.3g}".format)
    seen = "; ".join(f"{first(cost)}: {told(metric, value)}" for cost, value in best)
    name = f"front-{beside}".replace(" ", "-")
    return svg(figure, name, f"{metric} by {beside}", seen)
