"""What a server takes whose clients train everything: `python benchmarks/masters.py`.

Rounds of SmolLM2 (135 M weights) with full, sparse deltas and one optimiser step each;
five minutes on a core. ``--where clients`` leaves judging to the clients, so that the
server has no network. Prints the process's peak when the rounds are done and when the
folded model is written, beside one float32 copy of the weights.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SETS = (
    "train.mode=full",
    "train.steps=1",
    "train.batch=1",
    "train.max_length=32",
    "data.examples=400",
    "data.test_examples=8",
    "data.validation=0.02",
    "eval.local=false",
    "run.export=folded",
    "wire.up=sparse(density=0.05)",
    "wire.down=moved(values='fp8')",
)
MEGA = 1 << 20


def peak() -> int:
    """Megabytes that this process held at most."""
    said = Path("/proc/self/status").read_text("ascii")
    return int(said.partition("VmHWM:")[2].split()[0]) // 1024


def main(words: Sequence[str] | None = None) -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", default="clients", choices=["clients", "server"])
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args(words)
    from fedelta.server.runs import load
    from fedelta.server.simulations import simulate

    found: list[tuple[int, bool]] = []

    def seen(line: Any) -> None:
        if line["kind"] == "release":
            found.append((peak(), "torch" in sys.modules))

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        more = [f"run.rounds={given.rounds}", f"eval.where={given.where}"]
        out = f"run.out={folder}/run"
        config = load(preset="smollm2-domains", overrides=[*SETS, *more, out])
        summary = simulate(config, workers=1, listeners=[seen])
    touched = summary["bytes"]["up_dense_fp32"] / given.rounds / summary["clients"]
    print(f"one copy of the weights  {touched / MEGA:.0f} MB")
    for number, (held, torch) in enumerate(found, 1):
        told = "with torch" if torch else "without torch"
        print(f"server after round {number}    {held} MB, {told}")
    print(f"server at the end        {peak()} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
