"""What 1,000 clients and more would take, with one, two and three levels of servers.

Bytes are real payloads', updates' and states' of one model; rates are measured here,
on one core: admitting a reply, sealing it, folding it, adding states, reading the
result, and what a message and an idle node's question take SuperLink
(benchmarks/messages.py; needs nginx). A simulated clock then plays one round: clients
train for times that differ, send over a line of their own into a server's, which takes
one after the other, beside the questions of nodes that have nothing to do. In a tree
either states climb (the root's model is the flat run's, bit for bit) or each
region's finished merge does (`grouped`). ``--size 3M`` is quick; nothing is guessed but
the settings below.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedelta.aggregators import branches
from fedelta.aggregators.base import Key, Member
from fedelta.aggregators.recipes import recipe
from fedelta.benchmarks import messages
from fedelta.benchmarks.models import SHAPES, vectors
from fedelta.benchmarks.sizes import opened, sent
from fedelta.protocols import seeds
from fedelta.protocols.vectors import TaskVector
from fedelta.server import files
from fedelta.server.regions.parcels import packed, unpacked

CLIENT_LINE, SERVER_LINE = 100e6 / 8, 1e9 / 8
"""Bytes a second: of a client, of a server; each way."""
TRAINING, SPREAD = 300.0, 0.35
"""Seconds that a client trains: the median, and the deviation of its logarithm."""
IDLE = 3.0
"""Seconds between the questions of a node that has nothing to do, as Flower has it."""
UP, DOWN = "sparse(density=0.05)", "fp16"
RECIPE = "ties(density=0.2)"
MEMBERS = 32
"""Of a region whose state is measured: sums of few sparse replies are sparse."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one model takes: bytes, and seconds of one core.

    Attributes:
        reply: bytes of a client's reply.
        update: bytes of what goes down.
        state: bytes of a region's sums.
        admit: seconds to validate a reply and seal it.
        fold: seconds to fold a reply.
        add: seconds to add a state.
        read: seconds to read the result off and write the update.
        message: seconds of SuperLink for a message there and back.
        poll: seconds of SuperLink for an idle node's question.
    """

    reply: int
    update: int
    state: int
    admit: float
    fold: float
    add: float
    read: float
    message: float = 0.0
    poll: float = 0.0


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the second of two times, and what it gave: the first warms up."""
    task()
    began = time.process_time()
    found = task()
    return time.process_time() - began, found


def measured(size: str) -> Rates:
    """Measure one model."""
    chosen, key = recipe(RECIPE), Key("00", 1)
    given = vectors(size, MEMBERS)
    data = [sent(one, UP) for one in given]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "reply"

        def admit() -> Any:
            files.write(path, data[0])
            return opened(data[0], given[0])

        admitting, _ = timed(admit)
    members = [
        Member(f"client-{at}", opened(one, given[at]), 1) for at, one in enumerate(data)
    ]

    ready, survey = branches.prepare(chosen, members, key)
    numbers = survey.numbers(chosen.reducer)

    def fold() -> Any:
        return branches.summed(
            chosen, branches.prepare(chosen, members, key)[0], numbers
        )

    folding, branch = timed(fold)
    left, right = (
        branches.summed(chosen, part, numbers) for part in (ready[:1], ready[1:])
    )
    state = packed(right)
    adding, _ = timed(lambda: branches.added(left, unpacked(state)))

    def read() -> bytes:
        found = branches.read(branch, chosen, key)
        return sent(TaskVector.of(_dense(found, given[0])), DOWN)

    reading, update = timed(read)
    return Rates(
        len(data[0]),
        len(update),
        len(state),
        admitting,
        folding / MEMBERS,
        adding,
        reading,
    )


def served(
    arrivals: Sequence[float], size: float, each: float, line: float = SERVER_LINE
) -> float:
    """When a server has taken all that arrives: one line, one core, first come first.

    Example:
        >>> served([0.0, 0.0], size=10.0, each=1.0, line=5.0)
        5.0
    """
    wire = core = 0.0
    for at in sorted(arrivals):
        wire = max(wire, at) + size / line
        core = max(core, wire) + each
    return core


@dataclass(frozen=True, slots=True)
class Round:
    """One simulated round.

    Attributes:
        fan: how many each server serves.
        root_in: bytes into the root.
        root_out: bytes out of it.
        busy: share of a core that SuperLink spends on nodes with nothing to do; from 1
            on, there is no round.
        ingest: seconds that the root's line or core is taken up by what comes.
        after: seconds from the last client's training to the next version.
        seconds: of the whole round.
    """

    fan: int
    root_in: float
    root_out: float
    busy: float
    ingest: float
    after: float
    seconds: float


def play(rates: Rates, clients: int, levels: int, *, states: bool) -> Round:
    """One round of so many clients under so many levels of servers."""
    fan = math.ceil(clients ** (1 / levels))
    counts = [clients]  # how many senders there are, from the clients up
    for _ in range(levels - 1):
        counts.append(math.ceil(counts[-1] / fan))
    busy = fan * rates.poll / IDLE
    free = max(1 - busy, 0.0) or math.nan  # of a core
    message = rates.message / 2 / free
    down = sum(
        min(fan, count) * max(rates.update / SERVER_LINE, message) for count in counts
    )
    draws = seeds.normal(seeds.key("scaling", clients), 0, clients)
    trained = TRAINING * np.exp(SPREAD * draws)
    ready = (down + trained + rates.reply / CLIENT_LINE).tolist()
    size, each = rates.reply, (rates.admit + rates.fold) / free + message
    for count in counts[1:]:
        groups = [ready[at::count] for at in range(count)]
        closing = 0.0 if states else rates.read
        ready = [served(one, size, each) + closing for one in groups]
        if states:
            size, each = rates.state, rates.add / free + message
    done = served(ready, size, each) + rates.read
    return Round(
        fan,
        len(ready) * size,
        min(fan, len(ready)) * rates.update,
        busy,
        len(ready) * max(size / SERVER_LINE, each),
        done - down - float(trained.max()),
        done,
    )


def _dense(found: Any, like: TaskVector) -> dict[str, Any]:
    parts = [np.asarray(found.block(span).values) for span in found.layout.spans]
    whole = np.concatenate(parts)
    ends = np.cumsum(like.layout.sizes).tolist()
    return {
        name: whole[end - n : end].reshape(shape).astype(np.float32)
        for name, shape, n, end in zip(
            like.layout.names, like.layout.shapes, like.layout.sizes, ends, strict=True
        )
    }


def main() -> int:
    """Measure, play, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*SHAPES], default="33M")
    parser.add_argument("--clients", type=int, nargs="+", default=[100, 1000, 10000])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="messages-") as name:
        costs = messages.measured(Path(name))
    rates = replace(measured(asked.size), message=costs.message, poll=costs.poll)
    tell(asked.size, rates)
    print()
    print(
        "| clients | levels | climbs | each serves | into the root | out of it "
        "| idle nodes | ingest, s | after training, s | round, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for clients in asked.clients:
        for levels in (1, 2, 3):
            for states in (True, False) if levels > 1 else (False,):
                climbs = "states" if states else "merges" if levels > 1 else "replies"
                row = told(play(rates, clients, levels, states=states))
                print(f"| {clients:,} | {levels} | {climbs} | {row} |")
    return 0


def tell(size: str, rates: Rates) -> None:
    """Print what was measured."""
    print(f"{size} parameters, {RECIPE}, {UP} up, {DOWN} down:")
    for name in ("reply", "update", "state"):
        print(f"* {name}: {getattr(rates, name) / 1e6:.2f} MB")
    for name, what in (
        ("admit", "admitting and sealing a reply"),
        ("fold", "folding a reply"),
        ("add", "adding a state"),
        ("read", "reading the result and writing the update"),
        ("message", "a message there and back, in SuperLink,"),
        ("poll", "an idle node's question, in SuperLink,"),
    ):
        print(f"* {what} takes {1e3 * getattr(rates, name):.1f} ms of a core")


def told(one: Round) -> str:
    """A round's cells."""
    sizes = f"{one.fan:,} | {one.root_in / 1e6:,.0f} MB | {one.root_out / 1e6:,.0f} MB"
    times = f"{one.ingest:,.1f} | {one.after:,.1f} | {one.seconds:,.0f}"
    if math.isnan(one.seconds):
        times = "too many nodes | - | -"
    return f"{sizes} | {one.busy:.0%} of a core | {times}"


if __name__ == "__main__":
    sys.exit(main())
