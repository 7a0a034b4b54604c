"""Budgets: what is sent fits, carries the most energy, and says so."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.protocols import seeds
from fedelta.protocols.budgets import budget, downlink, fitted, size, uplink, usual
from fedelta.protocols.energies import curve
from fedelta.protocols.errors import BoundsError, ConfigError
from fedelta.protocols.settings import Config, Train, Wire
from fedelta.protocols.sources import Client
from fedelta.protocols.vectors import Layout, TaskVector

from .samples import accepted, header, payload, vectors

SHAPES = {"a": (64, 300), "b": (300, 64), "head": (21, 384)}


def delta(kind: str) -> TaskVector:
    """Changes as Adam and SGD leave them: all alike, or few and large."""
    tensors = {}
    for name, shape in SHAPES.items():
        count = int(np.prod(shape))
        normal = seeds.normal(seeds.key(kind, name), 0, count)
        size_ = seeds.uniform(seeds.key(kind, name, "size"), 0, count)
        spread = 0.5 + 0.5 * size_ if kind == "adam" else size_ ** (-0.6)
        tensors[name] = (np.sign(normal) * spread * 1e-3).astype(np.float32)
        tensors[name] = tensors[name].reshape(shape)
    return TaskVector.of(tensors)


def energy(given_: TaskVector, data: bytes) -> float:
    found = accepted(data, given_.layout).tensors()
    missed = sum(float(((given_.tensors[n] - t) ** 2).sum()) for n, t in found.items())
    return 1 - missed / sum(float((t**2).sum()) for t in given_.tensors.values())


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("most", [1500, 4000, 9000, 30_000, 150_000])
def test_it_fits_and_carries_what_it_says(kind: str, most: int) -> None:
    given_ = delta(kind)
    found = fitted(given_, header(given_.layout), most)
    assert len(found.data) <= most
    assert len(found.data) > 0.85 * most or found.energy > 0.99
    assert energy(given_, found.data) == pytest.approx(found.energy, abs=0.05)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize(
    "text", ["sign256", "sparse(0.05)", "sparse(0.01)", "int4", "fp8", "masked(0.1)"]
)
def test_no_single_format_carries_more(kind: str, text: str) -> None:
    given_ = delta(kind)
    data = payload(given_, text)
    found = fitted(given_, header(given_.layout), len(data))
    assert energy(given_, found.data) >= energy(given_, data) - 0.01


def test_it_depends_on_the_optimiser() -> None:
    most = len(payload(delta("adam"), "sign256"))
    adam, sgd = (
        accepted(fitted(one, header(one.layout), most).data, one.layout).formats()
        for one in (delta("adam"), delta("sgd"))
    )
    assert adam == {"sign256": 3}
    assert any(name.endswith("gaps") for name in sgd)


def test_energy_goes_where_it_is() -> None:
    """A tensor with next to nothing in it takes what is left over at most."""
    tensors = dict(delta("adam").tensors)
    tensors["b"] = tensors["b"] * np.float32(1e-4)
    given_ = TaskVector.of(tensors)
    found = accepted(fitted(given_, header(given_.layout), 3000).data, given_.layout)
    kept = {name: np.count_nonzero(t) for name, t in found.tensors().items()}
    assert kept["b"] < 1000
    assert kept["a"] > 3000


def test_too_small_a_budget_is_refused() -> None:
    given_ = delta("adam")
    with pytest.raises(BoundsError, match=r"at least \d+ bytes, not 100"):
        fitted(given_, header(given_.layout), 100)


@settings(max_examples=25, deadline=None)
@given(vectors(), st.integers(900, 60_000))
def test_whatever_there_is_to_send(given_: TaskVector, most: int) -> None:
    try:
        found = fitted(given_, header(given_.layout), most)
    except BoundsError:
        return
    assert len(found.data) <= most
    accepted(found.data, given_.layout)


def test_curves_bend_one_way() -> None:
    for kind in ("adam", "sgd"):
        offers = curve(delta(kind).tensors["a"].reshape(-1))
        slopes = [
            (high.energy - low.energy) / (high.bits - low.bits)
            for low, high in pairwise(offers)
        ]
        assert len(offers) > 4
        assert all(a >= b * (1 - 1e-5) for a, b in pairwise(slopes))


def test_settings() -> None:
    plain = Config()
    assert budget(plain, "a") == 0
    assert uplink(plain, "a") == "sign256"
    tight = Config(
        wire=Wire(up="fp16", up_bytes="2MB"), clients=(Client("a", up_bytes="30 kB"),)
    )
    assert (budget(tight, "a"), budget(tight, "b")) == (30_000, 2_000_000)
    assert uplink(tight, "b") == "auto"
    alone = Config(clients=(Client("a", up_bytes=9000), Client("b")))
    assert (uplink(alone, "a"), uplink(alone, "b")) == ("auto", "sign256")
    for wrong in ("2 parsecs", "-3", "MB", "1e3"):
        with pytest.raises(ConfigError, match="number of bytes"):
            size(wrong)
    assert usual(Layout.of(SHAPES)) > len(payload(delta("adam"), "sign256"))


def test_whole_weights_in_one_bit_have_a_mask_of_what_moved() -> None:
    whole = Config(train=Train(mode="full"), wire=Wire("sign256", "sign256"))
    assert uplink(whole, "a") == downlink(whole) == "moved(values='sign256')"
    assert downlink(replace(whole, wire=Wire("fp8", "fp8"))) == "fp8"
    assert downlink(Config(wire=Wire("sign256", "sign256"))) == "sign256"
