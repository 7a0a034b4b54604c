"""A masked round over sockets: a coordinator and three institutions on this machine.

``python benchmarks/veiled.py`` (needs nginx; a minute). Real processes, TLS,
registered node keys and pinned signing keys; one round of FedAvg under masks. It prints
the round's line of the record, what `fedelta verify` says of it and what each
institution finds of its own in the run's lines. It fails unless all three are in the
sum, the merge is the kept sums', and no secret of the round is left on disk.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fedelta.client.joins import peers
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.inclusions import inclusions
from fedelta.server import provenances
from fedelta.server.verifications import EQUAL, verify
from tests import tiny
from tests.server.hosts.federations import CONFIG, Processes, host, join

NAMES = ("east", "north", "south")
MASKED = """
[merge]
recipe = "fedavg()"
[privacy]
secure_aggregation = true
"""


def main() -> int:
    """Play it; 0 where it went as it should."""
    with tempfile.TemporaryDirectory(prefix="veiled") as made:
        root = Path(made)
        test = tiny.data(root, 24, 4, "test.jsonl", 9)
        text = CONFIG.format(
            model=json.dumps(str(tiny.model(root))), test=json.dumps(str(test))
        )
        text = text.replace("rounds = 2", "rounds = 1")
        text = text.replace("[lora]\n", '[lora]\nspace = "frozen-a"\n') + MASKED
        config = root / "run.toml"
        config.write_text(text)
        hosted = host(root / "host")
        members = {
            name: join(
                hosted,
                root / name,
                name,
                str(tiny.data(root, 48, 4, f"{name}.jsonl", at)),
            )
            for at, name in enumerate(NAMES)
        }
        for name, one in members.items():
            (root / f"{name}.pub").write_text(peers.line(one))
        for one in members.values():
            for name in NAMES:
                peers.pin(one, name, root / f"{name}.pub")
        with Processes(root / "out") as processes:
            processes.start("host", "host", "up", str(hosted.root))
            processes.until("host", "nodes may join")
            for name, one in members.items():
                processes.start(name, "join", "up", str(one.root))
            words = [str(config), "--dir", str(hosted.root)]
            processes.start("run", "host", "run", *words)
            processes.running["run"].wait(330)
            print(processes.said("run"))
        record = (hosted.runs / "tiny" / "record.jsonl").read_text().splitlines()
        told = [json.loads(one) for one in record]
        (line,) = [one for one in told if one["kind"] == "round"]
        print(json.dumps(line))
        left = list(root.glob("*/state/runs/*/masks/*.state*"))
        good = proven(hosted.runs / "tiny", members) and not left
        return 0 if good and line["accepted"] == len(NAMES) else 1


def proven(run: Path, members: Mapping[str, JoinFolder]) -> bool:
    """Whether the merge is the kept sums', and everybody finds its own in the lines."""
    found = verify(run)
    print(*found)
    good = [one.verdict for one in found] == [EQUAL]
    for name, one in members.items():
        own = list(inclusions(one, run / provenances.FILE))
        print(name, *own)
        good &= len(own) == 1 and own[0].good
    return good


if __name__ == "__main__":
    sys.exit(main())
