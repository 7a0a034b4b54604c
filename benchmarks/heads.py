"""How many clients it takes: ``python benchmarks/heads.py --run``.

The encoder preset with its body left as it is: texts are embedded once, and only the
cosine head (22 classes by 384) is trained, which takes milliseconds. So a grid of
numbers of clients, epsilons and seeds is run whole, through the same clip, noise, coins
and accountant as a federation's client level: what is left out is transport.

3 rounds; 4096 texts dealt evenly; some 64 clients are asked a round (all, where there
are fewer), and each takes 4 steps on all of its texts. 500 test texts. Needs the extras
``demo`` and ``privacy``.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedelta.aggregators.base import Key
from fedelta.aggregators.noises import Mechanism
from fedelta.aggregators.privates import Shape, merge_private
from fedelta.aggregators.recipes import recipe
from fedelta.aggregators.spaces import Arrival
from fedelta.benchmarks.epsilons import ACCURACY, DELTA, EPSILONS, Cell, plot, table
from fedelta.benchmarks.privacy import RESULTS as ALIKE
from fedelta.benchmarks.quality import read, write
from fedelta.client.accountants import multiplier
from fedelta.protocols import seeds
from fedelta.protocols.secrets import Secret
from fedelta.protocols.vectors import Floats, Layout, TaskVector

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "heads.json"
TEXTS, TESTED, LONGEST = 4096, 500, 16
ROUNDS, STEPS, ASKED, SEEDS = 3, 4, 64, 3
COUNTS = (16, 64, 256, 1024)
CLIP, RATE = 1.0, 1.0
NAME = "classifier.weight"

Labels = npt.NDArray[np.int64]
Multipliers = dict[tuple[float, float, int], float]


class Data:
    """Embedded texts.

    Args:
        path: where they are kept; made where missing.

    Attributes:
        x, y: [n, hidden] of length 1, and [n] classes, to train on.
        test: the same to judge by.
        start: [classes, hidden] the head at first.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **_embedded())
        with np.load(path) as held:
            self.x, self.y, self.start = held["x"], held["y"], held["start"]
            self.test = held["tx"], held["ty"]

    def accuracy(self, head: Floats) -> float:
        """Of a head on the test texts."""
        x, y = self.test
        found = (x @ _unit(head).T).argmax(axis=1)
        return round(float((found == y).mean()), 4)


def _embedded() -> dict[str, Any]:
    import torch

    from fedelta.client.classification import tokenised
    from fedelta.client.data import joined, load
    from fedelta.client.heads import Cosine
    from fedelta.client.models import load_base
    from fedelta.server.runs import load as configured

    sets = [f"data.test_examples={TESTED}", f"data.examples={TEXTS}"]
    config = configured(preset="icd10", overrides=sets)
    task = load(config)
    tokenizer: Any = (network := load_base(config, task.labels).network).tokenizer
    scorer = Cosine(network.body, tokenised(tokenizer, task.labels, LONGEST))

    def embed(texts: tuple[str, ...]) -> Any:
        parts = []
        with torch.inference_mode():
            for first in range(0, len(texts), 64):
                batch = tokenised(tokenizer, texts[first : first + 64], LONGEST)
                parts.append(scorer.embed(batch).numpy())
        return np.concatenate(parts)

    own = joined(list(task.clients.values()))
    return {
        "x": embed(own.texts),
        "y": own.labels,
        "tx": embed(task.test.texts),
        "ty": task.test.labels,
        "start": scorer.classes.weight.numpy(),
    }


def grid() -> Iterator[Cell]:
    """All cells."""
    for seed in range(SEEDS):
        for epsilon in (0.0, *EPSILONS):
            for clients in COUNTS:
                yield Cell("head", "client", epsilon, clients, seed)


def run(cell: Cell, data: Data, known: Multipliers) -> dict[str, Any]:
    """One federation's accuracy; `known` multipliers grow."""
    size = TEXTS // cell.clients
    rate, times = min(1.0, ASKED / cell.clients), ROUNDS
    wanted = (cell.epsilon, rate, times)
    if cell.epsilon and wanted not in known:
        known[wanted] = multiplier(cell.epsilon, DELTA, rate, times)
    noise = known.get(wanted, 0.0)
    order = seeds.permutation(seeds.key("deal", cell.seed), len(data.x))
    deals = [order[k * size : (k + 1) * size] for k in range(cell.clients)]
    secret = Secret(cell.seed.to_bytes(32, "big")).of(cell.level, cell.clients)
    head = data.start.copy()
    for number in range(1, ROUNDS + 1):
        source = secret.of(number)
        coins = source.of("sample").uniform(0, cell.clients)
        there = [own for own, coin in zip(deals, coins, strict=True) if coin < rate]
        changes = [_trained(data, head, own) for own in there]
        count = rate * cell.clients
        head = head + _merged(changes, noise, count, source, bare=not cell.epsilon)
    return asdict(cell) | {
        "metric": ACCURACY,
        "base": data.accuracy(data.start),
        "final": data.accuracy(head),
        "noise_multiplier": noise,
        "clip": CLIP,
        "rate": rate,
        "releases": times,
    }


def _merged(
    changes: list[Floats], noise: float, count: float, source: Secret, *, bare: bool
) -> Floats:
    """The noisy merge of a round's changes; without noise nothing is clipped either."""
    if bare:
        mean: Floats = np.mean(changes, axis=0)
        return mean
    shape = Shape("full", Layout.of({NAME: changes[0].shape}), (), {})
    found = [
        Arrival(f"{k:05}", TaskVector.of({NAME: one}), 1, "", (), {})
        for k, one in enumerate(changes)
    ]
    mechanism = Mechanism(CLIP, noise * CLIP, count)
    given = (recipe("fedavg()"), shape, found, mechanism, source.of("noise").normals)
    return merge_private(*given, key=Key("heads", 1)).merged.update[NAME]


def _unit(head: Floats) -> Floats:
    found: Floats = head / np.linalg.norm(head, axis=1, keepdims=True)
    return found


def _slopes(data: Data, head: Floats, places: Labels) -> Any:
    """[n, classes] of the loss by the cosines, times the temperature."""
    logits = 20.0 * data.x[places] @ _unit(head).T
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    odds[np.arange(len(places)), data.y[places]] -= 1.0
    return 20.0 * odds


def _through(head: Floats, slopes: Any) -> Any:
    """Slopes [..., classes, hidden] by unit vectors as slopes by the vectors."""
    unit = _unit(head)
    along = (slopes * unit).sum(-1, keepdims=True) * unit
    return (slopes - along) / np.linalg.norm(head, axis=1, keepdims=True)


def _trained(data: Data, head: Floats, own: Labels) -> Floats:
    """What some steps of gradient descent on all of a client's texts change."""
    now = head.copy()
    for _ in range(STEPS):
        slopes = _slopes(data, now, own).T @ data.x[own] / len(own)
        now -= RATE / 20.0 * _through(now, slopes).astype(np.float32)
    return now - head


def main() -> int:
    """Run what was asked for, print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="what is not there yet")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--embedded", type=Path, default=Path("build/heads.npz"))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    rows, keys = read(given.results), asdict(Cell("", "", 0.0, 0))
    done = [{key: row[key] for key in keys} for row in rows]
    todo = [one for one in grid() if given.run and asdict(one) not in done]
    known: Multipliers = {
        (row["epsilon"], row["rate"], row["releases"]): row["noise_multiplier"]
        for row in (*read(ALIKE), *rows)
    }
    data = Data(given.embedded) if todo else None
    for cell in todo:
        if data is not None:
            rows.append(run(cell, data, known))
            write(given.results, rows)
    for line in table(rows):
        print(line)
    if given.plot and rows:
        plot(rows, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
