"""Masked rounds in memory: real keys, real shares, and clients that go when told to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedelta.aggregators import agreements
from fedelta.aggregators.agreements import Where
from fedelta.aggregators.fields import State, enough
from fedelta.client.maskers import Masker
from fedelta.protocols.keystreams import hkdf, info
from fedelta.protocols.lanes import Lanes, Words
from fedelta.protocols.protections import Privacy
from fedelta.protocols.settings import Config, Lora, Merge
from fedelta.protocols.terms import Terms
from fedelta.protocols.vectors import Block, Floats
from fedelta.server.unmaskings import Unmasking

PHASES = ("advert", "shares", "input", "unmask", "values", "unmask values")


def terms(recipe: str, shares: Mapping[str, int], **privacy: Any) -> Terms:
    """A round's terms, as both sides draw them from a configuration."""
    config = Config(
        merge=Merge(recipe),
        lora=Lora(space="frozen-a"),
        privacy=Privacy(secure_aggregation=True, **privacy),
    )
    where = Where("00" * 8, 1, "b" * 64, "c" * 64)
    return agreements.drawn(config, where, shares, "aa" * 16, "")


def stream(seed: str) -> Any:
    """Bytes that a test can draw again."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hkdf(seed.encode(), b"", info("test", count), size)

    return draw


@dataclass
class Cohort:
    """Clients and their server."""

    terms: Terms
    gone: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = {
            name: Ed25519PrivateKey.from_private_bytes(stream(name)(32))
            for name in self.terms.names
        }
        self.pins = {
            name: key.public_key().public_bytes_raw().hex()
            for name, key in self.keys.items()
        }
        self.clients: dict[str, Masker] = {}
        self.server = Unmasking(self.terms, self.pins)
        self.left: set[str] = set()
        self.counted: list[str] = []

    def there(self, phase: str, names: Sequence[str]) -> list[str]:
        """Who is still there in a phase."""
        self.left |= set(self.gone.get(phase, ()))
        return [name for name in names if name not in self.left]

    def begin(self) -> None:
        """Adverts and shares, up to what each client holds."""
        adverts = []
        for name in self.there("advert", self.terms.names):
            begun = Masker.begin(self.terms, name, self.keys[name], stream(name))
            self.clients[name] = begun[0]
            adverts.append(begun[1])
        self.server.introduce(adverts)
        for name in self.there("shares", sorted(self.clients)):
            dealt = self.clients[name].deal(adverts, self.pins)
            self.server.deal(name, dealt.sealed, dealt.commitments)
        for name in self.there("input", self.server.dealers()):
            self.hold(name)

    def hold(self, name: str) -> None:
        """Hand a client what the others dealt, its state going over the disk."""
        others = [one for one in self.server.dealers() if one != name]
        one = Masker.from_json(self.clients[name].to_json())
        one.hold(
            {k: self.server.sealed[k][name] for k in others},
            {k: self.server.commitments[k][name] for k in others},
        )
        self.clients[name] = one

    def sum(self, number: int, words: Mapping[str, Words]) -> Words:
        """Mask, add and open."""
        senders, opener = ("input", "unmask") if not number else PHASES[4:]
        among = self.server.dealers() if not number else tuple(self.counted)
        size = next(iter(words.values())).size
        opening = self.server.opening(number, among, size)
        for name in self.there(senders, among):
            masked = self.clients[name].mask(number, words[name])
            assert not np.array_equal(masked, words[name])
            self.server.add(opening, name, masked.tobytes())
        self.counted = list(self.server.survivors(opening))
        revealed = {
            name: self.clients[name].reveal(number, self.counted)
            for name in self.there(opener, self.counted)
        }
        bare, wrong = self.server.open(opening, revealed)
        assert not wrong
        return bare

    def merged(self, values: Mapping[str, Floats]) -> Floats:
        """[n] the merge that comes of everybody's values."""
        state, size = State.of(self.terms), next(iter(values.values())).size
        self.begin()
        there: Any = np.ones(size, np.bool_)
        opened: Any = np.ones((len(state.counts.fields), size), np.bool_)
        if self.terms.passes > 1:
            standing = {n: state.standing(v) for n, v in values.items()}
            members = self._read(0, state.counts, standing, size)
            opened = enough(members, self.terms)
            there = opened.any(axis=0)
        numbers = {
            name: state.closed(
                state.written(v[there], self.terms.share(name)), opened[:, there]
            )
            for name, v in values.items()
        }
        k = self.terms.passes - 1
        found = self._read(k, state.values, numbers, int(there.sum()))
        total = self.terms.held(self.counted)
        out = np.zeros(size, np.float32)
        out[there] = state.finish(state.read(found, total), total)
        return out

    def _read(self, number: int, lanes: Lanes, given: Any, size: int) -> Any:
        words = {
            name: lanes.pack(one, self.terms.share(name)) for name, one in given.items()
        }
        bare = self.sum(number, words)
        total = self.terms.held(self.counted)
        return lanes.unpack(bare, size, total, len(self.counted))


def plain(
    given: Terms,
    values: Mapping[str, Floats],
    survivors: Sequence[str],
    counted: Sequence[str],
) -> Floats:
    """The quantised plain merge over the survivors, without lanes or masks.

    Where two passes are made, what fewer than enough of the counted stand behind is
    set to zero first, side by side.
    """
    state = State.of(given)
    size = next(iter(values.values())).size
    keep = {1.0: np.ones(size, np.bool_), -1.0: np.ones(size, np.bool_)}
    if given.passes > 1:
        least = given.release + given.slack
        sides = len(state.counts.fields) > 1
        for sign in keep:
            behind = [
                v * sign > 0 if sides else v != 0
                for v in (values[name] for name in counted)
            ]
            keep[sign] = np.sum(behind, axis=0) >= least
    planes = state.reducer.zero(1 << 20, size)
    scale = 2.0 ** (given.fraction - given.exponent)
    for name in survivors:
        v = values[name]
        v = np.where((v > 0) & keep[1.0] | (v < 0) & keep[-1.0], v, np.float32(0))
        state.reducer.fold(planes, Block(size, None, v), given.share(name), scale)
    out = np.empty(size, np.float32)
    unit = state.recipe.gain / scale
    state.reducer.finish(planes, given.held(survivors), unit, out)
    return out


def again(given: Terms, **changes: Any) -> Terms:
    """Terms that differ."""
    return replace(given, **changes)
