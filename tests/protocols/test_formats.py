"""Integers, bits, wide gaps, shared masks and mixed payloads: what each promises."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.protocols import positions, seeds
from fedelta.protocols.codec import Choice, decode, encode, repack, wire
from fedelta.protocols.errors import BoundsError, ConfigError, PayloadError
from fedelta.protocols.refusals import Reason, Refusal
from fedelta.protocols.vectors import TaskVector
from fedelta.protocols.wires import VALUES

from .forgeries import Forgery, changed, gap, planes, put, streams, table, verdict
from .samples import SMALL, accepted, context, header, payload, vector, vectors

BITS, WIDE = "sparse(density=0.5, values='fp8')", "sparse(density=0.004, values='fp8')"
LARGE = vector({"w": (70_000,), "v": (66_000,)})


@pytest.mark.parametrize(("text", "top", "group"), [("int8", 127, 256),
                                                    ("int8b64", 127, 64),
                                                    ("int4", 7, 64)])  # fmt: skip
def test_integers_are_the_nearest_of_their_step(
    text: str, top: int, group: int
) -> None:
    exact = LARGE.tensors["w"].astype(np.float64)
    found = accepted(payload(LARGE, text), LARGE.layout).tensors()["w"]
    for first in (0, 5 * group, 65_536 - group, 65_536):
        part = slice(first, min(first + group, 65_536 if first < 65_536 else 70_000))
        step = np.abs(exact[part]).max() / top
        error = np.abs(found[part] - exact[part])
        assert error.max() <= step / 2 * (1 + 2.0**-9)
        assert np.abs(found[part] / step).max() >= top * (1 - 2.0**-9)


@pytest.mark.parametrize("text", ["int8", "int4", "int8b64"])
def test_stochastic_rounding_is_right_on_average(text: str) -> None:
    """Over many rounds the mean error goes to zero, of every element."""
    given_ = vector({"w": (640,)})
    exact = given_.tensors["w"].astype(np.float64)
    asked = f"{text}(rounding='stochastic')"
    assert wire(asked).unbiased
    found, rounds = [], 400
    for number in range(rounds):
        data = encode(given_, asked, header(given_.layout, client=f"c{number}"))
        found.append(accepted(data, given_.layout).tensors()["w"].astype(np.float64))
    step = np.abs(exact).max() / (7 if text == "int4" else 127)
    bias = np.mean(found, axis=0) - exact
    noise = step / 2 / math.sqrt(rounds)
    assert np.abs(bias).max() < 5 * noise
    assert np.abs(bias.mean()) < 5 * noise / math.sqrt(exact.size)
    once = accepted(payload(given_, text), given_.layout).tensors()["w"] - exact
    assert (once**2).sum() < ((found[0] - exact) ** 2).sum()


def test_equal_magnitudes_are_not_clipped() -> None:
    """As after Adam's first step: all alike, and none may shrink."""
    given_ = TaskVector.of({"w": np.full(300, 1e-3, np.float32)})
    for text in ("int8(rounding='stochastic')", "int4(rounding='stochastic')"):
        total = np.zeros(300)
        for number in range(200):
            said = header(given_.layout, client=str(number))
            total += accepted(encode(given_, text, said), given_.layout).tensors()["w"]
        assert total.mean() / 200 == pytest.approx(1e-3, rel=1e-3)


def test_who_is_unbiased() -> None:
    right = [
        "fp32",
        "int4(rounding='stochastic')",
        "dare(0.1, values='fp32')",
        "dare(0.1, values='int8', rounding='stochastic')",
    ]
    wrong = ["fp16", "int4", "sparse(0.1)", "masked(0.1, values='fp32')", "dare(0.1)"]
    assert all(wire(text).unbiased for text in right)
    assert not any(wire(text).unbiased for text in wrong)
    with pytest.raises(ConfigError, match="allowed: 'nearest'"):
        wire("dare(0.1, values='fp8', rounding='stochastic')")
    with pytest.raises(ConfigError, match="rounding is 'up'"):
        wire("int8(rounding='up')")


@pytest.mark.parametrize("density", [0.003, 0.01, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_positions_cost_the_entropy(density: float) -> None:
    """Within 3 % of log2 C(n, k), on independent places."""
    size = 1 << 21
    drawn = seeds.uniform(seeds.key("flat"), 0, size).astype(np.float32)
    given_ = TaskVector.of({"w": drawn.reshape(2048, 1024)})
    found = accepted(payload(given_, f"sparse(density={density})"), given_.layout)
    kept = found.kept
    chunks = found.streams.tables.chunks
    told = 8 * int(chunks[:, found.streams.shape.planes - 2 :].sum())
    rest = math.lgamma(kept + 1) + math.lgamma(size - kept + 1)
    least = (math.lgamma(size + 1) - rest) / math.log(2)
    assert told <= 1.03 * least


def test_each_chunk_takes_its_shortest_code() -> None:
    codes = {}
    for density in (0.003, 0.02, 0.3):
        found = accepted(payload(LARGE, f"sparse(density={density})"), LARGE.layout)
        codes[density] = found.streams.tables.codes.tolist()
    assert codes == {
        0.003: [positions.WIDE],
        0.02: [positions.GAPS],
        0.3: [positions.BITS],
    }


def test_a_mask_of_what_moved_keeps_the_rest_where_it_is() -> None:
    """One bit a value would move all that training left alone."""
    still = seeds.keep(3, 0, 70_000, 0.07)
    given_ = TaskVector.of({"w": LARGE.tensors["w"] * still})
    found = accepted(payload(given_, "moved(values='sign256')"), given_.layout)
    tensor = found.tensors()["w"]
    assert ((tensor != 0) == still).all()
    assert found.kept == still.sum()
    whole = accepted(payload(given_, "sign256"), given_.layout).tensors()["w"]
    wanted = given_.tensors["w"]
    assert ((tensor - wanted) ** 2).sum() < 0.5 * ((whole - wanted) ** 2).sum()


def test_a_shared_mask_is_everybodys() -> None:
    kept = []
    for client in ("ann", "bob"):
        said = header(LARGE.layout, client=client)
        data = encode(LARGE, "masked(density=0.125)", said)
        kept.append(accepted(data, LARGE.layout).tensors()["w"] != 0)
    assert (kept[0] == kept[1]).all()
    assert kept[0].sum() == 70_000 // 8
    values = accepted(payload(LARGE, "masked(density=0.125, values='fp32')"),
                      LARGE.layout).tensors()["w"]  # fmt: skip
    assert (values == np.where(kept[0], LARGE.tensors["w"], 0)).all()


choices = st.builds(
    Choice,
    st.sampled_from(VALUES),
    st.just("gaps"),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
) | st.one_of(
    st.builds(Choice, st.sampled_from(VALUES), st.just("all")),
    st.builds(
        Choice,
        st.sampled_from(VALUES),
        st.just("seeded"),
        st.sampled_from([0.5, 0.125, 2.0**-14]),
    ),
)


@settings(max_examples=60, deadline=None)
@given(vectors(), st.data())
def test_each_tensor_in_a_format_of_its_own(
    given_: TaskVector, data: st.DataObject
) -> None:
    count = len(given_.layout.names)
    each = data.draw(st.lists(choices, min_size=count, max_size=count))
    try:
        if not each:
            return
        sent = encode(given_, "mixed", header(given_.layout), each)
    except BoundsError:
        return
    found = accepted(sent, given_.layout)
    assert streams(repack(found), given_.layout) == streams(sent, given_.layout)
    for name, choice in zip(given_.layout.names, each, strict=True):
        one = TaskVector.of({name: given_.tensors[name]})
        if choice.places == "all":
            alone = accepted(payload(one, choice.values), one.layout)
        elif choice.places == "gaps" and choice.density:
            text = f"sparse({choice.density}, values='{choice.values}')"
            alone = accepted(payload(one, text), one.layout)
        else:
            continue
        assert (alone.tensors()[name] == found.tensors()[name]).all()


def test_a_mixed_payload_needs_its_choices() -> None:
    for text, each in (("mixed", ()), ("auto", ()), ("fp16", [Choice("fp8", "all")])):
        with pytest.raises(PayloadError, match="say how each tensor travels"):
            encode(SMALL, text, header(SMALL.layout), each)
    assert Choice.of(255) is None
    assert Choice.of(7) is None


def mixed(change: object) -> bytes:
    data = encode(SMALL, "mixed", header(SMALL.layout), [Choice("fp8", "all")] * 5)
    forgery = Forgery.of(data)
    change(forgery)  # type: ignore[operator]
    return forgery.data()


def behind(found: list[bytearray]) -> None:
    """Move a bit of the first span past its end."""
    low = found[-1][37] & 15
    found[-1][37] = low & (low - 1) | 0x80


CASES = {
    "code -128": (changed("int8", put(0, 5, 0x80)), Reason.NOT_CANONICAL),
    "nibble -8": (changed("int4", put(0, 5, 0x88)), Reason.NOT_CANONICAL),
    "step NaN": (changed("int8", put(1, 1, 0x7E)), Reason.NON_FINITE),
    "negative step": (changed("int4", put(1, 1, 0x88)), Reason.NOT_CANONICAL),
    "step 0": (
        changed("int8", planes(lambda f: f[1].__setitem__(slice(0, 2), b"\0\0"))),
        Reason.NOT_CANONICAL,
    ),
    "steps too low": (
        changed("int8", planes(lambda f: f[1].__setitem__(slice(0, 4), b"\1\0\1\0"))),
        Reason.NOT_CANONICAL,
    ),
    "zero code in sparse": (
        changed("sparse(0.05, values='int8')", put(0, 3, 0)),
        Reason.NOT_CANONICAL,
    ),
    "more bits than values": (changed(BITS, gap(0, 255)), Reason.LENGTH_MISMATCH),
    "bits behind the last": (
        changed(BITS, planes(behind)),
        Reason.NOT_CANONICAL,
    ),
    "unknown code": (changed(BITS, table("codes", 0, 3)), Reason.WRONG_SCHEMA),
    "another code": (changed(BITS, table("codes", 0, 0)), Reason.LENGTH_MISMATCH),
    "other counts": (
        changed(BITS, lambda f: f.metadata.update(size="909")),
        Reason.WRONG_SCHEMA,
    ),
    "version 1 of bits": (
        changed(BITS, lambda f: f.metadata.update(version="1")),
        Reason.BAD_HEADER,
    ),
    "unknown kind": (mixed(lambda f: f.tensors["kinds"].fill(7)), Reason.WRONG_SCHEMA),
    "another kind": (
        mixed(lambda f: f.tensors["kinds"].fill(6)),
        Reason.INFLATED_SIZE,
    ),
    "count nobody needs": (mixed(table("blocks", (0, 0), 5)), Reason.LENGTH_MISMATCH),
    "places nobody needs": (mixed(table("blocks", (0, 1), 5)), Reason.LENGTH_MISMATCH),
    "named auto": (
        mixed(lambda f: f.metadata.update(wire="auto")),
        Reason.WRONG_SCHEMA,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    data, reason = CASES[name]
    assert verdict(data) == reason, decode(data, context(SMALL.layout))


WIDER: dict[str, tuple[Callable[[list[bytearray]], object], Reason]] = {
    "a bit less": (lambda f: f[-1].pop(), Reason.LENGTH_MISMATCH),
    "none of the bits": (
        lambda f: f[-1].__setitem__(slice(0, len(f[-1])), bytes(len(f[-1]))),
        Reason.LENGTH_MISMATCH,
    ),
    "past the span": (
        lambda f: f[-2].__setitem__(slice(0, len(f[-2])), b"\xff" * len(f[-2])),
        Reason.INDEX_RANGE,
    ),
    "a bit behind the last": (
        lambda f: f[-1].__setitem__(-1, f[-1][-1] | 0x80),
        Reason.NOT_CANONICAL,
    ),
}


@pytest.mark.parametrize("name", WIDER)
def test_wide_gaps_are_refused(name: str) -> None:
    change, reason = WIDER[name]
    forgery = Forgery.of(payload(LARGE, WIDE), LARGE.layout)
    found = forgery.planes()
    change(found)
    forgery.press(found)
    told = decode(forgery.data(), context(LARGE.layout))
    assert isinstance(told, Refusal)
    assert told.reason == reason, told


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=60), st.integers(0, 70))
def test_wide_gaps_never_write_outside(low: bytes, bits: bytes, count: int) -> None:
    lows = np.frombuffer(low.ljust(count, b"\0"), np.uint8)
    found = np.zeros(count, np.uint16)
    told = np.frombuffer(bits, np.uint8)
    if positions.read_wide(lows, told, 3000, found) == 0:
        assert (np.diff(found.astype(int)) > 0).all()
        assert found.max(initial=0) < 3000
