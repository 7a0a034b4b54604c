"""Which token stood where? Texts, out of what training changed of every weight.

Two ways. *Span*: one step of SGD changes the first layer's query, key and value
matrices by a sum of outer products with what went into the layer. So the input of each
token of the batch lies in the span of their rows, and hardly any other token at any
place does: all are tried (Petrov et al., `DAGER <https://arxiv.org/abs/2405.15586>`_,
2024). A layer of rotary positions is not told the place: there the tokens found are put
behind one another, and the second layer's span tells which beginnings stood there,
since a causal model's states depend on nothing that comes later. *Rows*: where places
have embeddings, a token that stands at one place gets the same gradient as the place,
so their rows change alike, whatever the optimiser makes of it.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedelta.benchmarks.adversaries import Change
from fedelta.protocols.vectors import Floats

NEAR, WORSE, ALIKE = 0.02, 10.0, 0.7
"""Farther from the span, as a share of its length, or than so many times the nearest
behind the same beginnings, is no input; what cosine makes rows alike."""
NOISE, EXACT = 5.0, 1e-6
"""What is within so many times the smallest tenth of singular values, or that share of
the largest, is no part of a span."""
BEAMS, FEW = 64, 8
"""Beginnings of texts that are followed up; directions that are looked at first."""
INTO = re.compile(r"layers?\.(\d+)\..*(query|key|value|[qkv]_proj)(\.weight)?$")
TABLES = ("word_embeddings.weight", "position_embeddings.weight")

Pair = tuple[int, int]
"""A token and its place."""


class Reader:
    """Looks for what may have stood in the texts.

    Args:
        base: the model that all started from.
        longest: how many places a text may have.
    """

    def __init__(self, base: Any, longest: int) -> None:
        self.body, self.longest = base.network.body, longest
        self.known = base.network.tokenizer.all_special_ids
        self.every = np.arange(self.body.get_input_embeddings().num_embeddings)
        self.first, self.second = self._doors()
        some = self.every[:64, None]
        apart = self._into(self.first, some, 0) - self._into(self.first, some, 1)
        self.placed = bool(np.abs(apart).max() > EXACT)

    def pairs(self, changes: Sequence[Change]) -> list[set[Pair]]:
        """The tokens with their places that each change's rows span."""
        rests = [rest(one, 0) for one in changes]
        found: list[set[Pair]] = [set() for _ in changes]
        for place in range(self.longest if self.placed else 1):
            states = unit(self._into(self.first, self.every[:, None], place)[:, 0])
            for some, off in zip(found, rests, strict=True):
                some |= {(int(token), place) for token in near(states, off)}
        if not self.placed:
            return [
                self._ordered(np.array([token for token, _ in some]), rest(one, 1))
                for some, one in zip(found, changes, strict=True)
            ]
        return found

    def _ordered(self, tokens: Any, off: Floats) -> set[Pair]:
        """Tokens behind one another, wherever the second layer's span has them."""
        beams, found = np.zeros((1, 0), np.int64), set[Pair]()
        for place in range(self.longest if 0 < len(tokens) <= off.shape[0] else 0):
            tried = np.concatenate(
                [
                    np.repeat(beams, len(tokens), 0),
                    np.tile(tokens, len(beams))[:, None],
                ],
                axis=1,
            )
            distance = far(unit(self._into(self.second, tried)[:, -1]), off)
            best = np.argsort(distance, kind="stable")[:BEAMS]
            close = min(NEAR, WORSE * distance[best[0]])
            beams = tried[best[distance[best] <= close]]
            found |= {(int(token), place) for token in beams[:, -1]}
            if not len(beams):
                break
        return found

    def _doors(self) -> tuple[str, str]:
        """What the first and the second layer's queries are made by."""
        found = [
            name
            for name, _ in self.body.named_modules()
            if (into := INTO.search(name)) and into[2] in ("query", "q_proj")
        ]
        return found[0], found[1]

    def _into(self, door: str, ids: Any, place: int = -1) -> Floats:
        """[rows, tokens, width] what a module is given; all at a place, or in order."""
        import torch

        held: list[Any] = []

        def stop(_: Any, given: Any) -> None:
            held.append(given[0])
            raise _Seen

        more = {"position_ids": torch.full(ids.shape, place)} if place >= 0 else {}
        hook = self.body.get_submodule(door).register_forward_pre_hook(stop)
        try:
            with torch.inference_mode():
                self.body(input_ids=torch.from_numpy(np.ascontiguousarray(ids)), **more)
        except _Seen:
            pass
        finally:
            hook.remove()
        return np.asarray(held[0].float().numpy())


class _Seen(Exception):  # noqa: N818
    """What was asked for has passed."""


def layers(change: Change) -> Change:
    """The first two layers' part."""
    found = {name: INTO.search(name) for name in change}
    return {n: change[n] for n, into in found.items() if into and into[1] in "01"}


def shown(change: Change) -> Change:
    """The part that is looked at: the embeddings and two layers."""
    tables = {n: one for n, one in change.items() if n.endswith(TABLES)}
    return tables | layers(change)


def alike(change: Change, longest: int) -> set[Pair] | None:
    """Tokens and places whose embeddings changed in one direction; none: no such.

    Example:
        >>> words, places = np.eye(3, 4), np.eye(2, 4) + 0.1
        >>> sorted(alike(dict(zip(TABLES, (words, places))), 2) or ())
        [(0, 0), (1, 1)]
    """
    tables = [o for end in TABLES for n, o in sorted(change.items()) if n.endswith(end)]
    if len(tables) != len(TABLES):
        return None
    words, places = unit(tables[0]), unit(tables[1][:longest])
    found = np.argwhere(words @ places.T > ALIKE)
    return {(int(token), int(place)) for token, place in found}


def rest(change: Change, layer: int) -> Floats:
    """[width, n] directions in which no row of a layer's changes goes.

    Example:
        >>> rows = np.array([[3.0, 4.0, 0.0], [6.0, 8.0, 0.0], [0.0, 0.0, 0.0]])
        >>> off = rest({"layer.0.query.weight": rows}, 0)
        >>> far(np.array([[0.6, 0.8, 0.0], [0.8, -0.6, 0.0]]), off).round(6).tolist()
        [0.0, 1.0]
    """
    rows = [
        one
        for name, one in change.items()
        if (i := INTO.search(name)) and int(i[1]) == layer
    ]
    _, values, basis = np.linalg.svd(
        np.concatenate(rows).astype(np.float64), full_matrices=False
    )
    floor = max(NOISE * values[int(0.9 * len(values))], EXACT * values[0])
    return np.asarray(basis[int(np.sum(values > floor)) :].T.astype(np.float32))


def near(states: Floats, off: Floats) -> Any:
    """Places of the rows that lie in a span; few directions already rule most out."""
    places = np.flatnonzero(far(states, off[:, :FEW]) < NEAR)
    return places[far(states[places], off) < NEAR]


def far(states: Floats, off: Floats) -> Floats:
    """[rows] how much of each row of length 1 lies outside a span; of none, all."""
    if not off.shape[1]:
        return np.full(len(states), np.inf)
    return np.asarray(np.nan_to_num(np.linalg.norm(states @ off, axis=1), nan=np.inf))


def unit(states: Floats) -> Floats:
    """Rows at length 1; those of none are no numbers, and far from everything."""
    length = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / np.where(length > 0, length, np.nan))
