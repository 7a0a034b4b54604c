"""A federation of real processes in bad weather: three levels, three institutions.

Each has a network namespace of its own. Again and again somebody is killed (SIGKILL) or
cut off for a while. Rounds want every reply and ask again for what is lost, so the
model must be the undisturbed run's, bit for bit.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedelta.benchmarks.deaths import counted, digest
from fedelta.benchmarks.federation import Stage
from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.processes import end_group
from fedelta.client.joins.runtimes import UP, state_of
from fedelta.protocols import seeds
from fedelta.server.holders import holder
from fedelta.server.hosts import admissions
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.hosts.layouts import Ports, create
from fedelta.server.regions.folders import RegionFolder

WAYS = {"ada": "", "bob": "north", "cleo": "north/harbour"}
REGIONS = {"north": "", "harbour": "north"}
"""Each region, and the one above it; empty: the coordinator."""
MACHINES = ("host", *REGIONS, *WAYS)
PAUSE, LOOK = 20.0, 2.0
"""Seconds between blows, and between looks at what has ended."""
CUT = 6.0
"""Seconds without a line."""
CONFIG = """
[run]
name = "storm"
rounds = {rounds}
out = "storm"
[model]
id = {model}
head = "linear"
[data]
source = {source}
labels = ["amber", "birch", "cobalt", "dune"]
test = {test}
[train]
steps = 2
batch = 8
learning_rate = 1e-2
max_length = 24
[lora]
rank = 2
alpha = 4.0
space = "frozen-a"
[merge]
recipe = "ties(0.5)"
tree = "{tree}"
[round]
deadline_seconds = 60
quorum = 3
retries = 50
[eval]
local = false
"""


@dataclass
class Storm:
    """What is hit, and what became of it.

    Attributes:
        stage: the processes.
        host: the coordinator's folder.
        regions: the regions'.
        members: the institutions'.
        blows: what was done, how often.
    """

    stage: Stage
    host: HostFolder
    regions: dict[str, RegionFolder]
    members: dict[str, JoinFolder]
    blows: Counter[str] = field(default_factory=Counter)

    @property
    def out(self) -> Path:
        """The root's folder of the run."""
        return self.host.runs / "storm"

    def services(self) -> dict[str, int]:
        """What runs, by name: its process id."""
        found: dict[str, int] = {}
        folders = {"host": self.host.state}
        folders |= {name: one.host.state for name, one in self.regions.items()}
        for place, state in folders.items():
            for name, one in state_of(state / UP)["services"].items():
                found[f"{place}: {name}"] = int(one["pid"])
        for name, member in self.members.items():
            node = state_of(member.state / UP)["services"].get("supernode", {})
            found[f"{name}: supernode"] = int(node.get("pid", 0))
            for what, words in (
                ("client", "fedelta.client.joins.tasks"),
                ("superexec", "flower-superexec"),
            ):
                found[f"{name}: {what}"] = process(words, member.root)
        for name, one in self.regions.items():
            found[f"{name}: relay"] = process("fedelta.client.relay", one.above.root)
            found[f"{name}: server app"] = holder(one.host.runs / "storm")
        found["host: server app"] = holder(self.out)
        return {name: pid for name, pid in found.items() if pid}


def process(words: str, folder: Path) -> int:
    """A process whose command has these words and that works in a folder; 0: none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = path.read_bytes().decode("utf-8", "replace")
            inside = str((path.parent / "cwd").readlink())
        except OSError:
            continue
        if words in said and inside.startswith(str(folder)):
            return int(path.parent.name)
    return 0


def planted(
    stage: Stage,
    ways: Mapping[str, str],
    regions: Mapping[str, str],
    data: Callable[[str], Path],
) -> tuple[HostFolder, dict[str, RegionFolder], dict[str, JoinFolder]]:
    """Folders, keys and admissions of a tree: the coordinator's, regions', members'.

    Args:
        stage: where they go, and the addresses.
        ways: by institution, the regions that it is behind.
        regions: each region, and the one above it.
        data: writes an institution's data file.
    """
    root, address = stage.root, stage.network.addresses
    host = create(root / "host", stage.root.name, [address["host"]], Ports())
    hosts, found = {"": host}, {}
    for name, parent in regions.items():
        region = RegionFolder.create(root / name, name, [address[name]], Ports())
        answer = admissions.admit(hosts[parent], region.above.public, name)
        institutions.accept(region.above, answer)
        found[name], hosts[name] = region, region.host
    members = {}
    for name, way in ways.items():
        member = institutions.create(root / name, name, str(data(name)))
        above = hosts[way.rpartition("/")[2]]
        institutions.accept(member, admissions.admit(above, member.public, name))
        members[name] = member
    return host, found, members


def prepare(stage: Stage, rounds: int) -> Storm:
    """Folders, keys, admissions, data and the run's file."""
    from fedelta.tests import tiny

    root = stage.root

    def data(name: str) -> Path:
        return tiny.data(root, 48, 4, f"{name}.jsonl", list(WAYS).index(name))

    host, regions, members = planted(stage, WAYS, REGIONS, data)
    test = json.dumps(str(tiny.data(root, 24, 4, "test.jsonl", 9)))
    model = json.dumps(str(tiny.model(root)))
    for file, source, tree in (
        ("run.toml", '""', "regions"),
        ("alike.toml", '"each its own"', "flat"),
    ):
        text = CONFIG.format(
            model=model, test=test, rounds=rounds, source=source, tree=tree
        )
        for name, way in WAYS.items():
            text += f'[[clients]]\nname = "{name}"\nregion = "{way}"\n'
            own = json.dumps(str(root / f"{name}.jsonl"))
            text += f"data = {own}\n" if file == "alike.toml" else ""
        (root / file).write_text(text)
    return Storm(stage, host, regions, members)


def starts(storm: Storm) -> dict[str, tuple[str, Sequence[str]]]:
    """The commands of operators: on which machine, and the words."""
    host = storm.host.root
    config = str(storm.stage.root / "run.toml")
    return {
        "host": ("host", ("host", "up", str(host))),
        **{
            name: (name, ("region", "up", str(one.host.root)))
            for name, one in storm.regions.items()
        },
        **{
            name: (name, ("join", "up", str(one.root)))
            for name, one in storm.members.items()
        },
        "run": ("host", ("host", "run", config, "--dir", str(host))),
    }


def again(storm: Storm) -> None:
    """What operators do: start what is not there, until the run is done."""
    for name, (machine, words) in starts(storm).items():
        running = storm.stage.running.get(name)
        if running is None or running.poll() is not None:
            storm.stage.start(name, machine, *words)


def hit(storm: Storm, number: int, seed: int) -> None:
    """One blow, by seed: a kill most of the time."""
    draw = [int(one) for one in seeds.words(seeds.key("storm", seed), 3 * number, 3)]
    kind = draw[0] % 8
    if kind == 0:
        machine = MACHINES[draw[1] % len(MACHINES)]
        storm.stage.network.cut(machine)
        time.sleep(CUT)
        storm.stage.network.plug(machine)
        _note(storm, f"line cut: {machine}")
    elif kind == 1:
        name = MACHINES[draw[1] % len(MACHINES)]
        if name in storm.stage.running:
            end_group(storm.stage.running[name], grace=0)
            _note(storm, f"everything killed: {name}")
    else:
        there = storm.services()
        if there:
            name = sorted(there)[draw[1] % len(there)]
            os.kill(there[name], signal.SIGKILL)
            _note(storm, f"killed: {name}")


def _note(storm: Storm, text: str) -> None:
    storm.blows[text] += 1
    storm.stage.say(text)


def play(
    stage: Stage, blows: int, rounds: int, seed: int, limit: float
) -> tuple[Storm, bool]:
    """A run in a storm; whether it came to the undisturbed run's model.

    Raises:
        TimeoutError: it did not end.
    """
    storm = prepare(stage, rounds)
    _note(storm, f"line of cleo: {stage.network.slow('cleo')}")
    began, struck, last = time.monotonic(), 0, time.monotonic()
    while not (storm.out / "summary.json").exists():
        again(storm)
        if time.monotonic() - began > limit:
            raise TimeoutError(f"not in {limit:g} s\n{stage.said('run')}")
        now = time.monotonic()
        if not (storm.out / "record.jsonl").exists():
            last = now
        elif struck < blows and now - last >= PAUSE:
            hit(storm, struck, seed)
            struck, last = struck + 1, time.monotonic()
        time.sleep(LOOK)
    return storm, right(storm, rounds)


def right(storm: Storm, rounds: int) -> bool:
    """Whether the model is the flat, undisturbed run's and everybody counted once."""
    from fedelta.server.runs import load
    from fedelta.server.simulations import simulate

    out = storm.stage.root / "alike"
    config = storm.stage.root / "alike.toml"
    simulate(load(config, overrides=[f"run.out={out}"]), workers=0)
    wanted = sorted((n, name) for n in range(1, rounds + 1) for name in WAYS)
    same: Callable[[Path], str] = digest
    return same(out) == same(storm.out) and counted(storm.out) == wanted
