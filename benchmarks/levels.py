"""What enters the root over sockets, flat and with two levels of regions below it.

A coordinator, a region, a region below that and four institutions, each on a network
of its own, send whole models as float32 for one round: first all to the coordinator,
then through the regions, from which one state climbs. The coordinator's device is read
before and after each run. Both must come to the same model, bit for bit.
Needs root (network namespaces), nginx and iproute2.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fedelta.benchmarks.encoders import encoder, run_file, texts
from fedelta.benchmarks.federation import Stage, heed
from fedelta.benchmarks.networks import Network, lacking
from fedelta.benchmarks.regions import entered
from fedelta.benchmarks.storms import planted

UP = "nodes may join"
REGIONS = {"north": "", "harbour": "north"}
WAYS = {"ada": "north", "bob": "north/harbour", "cleo": "north/harbour"}
WAYS |= {"dan": "north/harbour"}
TABLES = """
[run]
name = "levels"
rounds = 1
out = "levels"
[train]
mode = "full"
steps = 1
batch = 4
max_length = 16
[wire]
up = "fp32"
down = "fp32"
feedback = false
[merge]
tree = "{tree}"
[round]
deadline_seconds = 300
quorum = 1.0
[eval]
local = false
"""


def measured(
    stage: Stage, ways: Mapping[str, str], regions: Mapping[str, str]
) -> tuple[int, int, str]:
    """Bytes into the coordinator, by its device and by the record; and the model."""

    def data(name: str) -> Path:
        return texts(stage.root, name, 32)

    stage.root.mkdir()
    host, below, members = planted(stage, ways, regions, data)
    text = TABLES.format(tree="regions" if regions else "flat")
    text += "".join(
        f'[[clients]]\nname = "{name}"\nregion = "{way}"\n'
        for name, way in ways.items()
    )
    model = encoder(stage.root, 192, 3)
    config = run_file(
        stage.root / "run.toml", model, texts(stage.root, "test", 8), text
    )
    try:
        stage.start("host", "host", "host", "up", str(host.root))
        for name, region in below.items():
            stage.start(name, name, "region", "up", str(region.host.root))
        for name in ("host", *below):
            stage.until(lambda n=name: UP in stage.said(n), f"{name} is up")  # type: ignore[misc]
        for name, member in members.items():
            stage.start(name, name, "join", "up", str(member.root))
        before = stage.network.counted("host")[0]
        words = ("host", "run", str(config), "--dir", str(host.root))
        stage.start("run", "host", *words)
        out = host.runs / "levels"
        stage.until((out / "summary.json").exists, "the run is done")
        device = stage.network.counted("host")[0] - before
    finally:
        stage.end()
    digest = json.loads((out / "summary.json").read_text())["model_digest"]
    return device, entered(out)[0], digest


def main() -> int:
    """Print the table; 0 if the models are equal and less has entered."""
    if lacks := lacking():
        print(lacks, file=sys.stderr)
        return 2
    heed()
    found = {}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="levels-")))
        network = stack.enter_context(Network(("host", *REGIONS, *WAYS)))
        flat = dict.fromkeys(WAYS, "")
        found["flat"] = measured(Stage(root / "flat", network), flat, {})
        found["three levels"] = measured(Stage(root / "tree", network), WAYS, REGIONS)
    whole = found["flat"][0]
    print("| | at the root's device | in its record | of flat |")
    print("|---|---|---|---|")
    for name, (device, record, _) in found.items():
        print(f"| {name} | {device:,} | {record:,} | {device / whole:.2f} |")
    same = len({digest for _, _, digest in found.values()}) == 1
    print("the models are", "equal, bit for bit" if same else "NOT EQUAL")
    return 0 if same and found["three levels"][0] < whole else 1


if __name__ == "__main__":
    sys.exit(main())
