"""Fisher merging: the definition, what travels, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedelta.aggregators.base import Member
from fedelta.aggregators.importances import Joined
from fedelta.aggregators.merges import merge, merge_files
from fedelta.aggregators.recipes import properties, recipe
from fedelta.aggregators.reductions import reduce
from fedelta.aggregators.spaces import Arrival, merge_round
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError
from fedelta.protocols.vectors import TaskVector

from .cases import KEY, Reals, drawn, floats, reals


def members(changes: list[Reals], sure: list[Reals], shares: list[int]) -> list[Member]:
    return [
        Member(
            f"m{place}",
            Joined(TaskVector.of({"w": floats(x)}), TaskVector.of({"w": floats(f)})),
            share,
        )
        for place, (x, f, share) in enumerate(zip(changes, sure, shares, strict=True))
    ]


def test_fisher() -> None:
    """Matena and Raffel 2022, equation 2, on task vectors."""
    changes, shares = drawn(4, 6, 5), [1, 2, 3, 1]
    sure = [reals(floats(one**2)) for one in drawn(4, 6, 5, what="sure")]
    sure[0][0] = 0
    made = reduce(recipe("fisher(gain=0.5)"), members(changes, sure, shares), KEY)
    assert made.layout.names == ("w",)
    for i in range(30):
        weights = [
            w * max(float(f.flat[i]), 1e-6) for w, f in zip(shares, sure, strict=True)
        ]
        top = sum(w * x.flat[i] for w, x in zip(weights, changes, strict=True))
        assert made.tensors["w"].flat[i] == pytest.approx(
            0.5 * top / sum(weights), rel=1e-5, abs=1e-7
        )


def test_where_nobody_is_sure_it_is_the_mean() -> None:
    changes, shares = drawn(3, 20), [1, 2, 5]
    cohort = members(changes, [np.zeros(20)] * 3, shares)
    mean = np.average(changes, axis=0, weights=shares)
    made = reduce(recipe("fisher"), cohort, KEY).tensors["w"]
    np.testing.assert_allclose(made, mean, rtol=1e-5, atol=1e-7)


def test_in_a_round_importances_are_tensors_of_the_reply() -> None:
    arrivals = [
        Arrival(f"c{k}", TaskVector.of({"w": floats([x]), "w|fisher": floats([f])}))
        for k, (x, f) in enumerate([(1.0, 3.0), (5.0, 1.0)])
    ]
    for regions in (False, True):
        made = merge_round(
            recipe("fisher"), "full", arrivals, key=KEY, regions=regions
        ).update
        assert made.keys() == {"w"}
        assert made["w"] == pytest.approx([2.0])


def test_a_reply_without_importances_is_refused_by_name() -> None:
    bare = Member("a", TaskVector.of({"w": floats([1])}))
    with pytest.raises(PayloadError, match=r"w\|fisher"):
        reduce(recipe("fisher"), [bare], KEY)
    with pytest.raises(PayloadError, match="do not have"):
        Joined(TaskVector.of({"w": floats([1])}), TaskVector.of({}))


def test_offline_with_given_fishers(tmp_path: Path) -> None:
    base = {"w": floats([1, 1])}
    models = [{"w": floats([2, 0])}, {"w": floats([5, 3])}]
    sure = [{"w": floats([3, 1])}, {"w": floats([1, 1])}]
    made = merge(models, "fisher", base=base, further=sure)
    assert made["w"] == pytest.approx([2.75, 1.5])
    files = []
    for place, one in enumerate([base, *models, *sure]):
        files.append(tmp_path / f"{place}.safetensors")
        save_file(one, files[-1])
    out = tmp_path / "out.safetensors"
    merge_files(files[1:3], files[0], out, "fisher", further=files[3:])
    assert load_file(out)["w"] == pytest.approx([2.75, 1.5])
    with pytest.raises(ConfigError, match="1 Fishers for 2 models"):
        merge(models, "fisher", base=base, further=sure[:1])
    with pytest.raises(PayloadError, match="no Fisher of its shape"):
        merge(models, "fisher", base=base, further=[{}, {}])
    with pytest.raises(PayloadError, match="fisher needs both"):
        merge(models, "fisher", base=base)


def test_a_negative_importance_is_refused_by_name() -> None:
    cohort = members([np.ones(2)], [reals([1, -1])], [1])
    with pytest.raises(BoundsError, match=r"w\|fisher: m0"):
        reduce(recipe("fisher"), cohort, KEY)


def test_products_have_no_importance() -> None:
    with pytest.raises(ConfigError, match="not in product"):
        properties(recipe("fisher"), "product")
    assert properties(recipe("fisher"), "full").maskable
