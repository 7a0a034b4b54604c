"""Sending: feedback is committed, rolled back, and belongs to one run and layout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.client import sending, stores
from fedelta.protocols import digests, seeds
from fedelta.protocols.codec import Context, decode
from fedelta.protocols.errors import BoundsError, CheckpointError, StaleRoundError
from fedelta.protocols.payloads import Payload
from fedelta.protocols.plans import RoundPlan
from fedelta.protocols.settings import Config, Lora
from fedelta.protocols.vectors import Floats, Layout

SHAPES = {"a": (4, 300), "b": (700,)}
LAYOUT = Layout.of(SHAPES)
BASE = "b" * 64


def plan(number: int, accepted: int = 0, **more: object) -> RoundPlan:
    """A plan for client "c" that asks for signs with feedback."""
    plain = RoundPlan(
        run="00ff" * 4,
        round=number,
        client="c",
        base=BASE,
        layout=LAYOUT.fingerprint,
        version=0,
        updates=(),
        recipe="fedavg()",
        space="product",
        wire="sign256",
        feedback=True,
        before="server",
        accepted=accepted,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def change(number: int) -> dict[str, Floats]:
    """Some change."""
    return {
        name: seeds.normal(seeds.key(name, number), 0, int(np.prod(shape)))
        .astype(np.float32)
        .reshape(shape)
        for name, shape in SHAPES.items()
    }


def send(folder: Path, asked: RoundPlan, number: int | None = None) -> bytes:
    """One round's reply."""
    what = change(asked.round if number is None else number)
    return sending.reply(what, asked, Config(), folder, BASE, 7).data


def read(data: bytes, number: int, wire: str = "sign256") -> dict[str, Floats]:
    """What the server reads."""
    found = decode(data, Context(LAYOUT, "00ff" * 4, number, BASE, wire, "c"))
    assert isinstance(found, Payload), found
    assert found.header.weight == 7
    return dict(found.tensors())


def test_what_was_taken_away_comes_later(tmp_path: Path) -> None:
    owed = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    total = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    for number in range(1, 9):
        sent = read(send(tmp_path, plan(number, number - 1), 1), number)
        for name in SHAPES:
            owed[name] += change(1)[name] - sent[name]
            total[name] += sent[name]
    residual = stores.Feedback(tmp_path, plan(9), BASE).committed(8)
    once = read(send(tmp_path / "plain", plan(1, feedback=False), 1), 1)
    for name in SHAPES:
        np.testing.assert_allclose(residual[name], owed[name], atol=1e-4)
        mean, wanted = total[name] / 8, change(1)[name]
        assert np.linalg.norm(mean - wanted) < 0.5 * np.linalg.norm(once[name] - wanted)


def test_an_accepted_reply_commits_and_others_roll_back(tmp_path: Path) -> None:
    send(tmp_path, plan(1))
    second = send(tmp_path, plan(2, accepted=1))
    refused = send(tmp_path, plan(3, accepted=1))
    again = send(tmp_path, plan(3, accepted=1))
    assert refused == again
    late = stores.Feedback(tmp_path, plan(3), BASE).committed(1)
    assert digests.of_tensors(late) == digests.of_tensors(
        {name: change(1)[name] - read(send(tmp_path / "x", plan(1)), 1)[name]
         for name in SHAPES}
    )  # fmt: skip
    committed = send(tmp_path, plan(3, accepted=2))
    assert committed != again
    assert send(tmp_path / "new", plan(2)) != second


def test_a_repeated_round_sends_the_same_bytes(tmp_path: Path) -> None:
    send(tmp_path, plan(1))
    assert send(tmp_path, plan(2, 1)) == send(tmp_path, plan(2, 1))


def test_old_residuals_are_dropped(tmp_path: Path) -> None:
    for number in range(1, 5):
        send(tmp_path, plan(number, number - 1))
    names = sorted(path.name for path in tmp_path.rglob("*.safetensors"))
    assert names == ["0003.safetensors", "0004.safetensors"]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("asked", "base"),
    [
        (plan(2, 1, run="11ee" * 4), BASE),
        (plan(2, 1, layout="d" * 64), BASE),
        (plan(2, 1, client="d"), BASE),
        (plan(2, 1), "e" * 64),
    ],
)
def test_a_residual_of_another_run_is_not_used(
    tmp_path: Path, asked: RoundPlan, base: str
) -> None:
    send(tmp_path, plan(1))
    assert stores.Feedback(tmp_path, plan(2), BASE).committed(1)
    assert stores.Feedback(tmp_path, asked, base).committed(1) == {}


def test_a_lost_residual_is_nothing_and_a_damaged_one_an_error(tmp_path: Path) -> None:
    store = stores.Feedback(tmp_path, plan(2), BASE)
    assert store.committed(1) == {}
    send(tmp_path, plan(1))
    path = next(tmp_path.rglob("0001.safetensors"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="damaged"):
        store.committed(1)


def test_no_feedback_where_it_would_not_hold(tmp_path: Path) -> None:
    anew = replace(Config(), lora=Lora(init="round"))
    assert not sending.feeds_back(plan(1), anew)
    assert not sending.feeds_back(plan(1, wire="dare(density=0.1)"), Config())
    assert not sending.feeds_back(plan(1, feedback=False), Config())
    assert sending.feeds_back(plan(1, wire="sparse(density=0.05)"), Config())
    send(tmp_path, plan(1, feedback=False))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("wire", ["fp16", "fp32", "sparse(density=0.05)", "dare()"])
def test_other_formats_travel(tmp_path: Path, wire: str) -> None:
    sent = read(send(tmp_path, plan(1, wire=wire)), 1, wire)
    kept = [sent[name] != 0 for name in SHAPES]
    if wire.startswith("fp"):
        for name in SHAPES:
            np.testing.assert_allclose(
                sent[name], change(1)[name], rtol=2e-3, atol=1e-3
            )
    else:
        assert 0.03 < np.concatenate([one.ravel() for one in kept]).mean() < 0.15


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_never_leaves(tmp_path: Path, bad: float) -> None:
    broken = change(1)
    broken["b"][3] = bad
    with pytest.raises(BoundsError, match="b: training left values"):
        sending.reply(broken, plan(1), Config(), tmp_path, BASE, 7)
    assert not list(tmp_path.rglob("*"))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_the_residual_follows_the_accepted_replies_alone(verdicts: list[bool]) -> None:
    """Refused rounds leave no trace: as if the client had not been asked."""
    import tempfile

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        accepted = 0
        for number, verdict in enumerate(verdicts, 1):
            send(Path(one), plan(number, accepted))
            if verdict:
                send(Path(two), plan(number, accepted))
                accepted = number
        last = len(verdicts) + 1
        said = [send(Path(folder), plan(last, accepted)) for folder in (one, two)]
        assert said[0] == said[1]


def test_updates_are_kept_in_a_chain(tmp_path: Path) -> None:
    data = [b"one", b"two", b"three"]
    names = [digests.of_bytes(one) for one in data]
    store = stores.Updates(tmp_path)
    first = plan(3, version=2, updates=tuple(names[:2]))
    assert store.receive(first, data[:2]) == names[:2]
    after = plan(4, version=3, updates=(names[2],))
    assert stores.Updates(tmp_path).receive(after, data[2:]) == names
    assert store.read(2) == b"two"
    with pytest.raises(StaleRoundError, match="updates 1 to 2 are missing"):
        stores.Updates(tmp_path / "new").receive(after, data[2:])
    with pytest.raises(StaleRoundError, match="not those"):
        store.receive(after, [b"other"])
