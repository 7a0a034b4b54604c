"""Pictures of several runs on one sheet."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .drawings import (
    CENTRAL,
    GAIN,
    LOCAL,
    LOSS,
    MERGED,
    MUTED,
    sheet,
    styled,
    svg,
)
from .tables import gained, is_share, told

COLOURS = (MERGED, LOCAL, CENTRAL, GAIN, LOSS, MUTED)
DASHES = ("-", "--", ":", "-.")
ROW = 0.36
"""Inches a row of a horizontal chart takes."""


@styled
def curves(found: Mapping[str, Sequence[tuple[int, float]]], metric: str) -> str:
    """A metric by round, a line a label.

    Args:
        found: (round, value) by label.
        metric: its name.
    """
    figure, (axes,) = sheet(3.2 + 0.2 * len(found))
    for place, (label, curve) in enumerate(found.items()):
        axes.plot(
            [one[0] for one in curve],
            [one[1] for one in curve],
            color=COLOURS[place % len(COLOURS)],
            linestyle=DASHES[place // len(COLOURS) % len(DASHES)],
            marker="o",
            markersize=5,
            label=label,
            clip_on=False,
        )
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(metric)
    axes.margins(x=0.03, y=0.1)
    _percent(axes, metric, "y")
    figure.legend(loc="outside upper left", ncols=1, fontsize=10)
    seen = "; ".join(
        f"{label}: {told(metric, curve[-1][1])} after round {curve[-1][0]}"
        for label, curve in found.items()
        if curve
    )
    return svg(figure, "curves", f"{metric} by round", seen)


@styled
def gaps(found: Mapping[str, Sequence[float]], metric: str, against: str) -> str:
    """Paired differences: a dot a pair, a bar where their mean is.

    Args:
        found: differences by label.
        metric: of which.
        against: the label that they are taken against.
    """
    figure, (axes,) = sheet(1.2 + ROW * len(found))
    axes.axvline(0.0, color=MUTED, linewidth=1.4)
    for place, values in enumerate(found.values()):
        mean = sum(values) / len(values)
        axes.plot([0, mean], [place, place], color=MERGED, linewidth=6, alpha=0.35)
        axes.plot(values, [place] * len(values), "o", color=MERGED, markersize=7)
        axes.annotate(
            gained(metric, mean, 0.0).replace(" points", ""),
            (mean, place),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=10,
        )
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{metric} above the first")
    _percent(axes, metric, "x")
    seen = "; ".join(
        f"{label}: {gained(metric, sum(values) / len(values), 0.0)}"
        for label, values in found.items()
    )
    return svg(
        figure, "gaps", f"Paired differences in {metric} against {against}", seen
    )


def _percent(axes: Axes, metric: str, axis: str) -> None:
    if is_share(metric):
        which = axes.yaxis if axis == "y" else axes.xaxis
        which.set_major_formatter(
            FuncFormatter(lambda value, _: f"{100 * value:.1f} %")
        )
