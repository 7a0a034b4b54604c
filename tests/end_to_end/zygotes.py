"""Runs one federation on and on, each time in a fork that may be killed.

``python -m tests.end_to_end.zygotes FOLDER SEED KILLS``: what is heavy is imported
once; each attempt is a fork of that. Attempts are killed (SIGKILL) at keyed moments
until there were so many kills; the last one may finish. Prints the model's digest and
how many attempts were killed before they were done.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from fedelta.protocols import seeds
from fedelta.server import environments
from fedelta.server.runs import config_from_json
from fedelta.server.simulations import resume, simulate

LONGEST = 1.2
"""Seconds; a whole run on the tiny model takes about as long."""


def attempt(folder: Path) -> None:
    """Begin the run, or go on with it."""
    run = folder / "run"
    if (run / "config.json").exists():
        resume(run, workers=0)
    else:
        simulate(config_from_json((folder / "asked.json").read_text()), workers=0)


def forked(folder: Path, limit: float) -> bool:
    """One attempt in a child that is killed after `limit` seconds; whether it was."""
    child = os.fork()
    if not child:
        code = 1
        try:
            attempt(folder)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise SystemExit(f"an attempt failed by itself: {status}")
            return False
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main(folder: Path, seed: int, kills: int) -> None:
    """Kill so often, then let it finish."""
    environments.prepare()
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import fedelta.client.app
    import fedelta.server.coordination  # noqa: F401

    torch.set_num_threads(1)
    killed = 0
    for number in range(kills):
        draw = float(seeds.uniform(seeds.key("kill", seed), number, 1)[0])
        killed += forked(folder, draw * LONGEST)
        if (folder / "run" / "summary.json").exists():
            (folder / "run" / "summary.json").unlink()  # so that there is more to kill
    if forked(folder, 600):
        raise SystemExit("the last attempt did not end")
    summary = json.loads((folder / "run" / "summary.json").read_text())
    said = {"digest": summary["model_digest"], "killed": killed}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
