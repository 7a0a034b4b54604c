"""What is said of the language model preset: ``make check-b``.

One training of `smollm2-domains`; its sealed replies are then merged by FedAvg of
factors, exact FedAvg, TIES and DARE, each on the recorded models, without training.
Exits with 1 where the perplexity of a domain does not fall or it takes too long.
``--tiny`` does the same with a made-up model and texts in under a minute.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedelta.benchmarks.verdicts import verdict
from fedelta.protocols.settings import Config
from fedelta.server.comparisons import write
from fedelta.server.replays import replay
from fedelta.server.runs import load
from fedelta.server.simulations import simulate

RECIPES = (
    "fedavg @ factors",
    "fedavg",
    "ties(density=0.2)",
    "dare(density=0.5)",
)
MINUTES = 25.0


def domains(metrics: Mapping[str, float]) -> dict[str, float]:
    """Perplexity by domain."""
    return {
        name.partition("/")[2]: value
        for name, value in metrics.items()
        if name.startswith("perplexity/")
    }


def faults(summary: Mapping[str, Any], minutes: float) -> list[str]:
    """What does not hold: nothing, where all does."""
    base, final = (domains(summary["metrics"][name]) for name in ("base", "final"))
    wrong = [
        f"perplexity of {name}: {value:.3f}, at first {base[name]:.3f}"
        for name, value in final.items()
        if value >= base[name]
    ]
    if not final:
        wrong.append("no domain was judged")
    if minutes > MINUTES:
        wrong.append(f"at most {MINUTES:.0f} minutes, here {minutes:.1f}")
    return wrong


def table(summary: Mapping[str, Any], replays: Sequence[Mapping[str, Any]]) -> Table:
    """Perplexities by domain, a row a merge."""
    names = sorted(domains(summary["metrics"]["base"]))
    shown = Table("", *names, "all", title=f"perplexity, {summary['name']}")
    rows = [("base model", summary["metrics"]["base"])]
    rows.append((f"run: {summary['recipe']}", summary["metrics"]["final"]))
    rows += [
        (f"replay: {one['recipe']} in {one['space']}", one["metrics"]["final"])
        for one in replays
    ]
    for name, metrics in rows:
        found = domains(metrics)
        cells = [f"{found[domain]:.2f}" for domain in names]
        shown.add_row(name, *cells, f"{metrics['perplexity']:.2f}")
    return shown


def tiny(folder: Path) -> Config:
    """The same on a made-up model and texts."""
    from fedelta.tests.tiny import lm_config

    return lm_config(folder, run={"out": str(folder / "run")}, eval={"local": False})


def main() -> int:
    """Run, merge again, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="where the run goes and stays")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        out = given.out or Path(name) / "run"
        config = (
            tiny(Path(name))
            if given.tiny
            else load(preset="smollm2-domains", overrides=[f"run.out={out}"])
        )
        summary = simulate(config, workers=given.workers)
        trained = (time.monotonic() - began) / 60
        folder = Path(config.run.out)
        found = replay(folder, RECIPES)
        page = write([folder])
        minutes = (time.monotonic() - began) / 60
        console = Console(width=110)
        console.print(table(summary, found))
        console.print(f"{trained:.1f} min of training, {minutes - trained:.1f} after")
        if given.out:
            console.print(f"{page}")
    wrong = faults(summary, minutes)
    return verdict(wrong)


if __name__ == "__main__":
    sys.exit(main())
