"""The report's pictures, each one function from numbers to inline SVG."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .drawings import (
    CENTRAL,
    GAIN,
    GRID,
    LOCAL,
    LOSS,
    MERGED,
    MUTED,
    WIDTH,
    sheet,
    styled,
    svg,
)
from .tables import gained, is_share, size, told

ROW = 0.34
"""Inches a row of a horizontal chart takes."""
NUMBERED = 12
"""A heat map of more rows than this shows no numbers."""
REFERENCES = {"base": (MUTED, ":"), "local": (LOCAL, "--"), "central": (CENTRAL, "-.")}


@styled
def by_round(
    curve: Sequence[tuple[int, float]],
    marks: Mapping[str, tuple[str, float | None]],
    metric: str,
) -> str:
    """The global model's metric by round, with what it is held against.

    Args:
        curve: (round, value); round 0 is the base.
        marks: label and value by name, as `tables.milestones` gives them.
        metric: its name.
    """
    figure, (axes,) = sheet(3.4)
    rounds, values = [one[0] for one in curve], [one[1] for one in curve]
    axes.plot(rounds, values, color=MERGED, marker="o", label="merged", clip_on=False)
    for name, (colour, dashes) in REFERENCES.items():
        label, value = marks.get(name, ("", None))
        if value is not None:
            axes.axhline(value, color=colour, linestyle=dashes, linewidth=1.6)
            text = f"{label} {told(metric, value)}"
            axes.plot([], [], color=colour, linestyle=dashes, label=text)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(metric)
    axes.margins(x=0.03, y=0.12)
    _percent(axes, metric)
    axes.annotate(
        told(metric, values[-1]),
        (rounds[-1], values[-1]),
        xytext=(0, -20),
        textcoords="offset points",
        ha="right",
        color=MERGED,
        weight="bold",
    )
    figure.legend(loc="outside upper left", ncols=2, fontsize=10)
    seen = "; ".join(f"round {at}: {told(metric, value)}" for at, value in curve)
    return svg(figure, "by-round", f"{metric} of the global model by round", seen)


@styled
def by_client(alone: Mapping[str, float], final: float, metric: str) -> str:
    """Each client's own model beside the merged one, and who gains.

    Args:
        alone: metric of each client's own model, by client.
        final: metric of the merged model, on the same test set.
        metric: its name.
    """
    order = sorted(alone, key=lambda name: alone[name], reverse=True)
    figure, (axes,) = sheet(1.1 + ROW * len(order))
    axes.axvline(final, color=MERGED, linewidth=2)
    for place, name in enumerate(order):
        value = alone[name]
        colour = GAIN if final >= value else LOSS
        axes.plot([value, final], [place, place], color=colour, linewidth=3, alpha=0.8)
        axes.plot([value], [place], "o", color=colour, markersize=8)
        side = -1 if final >= value else 1
        axes.annotate(
            gained(metric, final, value).replace(" points", ""),
            (value, place),
            xytext=(9 * side, 0),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="center",
            color=colour,
            fontsize=10,
        )
    axes.set_yticks(range(len(order)), order)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.18, y=0.08)
    axes.set_xlabel(f"{metric}: own model (dot), merged model (line)")
    _percent(axes, metric, axis="x")
    seen = "; ".join(
        f"{name}: own {told(metric, alone[name])}, "
        f"with the merged model {gained(metric, final, alone[name])}"
        for name in order
    )
    return svg(figure, "by-client", "Which clients gain and which lose", seen)


@styled
def traffic(up: float, down: float, dense: float) -> str:
    """Bytes up and down beside what dense float32 would take.

    Args:
        up: bytes that all replies took.
        down: bytes that all updates took.
        dense: bytes of the same trainable parameters as float32, up.
    """
    bars = {"up, dense float32": dense, "up, sent": up, "down, sent": down}
    figure, (axes,) = sheet(1.1 + 1.5 * ROW * len(bars))
    colours = (MUTED, MERGED, LOCAL)
    for place, ((label, value), colour) in enumerate(
        zip(bars.items(), colours, strict=True)
    ):
        axes.barh(place, value, color=colour, height=0.6)
        less = label == "up, sent" and value
        beside = f", {dense / value:.1f} times less" if less else ""
        axes.annotate(
            size(value) + beside,
            (value, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    axes.set_xlim(0, 1.22 * max(1.0, *bars.values()))
    seen = "; ".join(f"{label}: {size(value)}" for label, value in bars.items())
    return svg(figure, "traffic", "Bytes up and down beside dense", seen)


@styled
def heat(
    matrix: Sequence[Sequence[float | None]],
    names: Sequence[str],
    name: str,
    colour: str = MERGED,
) -> str:
    """A square of clients: how alike, or how much at odds, each two are.

    Args:
        matrix: from -1 to 1, clients x clients; None: not measured.
        names: the clients' names.
        name: what is shown, unique on the page.
        colour: of what is above zero.
    """
    count = len(names)
    figure, (axes,) = sheet(min(WIDTH, 1.4 + 0.46 * count))
    most = max(
        (
            abs(v)
            for i, row in enumerate(matrix)
            for j, v in enumerate(row)
            if v and i - j
        ),
        default=1.0,
    )
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            shade = LOSS if value is not None and value < 0 else colour
            _cell(axes, (row, column), value, most, shade)
            if count <= NUMBERED and value is not None and row != column:
                text = f"{value:.2f}".replace("-0.", "-.").removeprefix("0")
                axes.text(column, row, text, ha="center", va="center", fontsize=10)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    axes.set_xticks(
        range(count), names, rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(count), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    pairs = [
        f"{names[i]} and {names[j]}: {matrix[i][j]:.2f}"
        for i in range(count)
        for j in range(i)
        if matrix[i][j] is not None
    ]
    axes.set_title(name, fontsize=12)
    key = name.replace(" ", "-")
    return svg(figure, key, f"{name.capitalize()} of two clients", "; ".join(pairs))


@styled
def by_layer(layers: Mapping[str, tuple[float, float]]) -> str:
    """Mean cosine and sign conflict between clients, a row a layer.

    Args:
        layers: (cosine, conflict) by layer.
    """
    names = list(layers)
    figure, panels = sheet(1.0 + 0.27 * len(names), columns=2)
    titles = ("mean cosine", "sign conflict")
    for side, (axes, label) in enumerate(zip(panels, titles, strict=True)):
        values = [layers[name][side] for name in names]
        axes.hlines(range(len(names)), 0, values, color=GRID, linewidth=2)
        axes.plot(values, range(len(names)), "o", color=(MERGED, LOCAL)[side], ms=6)
        axes.set_xlabel(label)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), _short(names) if side == 0 else [])
        axes.tick_params(axis="y", labelsize=10, length=0)
        axes.grid(visible=False, axis="y")
        low, high = min(0.0, *values), max(0.05, *values)
        room = 0.08 * (high - low)
        axes.set_xlim(low - room * (low < 0), high + room)
        axes.xaxis.set_major_locator(MaxNLocator(3))
    seen = "; ".join(
        f"{name}: cosine {cosine:.2f}, conflict {conflict:.0%}"
        for name, (cosine, conflict) in layers.items()
    )
    return svg(figure, "by-layer", "Cosine and sign conflict by layer", seen)


@styled
def by_phase(rows: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    """Seconds a round by phase, stacked.

    Args:
        rows: (round, seconds by phase).
    """
    phases = list(dict.fromkeys(name for _, row in rows for name in row))
    figure, (axes,) = sheet(1.2 + ROW * len(rows))
    colours = (MERGED, LOCAL, CENTRAL, GAIN, LOSS, MUTED)
    for place, (_, row) in enumerate(rows):
        start = 0.0
        for colour, phase in zip(_cycled(colours, len(phases)), phases, strict=True):
            width = row.get(phase, 0.0)
            label = phase if place == 0 else None
            axes.barh(place, width, left=start, color=colour, height=0.62, label=label)
            start += width
    axes.set_yticks(range(len(rows)), [f"round {number}" for number, _ in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("seconds")
    figure.legend(loc="outside upper left", ncols=4, fontsize=10)
    seen = "; ".join(
        f"round {number}: " + ", ".join(f"{name} {s:.1f} s" for name, s in row.items())
        for number, row in rows
    )
    return svg(figure, "by-phase", "Time by phase", seen)


def _cycled(colours: Sequence[str], count: int) -> list[str]:
    return [colours[place % len(colours)] for place in range(count)]


def _cell(
    axes: Axes, place: tuple[int, int], value: float | None, most: float, colour: str
) -> None:
    row, column = place
    corner, side = (column - 0.47, row - 0.47), 0.94
    if value is None or row == column:
        axes.add_patch(Rectangle(corner, side, side, fc=GRID, ec="none"))
        return
    strength = 0.06 + 0.6 * min(1.0, abs(value) / most if most else 0.0)
    axes.add_patch(Rectangle(corner, side, side, fc=colour, alpha=strength, ec="none"))


def _short(names: Sequence[str]) -> list[str]:
    """Names without the parts that all of them have."""
    split = [name.split(".") for name in names]
    shared = set(split[0]).intersection(*split) if len(split) > 1 else set()
    return [".".join(p for p in parts if p not in shared) or "." for parts in split]


def _percent(axes: Axes, metric: str, axis: str = "y") -> None:
    if is_share(metric):
        which = axes.yaxis if axis == "y" else axes.xaxis
        which.set_major_formatter(
            FuncFormatter(
                lambda at, _: f"{100 * at:.0f} %" if 0 <= round(at, 6) <= 1 else ""
            )
        )
