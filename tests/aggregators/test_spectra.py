"""Spectral merges against their papers' algorithms."""

from dataclasses import replace

import numpy as np
import pytest

from fedelta.aggregators.recipes import properties, recipe
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.vectors import Pair, TaskVector

from . import oracles
from .cases import KEY, Reals, Tolerance, drawn, floats, merged, reals

near: Tolerance = {"rtol": 1e-4, "atol": 1e-5}


def white(matrix: Reals) -> Reals:
    """U (U^T U)^(-1/2): the other way to a polar factor."""
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    return reals(matrix @ vectors @ np.diag(values**-0.5) @ vectors.T)


def test_tsv() -> None:
    """Gargiulo et al. 2025, algorithm 1."""
    vectors = drawn(3, 12, 9)
    lefts, rights = [], []
    middles: list[float] = []
    for one in vectors:
        u, s, vt = np.linalg.svd(one, full_matrices=False)
        lefts.append(u[:, :3])
        middles.extend(s[:3])
        rights.append(vt[:3].T)
    left, right = white(np.hstack(lefts)), white(np.hstack(rights))
    wanted = left @ np.diag(middles) @ right.T
    np.testing.assert_allclose(merged("tsv", vectors), wanted, **near)


def test_iso_c() -> None:
    """Marczak et al. 2025, algorithm 1."""
    vectors = drawn(4, 10, 7)
    total = np.sum(vectors, axis=0)
    sizes = np.linalg.svd(total, compute_uv=False)
    wanted = 0.5 * sizes.mean() * white(total)
    np.testing.assert_allclose(merged("iso_c(gain=0.5)", vectors), wanted, **near)


def test_iso_cts() -> None:
    """Marczak et al. 2025, algorithm 2: r = 10, 4 common, 2 of each of 3."""
    vectors = drawn(3, 14, 10)
    u, s, vt = np.linalg.svd(np.sum(vectors, axis=0), full_matrices=False)
    lefts, sizes, rights = [u[:, :4]], list(s[:4]), [vt[:4].T]
    for one in vectors:
        a, b, c = np.linalg.svd(one - u[:, :4] @ u[:, :4].T @ one, full_matrices=False)
        lefts.append(a[:, :2])
        sizes.extend(b[:2])
        rights.append(c[:2].T)
    wanted = np.mean(sizes) * white(np.hstack(lefts)) @ white(np.hstack(rights)).T
    np.testing.assert_allclose(merged("iso_cts(0.4)", vectors), wanted, **near)


def test_star() -> None:
    """Lee et al. 2025, section 3."""
    vectors, shares, kept = drawn(3, 8, 6), [1, 2, 1], []
    for one in vectors:
        u, s, vt = np.linalg.svd(one, full_matrices=False)
        rank = next(r for r in range(1, 7) if s[:r].sum() >= 0.6 * s.sum())
        low = sum(s[i] * np.outer(u[:, i], vt[i]) for i in range(rank))
        kept.append(s.sum() / s[:rank].sum() * low)
    made = merged("star(0.6)", vectors, shares)
    np.testing.assert_allclose(made, oracles.fedavg(kept, shares), **near)


def test_knots() -> None:
    """Stoica et al. 2025, section 4, with TIES on the right halves."""
    vectors = drawn(3, 8, 6)
    u, s, vt = np.linalg.svd(np.hstack(vectors), full_matrices=False)
    halves = [vt[:, 6 * k : 6 * k + 6] for k in range(3)]
    wanted = u @ np.diag(s) @ oracles.ties(halves, [1, 1, 1], 0.4)
    np.testing.assert_allclose(merged("knots(0.4)", vectors), wanted, **near)


@pytest.mark.parametrize("text", ["tsv(1.0)", "star(1.0)", "knots(1.0)"])
def test_of_one_member_all_is_kept(text: str) -> None:
    vectors = drawn(1, 8, 6)
    np.testing.assert_allclose(merged(text, vectors), vectors[0], **near)


@pytest.mark.parametrize("text", ["tsv", "iso_c", "iso_cts", "star", "knots"])
def test_vectors_are_averaged_and_nothing_stays_nothing(text: str) -> None:
    made = merged(text, [[1.0, 2.0], [3.0, 0.0]], [1, 3])
    assert made == pytest.approx([2.5, 0.5])
    assert not merged(text, [np.zeros((3, 4))] * 2).any()
    assert merged(text, [np.zeros((0, 4))] * 2).shape == (0, 4)
    assert merged(text, drawn(2, 4, 3, 2)).shape == (4, 3, 2)


@pytest.mark.parametrize("text", ["tsv(1.5)", "iso_cts(1.0)", "star(0)", "knots(0)"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        recipe(text)


SPECTRAL = ["tsv", "tsv(gain=0.5)", "iso_c", "iso_cts(0.5)", "knots", "knots(1.0)"]


def low_rank(*, turn: bool = False) -> tuple[list[Arrival], list[Reals]]:
    """Three clients' pairs of ranks 2, 3 and 1, and what they change, dense."""
    arrivals, whole = [], []
    for place, rank in enumerate((2, 3, 1)):
        b, a = (
            drawn(1, *shape, what=f"low {place}")[0]
            for shape in ((14, rank), (rank, 11))
        )
        whole.append(0.5 * b @ a)
        if turn:  # another gauge of the same product
            gauge = np.linalg.qr(drawn(1, rank, rank, what="gauge")[0])[0] * 3
            b, a = b @ gauge, np.linalg.solve(gauge, a)
        values = {"w.b": floats(b), "w.a": floats(a), "norm": floats(drawn(1, 4)[0])}
        pair = Pair("w.weight", "w.a", "w.b", 0.5)
        arrivals.append(Arrival(f"m{place}", TaskVector.of(values), pairs=(pair,)))
    return arrivals, whole


@pytest.mark.parametrize("text", SPECTRAL)
def test_low_rank_changes_are_merged_in_their_core(text: str) -> None:
    wanted = merged(text, low_rank()[1])
    size = float(np.abs(wanted).max())
    for turn in (False, True):
        arrivals, _ = low_rank(turn=turn)
        made = merge_round(recipe(text), "product", arrivals, key=KEY, rank_down=11)
        found = made.update["w.lora_B.weight"] @ made.update["w.lora_A.weight"]
        np.testing.assert_allclose(found, wanted, atol=2e-5 * size)
        assert made.report["truncation"] < 1e-5
    back = merge_round(recipe(text), "residual", low_rank()[0], key=KEY)
    np.testing.assert_allclose(back.update["w.weight"], wanted, atol=2e-5 * size)


@pytest.mark.parametrize("text", SPECTRAL)
def test_regions_reach_the_same_core(text: str) -> None:
    arrivals = [
        replace(one, region=f"r{place % 2}") for place, one in enumerate(low_rank()[0])
    ]
    flat, tree = (
        merge_round(recipe(text), "product", arrivals, key=KEY, regions=regions).update
        for regions in (False, True)
    )
    assert flat.keys() == tree.keys()
    assert all(flat[name].tobytes() == tree[name].tobytes() for name in flat)


def test_a_client_that_leaves_a_weight_alone_counts() -> None:
    arrivals, whole = low_rank()
    bare = TaskVector.of({"norm": floats(drawn(1, 4)[0])})
    arrivals.append(Arrival("m9", bare))
    made = merge_round(recipe("tsv"), "product", arrivals, key=KEY, rank_down=11)
    found = made.update["w.lora_B.weight"] @ made.update["w.lora_A.weight"]
    wanted = merged("tsv", [*whole, np.zeros((14, 11))])
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_what_a_transform_changes_is_no_product_any_more() -> None:
    assert properties(recipe("tsv"), "product").linear
    assert not properties(recipe("trim(0.5) | tsv"), "product").linear
    arrivals, whole = low_rank()
    trimmed = "trim(0.5) | tsv"
    made = merge_round(recipe(trimmed), "product", arrivals, key=KEY, rank_down=11)
    found = made.update["w.lora_B.weight"] @ made.update["w.lora_A.weight"]
    np.testing.assert_allclose(found, merged(trimmed, whole), atol=1e-4)
