"""Diagnostics: each table against its definition, on elements that are all there."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from fedelta.aggregators import conflicts, redundancies, subspaces
from fedelta.aggregators.compare import compare
from fedelta.aggregators.spaces import Arrival
from fedelta.aggregators.tallies import Stack
from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, decode, encode
from fedelta.protocols.refusals import Refusal
from fedelta.protocols.vectors import Floats, Pair, TaskVector

SIZE = 70_000  # more than a span


def drawn(name: str, count: int, tail: float = 3.0) -> Floats:
    """Heavy-tailed numbers."""
    return (seeds.normal(seeds.key("compare", name), 0, count) ** tail).astype("f4")


def arrival(name: str, tensors: Mapping[str, Floats]) -> Arrival:
    return Arrival(name, TaskVector.of(tensors))


def test_tables_are_what_they_are_said_to_be() -> None:
    one, other = drawn("a", SIZE), drawn("b", SIZE)
    one[::7] = 0
    found = compare([arrival("b", {"w": other}), arrival("a", {"w": one})], 0.1)
    assert found["clients"] == ["a", "b"]
    wide, far = one.astype("f8"), other.astype("f8")
    cosine = wide @ far / np.linalg.norm(wide) / np.linalg.norm(far)
    assert found["cosine"][0][1] == pytest.approx(cosine)
    assert found["norms"] == pytest.approx([np.linalg.norm(wide), np.linalg.norm(far)])
    both = (one != 0) & (other != 0)
    opposed = np.sign(one) != np.sign(other)
    assert found["conflict"][0][1] == pytest.approx((opposed & both).sum() / both.sum())
    logs = np.abs(np.log2(np.abs(wide[both])) - np.log2(np.abs(far[both])))
    assert found["disparity"][0][1] == pytest.approx(2 ** logs.mean(), rel=1e-5)
    kept = math.ceil(0.1 * SIZE)
    large = [np.abs(x) >= np.sort(np.abs(x))[-kept] for x in (one, other)]
    agreed = large[0] & large[1]
    wanted = (opposed & agreed).sum() / agreed.sum()
    assert found["conflict_trimmed"][0][1] == pytest.approx(wanted)
    for table in ("cosine", "conflict", "disparity", "conflict_trimmed"):
        assert np.allclose(found[table], np.transpose(found[table]))


def test_energy_is_that_of_the_largest() -> None:
    values = drawn("energy", SIZE)
    squares = np.sort(values.astype("f8") ** 2)[::-1]
    (told,) = redundancies.energies([TaskVector.of({"w": values})])
    for density, energy in zip(redundancies.DENSITIES, told, strict=True):
        wanted = squares[: int(density * SIZE)].sum() / squares.sum()
        assert energy == pytest.approx(wanted, abs=0.01)
    assert redundancies.energies([TaskVector.of({"w": np.zeros(4, "f4")})], [0.5]) == [
        [1.0]
    ]


def test_sparse_blocks_are_read_as_their_dense_selves() -> None:
    vectors = [TaskVector.of({"w": drawn(name, SIZE)}) for name in "ab"]
    payloads = []
    for name, vector in zip("ab", vectors, strict=True):
        print_of = vector.layout.fingerprint
        data = encode(
            vector, "sparse(density=0.05)", Header("00", 1, name, "ff", print_of)
        )
        found = decode(data, Context(vector.layout, "00", 1, "ff"))
        assert not isinstance(found, Refusal)
        payloads.append(found)
    sparse = compare([Arrival(n, p) for n, p in zip("ab", payloads, strict=True)])
    dense = compare(
        [arrival(n, dict(p.tensors())) for n, p in zip("ab", payloads, strict=True)]
    )
    assert sparse == dense
    assert sparse["energy"][0][1] == pytest.approx(1.0)


def test_layers_stand_apart_and_products_are_formed() -> None:
    def low(name: str, gauge: float) -> Arrival:
        b, a = drawn(f"{name}.b", 24).reshape(12, 2), drawn("same", 20).reshape(2, 10)
        pair = Pair("h.0.q.weight", "h.0.q.A", "h.0.q.B", 2.0)
        tensors = {"h.0.q.A": a / np.float32(gauge), "h.0.q.B": b * np.float32(gauge)}
        head = drawn(f"{name}.head", 30)
        whole = {"head": head}
        return Arrival(name, TaskVector.of(tensors | whole), pairs=(pair,))

    found = compare([low("a", 1), low("b", 1)])
    assert list(found["layers"]) == ["layer.0", "head"]
    assert found["overlap_read"][0][1] == pytest.approx(1.0, abs=1e-6)
    assert 0 < found["overlap_written"][0][1] < 1
    again = compare([low("a", 4), low("b", 0.5)])
    for name, values in found["layers"]["layer.0"].items():
        assert again["layers"]["layer.0"][name] == pytest.approx(values, abs=1e-5)


def test_layers_are_told_pair_by_pair_where_asked() -> None:
    def reply(name: str) -> Arrival:
        tensors = {f"h.{at}.w": drawn(f"{name}{at}", 60) for at in range(2)}
        return Arrival(name, TaskVector.of(tensors))

    cohort = [reply(name) for name in "abc"]
    found = compare(cohort, pairs=True)
    assert "pairs" not in compare(cohort)
    assert list(found["pairs"]) == ["layer.0", "layer.1"]
    for at, (name, told) in enumerate(found["pairs"].items()):
        part = [
            Arrival(
                one.name,
                TaskVector.of({"w": one.contribution.tensors[f"h.{at}.w"]}),  # type: ignore[attr-defined]
            )
            for one in cohort
        ]
        alone = compare(part)
        for key in ("cosine", "conflict", "conflict_trimmed", "disparity", "energy"):
            assert np.allclose(told[key], alone[key]), key
        gram = np.outer(alone["norms"], alone["norms"]) * alone["cosine"]
        assert np.allclose(told["gram"], gram)
        both = [told["cosine"][i][j] for i in range(3) for j in range(i)]
        assert np.mean(both) == pytest.approx(found["layers"][name]["cosine"])


def test_overlap_is_of_directions_alone() -> None:
    q, _ = np.linalg.qr(drawn("basis", 400).reshape(20, 20))
    left, right = q[:, :3].astype("f4"), q[:, 2:6].astype("f4")
    a = np.eye(5, 7, dtype="f4")
    held = [{"w": Stack(left, a[:3], 1.0)}, {"w": Stack(3 * right, a[:4], 0.1)}, {}]
    written, read = subspaces.overlaps(held)["w"]
    assert written[0, 1] == pytest.approx(1 / 3, abs=1e-5)
    assert read[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert written[0, 2] == 0


def test_large_updates_are_sampled_for_what_is_dear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort = [arrival(name, {"w": drawn(name, 6 << 16, 1.0)}) for name in "ab"]
    whole = compare(cohort)
    monkeypatch.setattr(conflicts, "SAMPLED", 4 << 16)
    part = compare(cohort)
    assert part["conflict"] == whole["conflict"]
    assert part["disparity"] != whole["disparity"]
    assert part["disparity"][0][1] == pytest.approx(whole["disparity"][0][1], rel=0.05)
