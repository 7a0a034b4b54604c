"""Figures that take their colours from the page: SVG with CSS variables.

A figure is drawn in sentinel colours, each of which stands for a variable of the
report's style sheet, so that one drawing serves light and dark.
"""

import io
import re
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

P = ParamSpec("P")

INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
MERGED, LOCAL, CENTRAL, GAIN, LOSS = (
    "#010105",
    "#010106",
    "#010107",
    "#010108",
    "#010109",
)
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    MERGED: "merged",
    LOCAL: "local",
    CENTRAL: "central",
    GAIN: "gain",
    LOSS: "loss",
}
WIDTH = 5.4
"""Inches of a drawing's width (72 units each): readable on a phone as well."""
GAP = 0.12
"""Between axes side by side, of their width: the last number of the one keeps clear of
the first of the other."""

STYLE: Any = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 2.2,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
}


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """A drawing function that draws in the report's style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def sheet(
    height: float, *, columns: int = 1, width: float = WIDTH
) -> tuple[Figure, list[Axes]]:
    """An empty figure with a row of axes in the report's style.

    Args:
        height: inches.
        columns: how many axes stand side by side.
        width: inches.
    """
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", wspace=GAP)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """A figure as one inline SVG element.

    Args:
        figure: what was drawn.
        name: unique on the page; ids inside the drawing are made from it.
        title: what the picture shows, for those who hear the page.
        description: what there is to see in it, likewise.

    Returns:
        Text from ``<svg`` to ``</svg>``, the same for the same drawing.
    """
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for sentinel, variable in VARIABLES.items():
        text = text.replace(sentinel, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    opening = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box.group() if box else ""} '
        f'role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(description)}</desc>'
    )
    return opening + text[text.index(">") + 1 :].strip()
