"""What `merge.py` found: its lines, its pictures, its data."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COLORS = {"dense": "C0", "0.01": "C1", "0.05": "C2", "0.2": "C3", "dare": "C4"}
STYLES = {"fedelta": "-", "peft": "--", "mergekit": ":"}
HEAD = (
    "model  form   K  merge          by            floor s    CPU s   wall s  x floor"
    "  x inflated  all: wall s    CPU s  waited  memory  differs"
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        size: of the model.
        form: "dense", or a density of sealed bytes at gaps, or "dare".
        clients: how many.
        method: what was merged.
        by: whose code.
        floor: the floor's CPU seconds.
        cpu: seconds.
        wall: seconds.
        times: CPU seconds over the floor's.
        bare: for payloads: without inflating, over the floor of inflated bytes.
        threads: wall seconds on all cores,
        busy: CPU seconds, and
        idle: the part of the threads' time in which they waited for a core.
        memory: the most that was held beside inputs and output, in models.
        differs: elements that are not what ours are (of ours: not what the definition
            says), where that was looked at.
        allowed: how many may differ: others keep one more or fewer of a tensor.
    """

    size: str
    form: str
    clients: int
    method: str
    by: str
    floor: float
    cpu: float
    wall: float
    times: float
    bare: float | None = None
    threads: float | None = None
    busy: float | None = None
    idle: float | None = None
    memory: float | None = None
    differs: int | None = None
    allowed: int = 0

    @property
    def wrong(self) -> bool:
        """Whether the output is another one."""
        return (self.differs or 0) > self.allowed

    def line(self) -> str:
        """The row as text."""

        def number(value: float | None, form: str) -> str:
            return " " * len(format(0, form)) if value is None else format(value, form)

        return (
            f"{self.size:5} {self.form:>6} {self.clients:3}  {self.method:13}"
            f"  {self.by:12}"
            f" {self.floor:8.4f} {self.cpu:8.3f} {self.wall:8.3f} {self.times:8.2f}"
            f"  {number(self.bare, '10.2f')}  {number(self.threads, '11.3f')}"
            f" {number(self.busy, '8.3f')}  {number(self.idle, '6.0%')}"
            f"  {number(self.memory, '6.3f')}  {number(self.differs, '7d')}"
            f"{'  WRONG' if self.wrong else ''}"
        )


def read(folder: Path) -> list[Row]:
    """What was found before."""
    path = folder / "merge.json"
    return [Row(**one) for one in json.loads(path.read_text())] if path.exists() else []


def written(found: Sequence[Row], folder: Path) -> None:
    """Write the data."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in found], indent=1)
    spare = folder / "merge.json.new"
    spare.write_text(text + "\n")
    spare.replace(folder / "merge.json")


def drawn(found: Sequence[Row], folder: Path) -> None:
    """Draw a picture a model, a panel a merge: multiples of the floor by clients."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for size in dict.fromkeys(row.size for row in found):
        rows = [row for row in found if row.size == size]
        methods = list(dict.fromkeys(row.method for row in rows))
        wide = (3 + 3.5 * len(methods), 5)
        figure, panels = plt.subplots(
            1, len(methods), figsize=wide, sharey=True, squeeze=False
        )
        for axes, method in zip(panels[0], methods, strict=True):
            _panel(axes, [row for row in rows if row.method == method])
            axes.set_title(f"{method}, {size} parameters")
        panels[0][0].set_ylabel("times the floor of the bytes that travelled (CPU)")
        told = {
            label: line
            for axes in panels[0]
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            told.values(), told, fontsize=8, bbox_to_anchor=(1, 0.95), loc="upper left"
        )
        figure.tight_layout()
        path = folder / f"merge-{size}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        plt.close(figure)


def _panel(axes: Any, rows: Sequence[Row]) -> None:
    """One merge's lines: a colour a form, dashes for other libraries."""
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault((row.form, row.by), []).append((row.clients, row.times))
    for (form, by), points in lines.items():
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=COLORS.get(form, "C5"),
            linestyle=STYLES.get(by, "-."),
            marker="o",
            label=f"{by}, {form}",
        )
    counts = sorted({row.clients for row in rows})
    axes.set_xlabel("clients")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{count}" for count in counts])
    axes.set_yscale("log")
    ticks = [n * d for d in (0.1, 1, 10, 100) for n in (1, 2, 5)]
    low, high = axes.get_ylim()
    shown = [one for one in ticks if low <= one <= high]
    axes.set_yticks(shown, [f"{one:g}" for one in shown])
    axes.set_yticks([], minor=True)
