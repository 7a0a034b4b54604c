"""Metrics of several owners are those of one owner of all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.protocols.errors import PayloadError
from fedelta.protocols.metrics import Histogram, Mean, merge

VALUES = st.floats(-1e6, 1e6)
MEANS = st.builds(Mean.of, VALUES, st.integers(0, 1000))


@given(MEANS, MEANS, MEANS)
def test_means_add(a: Mean, b: Mean, c: Mean) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert Mean().merge(a) == a


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_mean_of_parts(values: list[float]) -> None:
    whole = Mean()
    for value in values:
        whole = whole.merge(Mean.of(value))
    assert whole.read() == pytest.approx(math.fsum(values) / len(values), abs=1e-9)


@given(st.lists(st.floats(-2, 5), max_size=20), st.integers(0, 20))
def test_histograms_add(values: list[float], cut: int) -> None:
    edges = (0.0, 1.0, 2.5, 3.0)
    whole = Histogram.of(edges, values)
    parts = Histogram.of(edges, values[:cut]), Histogram.of(edges, values[cut:])
    assert parts[0].merge(parts[1]) == parts[1].merge(parts[0]) == whole
    assert Histogram.of(edges).merge(whole) == whole
    assert sum(whole.counts) == len(values)
    assert sum(whole.read()) == pytest.approx(1 if values else 0)


def test_bins() -> None:
    edges = [0, 1, 2]
    counted = Histogram.of(edges, [-1, 0, 0.99, 1, 2, 9])
    assert counted.counts == (3, 3)


def test_merge() -> None:
    replies = [{"loss": 2.0, "examples": 1}, {"loss": 1.0, "f1": 0.5, "examples": 3}]
    assert merge(replies) == {"f1": 0.5, "loss": 1.25, "examples": 4.0}
    assert merge(reversed(replies)) == merge(replies)
    assert merge([]) == {"examples": 0.0}


def test_refused() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(PayloadError):
            Mean.of(bad)
    with pytest.raises(PayloadError):
        Mean.of(1.0, -1)
    for count in (-1.0, 0.5):
        with pytest.raises(PayloadError, match="no whole number"):
            merge([{"loss": 1.0, "examples": count}])
    with pytest.raises(PayloadError, match="no whole number"):
        merge([{"loss": 1.0}])
    with pytest.raises(PayloadError, match="other edges"):
        Histogram.of([0, 1]).merge(Histogram.of([0, 2]))
    for edges in ([0], [1, 1], [2, 1], [0, math.nan]):
        with pytest.raises(PayloadError, match="increasing"):
            Histogram.of(edges)
