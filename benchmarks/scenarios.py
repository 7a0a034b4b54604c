"""The runs that `benchmarks/chaos.py` kills: tiny, and real."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedelta.benchmarks.deaths import Scenario
from fedelta.protocols.settings import Config

WAYS = {"ada": "", "bob": "north", "cleo": "north", "dan": "south/harbour"}


def warm() -> None:
    """Import what is heavy, once for all forks."""
    from fedelta.server import environments

    environments.prepare()
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import fedelta.client.app
    import fedelta.server.coordination
    import fedelta.tests.server.regions.trees  # noqa: F401

    torch.set_num_threads(1)


def config(root: Path, **tables: Any) -> Config:
    """Three rounds of a tiny encoder with four clients."""
    from fedelta.tests import tiny

    given: dict[str, Any] = {
        "model": {"id": str(tiny.model(root))},
        "data": {"source": str(tiny.data(root)), "partition": "iid"},
        "run": {"rounds": 3},
        "train": {"steps": 2},
        "eval": {"local": False},
        "clients": [{"name": name, "region": way} for name, way in WAYS.items()],
    }
    for table, keys in tables.items():
        given[table] = given.get(table, {}) | keys
    return tiny.config(root, **given)


def simulated(given: Config) -> Any:
    """An attempt at a simulation, in this process."""

    def attempt(folder: Path) -> None:
        from fedelta.server.simulations import resume, simulate

        out = folder / "run"
        if (out / "summary.json").exists():
            return
        if (out / "config.json").exists():
            resume(out, workers=0)
            return
        simulate(replace(given, run=replace(given.run, out=str(out))), workers=0)

    return attempt


def treed(given: Config) -> Any:
    """An attempt at a tree of servers, all of them in this process."""

    def attempt(folder: Path) -> None:
        from fedelta.tests.server.regions.trees import Tree

        if (folder / "root" / "summary.json").exists():
            return
        out = str(folder / "root")
        with Tree(replace(given, run=replace(given.run, out=out)), folder) as tree:
            tree.run()

    return attempt


def scenarios(root: Path) -> list[Scenario]:
    """All of them."""
    momentum = {"recipe": "ties(0.5)", "server_optimizer": "momentum(0.5)"}
    frozen = {"rank": 2, "alpha": 4.0, "space": "frozen-a"}
    states = {"recipe": "ties(0.5)", "tree": "regions"}
    pace = {"mode": "async", "buffer": 2}
    plain = config(root, merge=momentum)
    tree = config(root, lora=frozen, merge=states)
    return [
        Scenario("one server", simulated(plain), "run"),
        Scenario("each at its own pace", simulated(config(root, round=pace)), "run"),
        Scenario("three levels of servers", treed(tree), "root"),
    ]


if __name__ == "__main__":
    sys.exit("run benchmarks/chaos.py")
