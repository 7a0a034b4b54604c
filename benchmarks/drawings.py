"""Tables and plots of what `wire.py` measured."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(found: dict[str, Any]) -> None:
    """Print each part as a table."""
    console = Console(width=200)
    for name, rows in found.items():
        listed = rows if isinstance(rows, list) else [rows]
        columns = list(dict.fromkeys(key for row in listed for key in row))
        if name == "presets":  # a row a format
            listed = [
                {"format": key} | {row["vector"]: row.get(key) for row in listed}
                for key in columns[1:]
            ]
            columns = list(listed[0])
        table = Table(*columns, title=name)
        for row in listed:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def plot(found: dict[str, Any], out: Path) -> None:
    """Write positions.svg and energy.svg, of the parts that were measured."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plain = [row for row in found.get("positions", []) if row["on"] == "independent"]
    figure, axes = plt.subplots()
    for name in ("floor", "ours", "bitmap+zstd", "int32") if plain else ():
        axes.loglog([r["density"] for r in plain], [r[name] for r in plain], label=name)
    axes.set(xlabel="density", ylabel="bits a kept value", title="Positions")
    if plain:
        axes.legend()
        figure.savefig(out / "positions.svg")
    figure, axes = plt.subplots()
    energies = found.get("energies", [])
    for name in dict.fromkeys(row["delta"] for row in energies):
        rows = [r for r in energies if r["delta"] == name]
        bits, energy = ([r[key] for r in rows] for key in ("bits an element", "energy"))
        axes.semilogx(bits, energy, "o", label=name)
    axes.set(xlabel="bits an element", ylabel="energy", title="Energy for bits")
    if energies:
        axes.legend()
        figure.savefig(out / "energy.svg")
