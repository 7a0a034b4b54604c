"""What a simulation costs: ``python benchmarks/simulation.py``.

1. 50 trivial clients, three rounds: in-process (beyond imports) and on Flower's own
   engine (`flwr run`, Ray), side by side.
2. A local step against the same loop by hand with transformers and peft.
3. Memory with 8 and with 100 clients: one base a worker, payloads on disk.

Exits with 1 where a bound does not hold. ``--skip`` leaves parts out.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from fedelta.benchmarks.verdicts import verdict

HERE = Path(__file__).parent
CLIENTS, ROUNDS = 50, 3
SECONDS, SHARE, GROWTH, EACH = 1.0, 0.03, 1.15, 4.0
STEPS, REPEATS = 12, 7
WORKER = (
    "from fedelta.benchmarks.trivial import app; "
    "from fedelta.client.worker import main; main(app)"
)


def in_process(workers: int) -> float:
    """Seconds of three trivial rounds in-process, beyond imports and start-up."""
    from fedelta.benchmarks.trivial import app, start
    from fedelta.server import MergeStrategy, environments
    from fedelta.server.engine import InProcessGrid

    environments.prepare()
    with tempfile.TemporaryDirectory() as folder:
        states = {f"{place:02}": Path(folder) for place in range(CLIENTS)}
        given: dict[str, Any] = (
            {"command": [sys.executable, "-c", WORKER]} if workers else {"app": app}
        )
        with InProcessGrid(states, {}, workers=workers, **given) as grid:
            strategy = MergeStrategy("fedavg", fraction_evaluate=0.0)
            strategy.start(grid, start(), num_rounds=1)  # imports, compiled kernels
            began = time.perf_counter()
            found = strategy.start(grid, start(), num_rounds=ROUNDS)
            took = time.perf_counter() - began
    if found.arrays["w"].numpy()[0] != ROUNDS:
        raise SystemExit("the rounds did not add up")
    return took


def flower() -> float | None:
    """Seconds of the same by `flwr run`; None where Ray is not installed."""
    if find_spec("ray") is None:
        return None
    from fedelta.client.joins.runtimes import program
    from fedelta.server import flowers

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = home / "app"
        source.mkdir()
        shutil.copy(HERE / "trivial.py", source)
        text = flowers.APP.replace("fedelta.server.app:app", "trivial:server")
        text = text.replace("fedelta.client.app:app", "trivial:app")
        text = text.replace('["README.md"]', '["README.md", "trivial.py"]')
        (source / "pyproject.toml").write_text(text)
        (source / "README.md").write_text("trivial\n")
        around = flowers.surroundings(home)
        began = time.perf_counter()
        with flowers.superlink(home, around) as port:
            (home / "config.toml").write_text(flowers.LINK.format(port=port))
            words = [program("flwr"), "run", str(source), "here", "--stream"]
            words += ["--federation-config", f"num-supernodes={CLIENTS}"]
            done = subprocess.run(
                words, env=around, capture_output=True, text=True, check=True
            )
        took = time.perf_counter() - began
        if f"[ROUND {ROUNDS}/{ROUNDS}]" not in done.stdout + done.stderr:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return took


def by_hand(adapter: Any, own: Any, tokenizer: Any) -> None:
    """The loop as anybody writes it, on a model with peft's layers in it."""
    import torch
    from torch.nn import functional

    body = adapter.base.network.body
    parameters = list(adapter.parameters.values())
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(7))
    for step in range(STEPS):
        places = order[16 * step : 16 * step + 16].tolist()
        tokens = tokenizer(
            [own.texts[place] for place in places],
            padding=True,
            truncation=True,
            max_length=32,
            return_tensors="pt",
        )
        kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        states = body(**kept).last_hidden_state
        mask = kept["attention_mask"].unsqueeze(-1).float()
        pooled = functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        head = functional.normalize(adapter.parameters["classifier.weight"], dim=-1)
        labels = torch.from_numpy(own.labels[places])
        loss = functional.cross_entropy(20.0 * pooled @ head.T, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        loss.item()


def steps() -> tuple[float, float]:
    """CPU seconds a step: our loop, and by hand; medians, measured in turn."""
    from transformers import AutoTokenizer

    from fedelta.client.adapters import adapted
    from fedelta.client.data import load as read
    from fedelta.client.loading import place
    from fedelta.client.models import load_base, run_key
    from fedelta.client.training import TorchTrainer
    from fedelta.server.runs import load

    config = load(overrides=[f"train.steps={STEPS}"])
    task = read(config)
    base = load_base(config, task.labels)
    own = task.split(next(iter(task.clients)))[0]
    start = base.start(config, run_key(config), 1)
    tokenizer = AutoTokenizer.from_pretrained(place(config.model))

    def ours(adapter: Any) -> None:
        TorchTrainer(config).train(adapter, own, 7)

    def hand(adapter: Any) -> None:
        by_hand(adapter, own, tokenizer)

    taken: dict[str, list[float]] = {"ours": [], "hand": []}
    for turn in range(REPEATS + 1):
        pair = [("ours", ours), ("hand", hand)]
        for name, run in pair if turn % 2 else reversed(pair):
            with adapted(base, config, start) as adapter:
                began = time.process_time()
                run(adapter)
                took = (time.process_time() - began) / STEPS
            if turn:  # the first one warms up
                taken[name].append(took)
    return median(taken["ours"]), median(taken["hand"])


def memory(clients: int) -> dict[str, float]:
    """Megabytes at most, of the server and of the largest worker."""
    code = f"from fedelta.benchmarks import simulation; simulation.measure({clients})"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(clients: int) -> None:
    """In a process of its own: run one round, print what was used."""
    from fedelta.server.runs import load
    from fedelta.server.simulations import simulate

    with tempfile.TemporaryDirectory() as folder:
        sets = [f"data.clients={clients}", "run.rounds=1", "train.steps=1"]
        sets += ["data.partition=iid", "eval.local=false", "eval.where=none"]
        out = f"run.out={folder}/run"
        summary = simulate(load(overrides=[*sets, out]), workers=1)
        sealed = list(Path(folder).glob("run/journal/round-0001/*.payload"))
    scale = 1024.0
    said = Path("/proc/self/status").read_text("ascii")  # ru_maxrss outlives an exec
    own = int(said.partition("VmHWM:")[2].split()[0]) / scale
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale
    told = {"server": own, "worker": worker, "seconds": summary["seconds"]}
    print(json.dumps(told | {"sealed": len(sealed)}))


def say(what: str, much: str) -> None:
    """Print one line as soon as it is known."""
    print(f"{what:24} {much}", flush=True)


def engines() -> list[str]:
    """Part 1."""
    wrong = []
    for workers in (0, 1):
        took = in_process(workers)
        say(f"in-process, {workers} workers", f"{took:.3f} s")
        if took > SECONDS:
            wrong.append(f"in-process, {workers} workers: at most {SECONDS} s")
    took_there = flower()
    said = "skipped: ray is not installed" if took_there is None else None
    say("Flower's own engine", said or f"{took_there:.1f} s")
    return wrong


def loops() -> list[str]:
    """Part 2."""
    ours, hand = steps()
    more = ours / hand - 1
    say("a step, our loop", f"{1000 * ours:.1f} ms of CPU")
    say("a step, by hand", f"{1000 * hand:.1f} ms of CPU")
    say("overhead", f"{100 * more:+.1f} %")
    return [f"a step costs at most {SHARE:.0%} more"] if more > SHARE else []


def memories() -> list[str]:
    """Part 3."""
    few, many = memory(8), memory(100)
    wrong = []
    for name in ("server", "worker"):
        text = f"{few[name]:.0f} MB with 8 clients, {many[name]:.0f} MB with 100"
        say(f"memory, {name}", text)
    if many["worker"] > GROWTH * few["worker"]:
        wrong.append(f"a worker: at most {GROWTH} times as much for 100 clients")
    if many["server"] - few["server"] > 92 * EACH:
        wrong.append(f"the server: at most {EACH} MB a client (its factors, merging)")
    if many["sealed"] != 100:  # noqa: PLR2004
        wrong.append("all payloads are on disk")
    return wrong


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parts = {"engines": engines, "steps": loops, "memory": memories}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip", nargs="*", choices=parts, default=[])
    skipped = parser.parse_args(words).skip
    wrong = []
    for name, part in parts.items():
        if name not in skipped:
            wrong += part()
    return verdict(wrong)


if __name__ == "__main__":
    sys.exit(main())
