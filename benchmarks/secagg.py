"""What a masked round costs one client: bytes and CPU, beside Flower's SecAgg+.

``python benchmarks/secagg.py [--elements 1000000] [--clients 10]``

Both do the whole of one client's work on the same vector, training left out: keys,
shares, the masked input, and the shares that open the sum, with as many neighbours
(everybody) and the same threshold. Flower's part are the functions of its own module
`flwr.client.mod.secure_aggregation`. CPU is this process's, of the one client that is
measured; bytes are those of keys, shares and vectors, without what frames them.
"""

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord
from flwr.common import ndarrays_to_parameters
from flwr.common.secure_aggregation.secaggplus_constants import Key

from fedelta.aggregators import agreements
from fedelta.aggregators.agreements import Where
from fedelta.aggregators.fields import State, enough
from fedelta.client.maskers import Masker
from fedelta.protocols import seeds
from fedelta.protocols.protections import Privacy
from fedelta.protocols.settings import Config, Lora, Merge
from fedelta.protocols.terms import Terms
from fedelta.server.unmaskings import Unmasking

theirs: Any = importlib.import_module(
    "flwr.client.mod.secure_aggregation.secaggplus_mod"
)

Row = tuple[str, float, int, int]
"""What, CPU seconds, bytes up, bytes down."""


class Clock:
    """CPU seconds of what is called through it."""

    def __init__(self) -> None:
        self.cpu = 0.0

    def __call__(self, call: Callable[..., Any], *given: Any) -> Any:
        """Call, and count."""
        begun = time.process_time()
        made = call(*given)
        self.cpu += time.process_time() - begun
        return made


def their(name: str) -> Any:
    """A function of Flower's module."""
    return getattr(theirs, name)


def vectors(clients: int, elements: int) -> list[Any]:
    """Changes as training leaves them: normal, small."""
    return [
        (seeds.normal(seeds.key("secagg", k), 0, elements) * 1e-3).astype(np.float32)
        for k in range(clients)
    ]


def ours(what: str, recipe: str, lane: int, bound: float, given: list[Any]) -> Row:
    """The first client's work in a masked round of ours."""
    privacy = Privacy(secure_aggregation=True, lane=lane, bound=bound)  # type: ignore[arg-type]
    config = Config(merge=Merge(recipe), lora=Lora(space="frozen-a"), privacy=privacy)
    names = [f"client-{k:03}" for k in range(len(given))]
    where = Where("00" * 8, 1, "b" * 64, "c" * 64)
    terms = agreements.drawn(config, where, dict.fromkeys(names, 1), "aa" * 16, "")
    clock, me = Clock(), names[0]
    keys = {name: Ed25519PrivateKey.generate() for name in names}
    pins = {n: k.public_key().public_bytes_raw().hex() for n, k in keys.items()}
    clients: dict[str, Masker] = {}
    adverts = []
    for name in names:
        do = clock if name == me else Clock()
        clients[name], advert = do(Masker.begin, terms, name, keys[name], os.urandom)
        adverts.append(advert)
    server = Unmasking(terms, pins)
    server.introduce(adverts)
    up, down = len(adverts[0].to_json()), sum(len(one.to_json()) for one in adverts)
    for name in names:
        do = clock if name == me else Clock()
        deal = do(clients[name].deal, adverts, pins)
        server.deal(name, deal.sealed, deal.commitments)
        if name == me:
            up += sum(map(len, deal.sealed.values()))
            up += len(json.dumps(deal.commitments))
    for name in names:
        do = clock if name == me else Clock()
        sealed = {n: server.sealed[n][name] for n in names if n != name}
        told = {n: server.commitments[n][name] for n in names if n != name}
        do(clients[name].hold, sealed, told)
        if name == me:
            down += sum(map(len, sealed.values())) + len(json.dumps(told))
    more_up, more_down = _sums(terms, clients, server, given, clock)
    return what, clock.cpu, up + more_up, down + more_down


def _sums(
    terms: Terms,
    clients: dict[str, Masker],
    server: Unmasking,
    given: list[Any],
    clock: Clock,
) -> tuple[int, int]:
    """Each opening: mask, add, reveal; bytes up and down of the first client."""
    state, up, down = State.of(terms), 0, 0
    names, size = list(clients), given[0].size
    there: Any = np.ones(size, np.bool_)
    opened: Any = np.ones((len(state.counts.fields), size), np.bool_)
    for number in range(terms.passes):
        counting = number < terms.passes - 1
        lanes = state.counts if counting else state.values
        count = int(there.sum())
        opening = server.opening(number, names, lanes.words(count))

        for name, values in zip(names, given, strict=True):
            do = clock if name == names[0] else Clock()
            numbers = do(_numbers, state, values[there], opened[:, there], counting)
            packed = do(lanes.pack, numbers, 1)
            data = do(clients[name].mask, number, packed).tobytes()
            server.add(opening, name, data)
        up += lanes.words(count) * terms.lane // 8
        shares = {}
        for name in names:
            do = clock if name == names[0] else Clock()
            shares[name] = do(clients[name].reveal, number, names)
        up += sum(map(len, shares[names[0]].values()))
        down += sum(map(len, names))
        words, _ = server.open(opening, shares)
        numbers = lanes.unpack(words, count, terms.total, len(names))
        if counting:
            opened = enough(numbers, terms)
            there = opened.any(axis=0)
            down += opened.size // 8
    return up, down


def _numbers(state: State, values: Any, opened: Any, counting: bool) -> Any:  # noqa: FBT001
    if counting:
        return state.standing(values)
    return state.closed(state.written(values, 1), opened)


def flowers(given: list[Any], threshold: int) -> Row:
    """The first client's work in a round of Flower's SecAgg+ with all as neighbours."""
    clock, count = Clock(), len(given)
    up = down = 0
    states = [theirs.SecAggPlusState() for _ in given]
    keys: dict[str, Any] = {}
    for node, state in enumerate(states):
        state.nid = node
        said = ConfigRecord(
            {
                Key.SAMPLE_NUMBER: count,
                Key.SHARE_NUMBER: count,
                Key.THRESHOLD: threshold,
                Key.CLIPPING_RANGE: 8.0,
                Key.TARGET_RANGE: 1 << 22,
                Key.MOD_RANGE: 1 << 32,
                Key.MAX_WEIGHT: 1000.0,
            }
        )
        found = (clock if node == 0 else Clock())(their("_setup"), state, said)
        keys[str(node)] = [found[Key.PUBLIC_KEY_1], found[Key.PUBLIC_KEY_2]]
    up += sum(map(len, keys["0"]))
    down += sum(len(one) for pair in keys.values() for one in pair)
    dealt = []
    for node, state in enumerate(states):
        do = clock if node == 0 else Clock()
        dealt.append(do(their("_share_keys"), state, ConfigRecord(keys)))
    up += sum(map(len, dealt[0][Key.CIPHERTEXT_LIST]))
    mine = [one[Key.CIPHERTEXT_LIST][0] for one in dealt[1:]]
    down += sum(map(len, mine))
    asked = ConfigRecord(
        {Key.CIPHERTEXT_LIST: mine, Key.SOURCE_LIST: list(range(1, count))}
    )
    vector = ndarrays_to_parameters([given[0].astype(np.float64)])
    sent = clock(their("_collect_masked_vectors"), states[0], asked, 100, vector)
    up += sum(map(len, sent[Key.MASKED_PARAMETERS]))
    ended = ConfigRecord(
        {Key.ACTIVE_NODE_ID_LIST: list(range(count)), Key.DEAD_NODE_ID_LIST: []}
    )
    told = clock(their("_unmask"), states[0], ended)
    up += sum(map(len, told[Key.SHARE_LIST]))
    return "Flower's SecAgg+ (mean)", clock.cpu, up, down


def best(call: Callable[..., Row], *given: Any) -> Row:
    """The least CPU of three."""
    return min((call(*given) for _ in range(3)), key=lambda row: row[1])


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--elements", type=int, default=1_000_000)
    asked.add_argument("--clients", type=int, default=10)
    told = asked.parse_args()
    given = vectors(told.clients, told.elements)
    ours("warm", "ties(0.2)", 64, 8.0, [one[:64] for one in given])
    threshold = (told.clients + 1) // 2 + 1
    rows = [
        best(ours, "mean, 64-bit lanes", "fedavg", 64, 8.0, given),
        best(ours, "mean, 32-bit lanes", "fedavg", 32, 0.125, given),
        best(ours, "TIES, 64-bit lanes, counts first", "ties(1.0)", 64, 8.0, given),
        best(ours, "TIES, 32-bit lanes, counts first", "ties(1.0)", 32, 0.125, given),
        best(flowers, given, threshold),
    ]
    print(f"{told.elements} elements, {told.clients} clients, one client's part\n")
    print("| | CPU s | MB up | bytes an element up | MB down |")
    print("|---|--:|--:|--:|--:|")
    for what, cpu, up, down in rows:
        each = f"{up / told.elements:.2f}"
        print(f"| {what} | {cpu:.2f} | {up / 1e6:.2f} | {each} | {down / 1e6:.3f} |")


if __name__ == "__main__":
    main()
