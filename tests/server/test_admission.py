"""The norm that a reply is held to: of what it changes in the weights."""

import numpy as np
import pytest

from fedelta.protocols import seeds
from fedelta.protocols.codec import Context, Header, decode, encode
from fedelta.protocols.errors import BoundsError
from fedelta.protocols.payloads import Payload
from fedelta.protocols.vectors import Floats, Pair, TaskVector
from fedelta.server.admission import weight_norm

PAIR = Pair("m.weight", "m.lora_A.weight", "m.lora_B.weight", 2.0)


def drawn(name: str, *shape: int) -> Floats:
    """Some values."""
    flat = seeds.normal(seeds.key(name), 0, int(np.prod(shape)))
    return flat.astype(np.float32).reshape(shape)


def sealed(tensors: dict[str, Floats], wire: str = "fp32") -> Payload:
    """A reply of these tensors, as the server reads it."""
    vector = TaskVector.of(tensors)
    header = Header("00", 1, "a", "ff", vector.layout.fingerprint)
    found = decode(encode(vector, wire, header), Context(vector.layout, "00", 1, "ff"))
    assert isinstance(found, Payload)
    return found


@pytest.mark.parametrize("gain", [1.0, 64.0])
def test_the_norm_is_of_products_however_the_factors_are_scaled(gain: float) -> None:
    b, a, head = drawn("b", 40, 3), drawn("a", 3, 50), drawn("h", 7)
    start = {PAIR.a: drawn("s", 3, 50)}
    whole = 2.0 * b.astype(np.float64) @ (a + start[PAIR.a])
    change = {PAIR.b: b / gain, PAIR.a: gain * (a + start[PAIR.a]), "head": head}
    reply = sealed({name: value.astype(np.float32) for name, value in change.items()})
    expected = np.sqrt(np.sum(whole**2) + np.sum(head.astype(np.float64) ** 2))
    assert weight_norm(reply, [PAIR], {}) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wire", ["fp32", "sparse(density=0.1)"])
def test_without_factors_it_is_the_payloads_own(wire: str) -> None:
    reply = sealed({"w": drawn("w", 300, 300)}, wire)
    dense = reply.tensors()["w"].astype(np.float64)
    assert weight_norm(reply, [], {}) == pytest.approx(np.linalg.norm(dense), rel=1e-9)


def test_what_overflows_with_its_start_is_no_norm() -> None:
    huge = np.full((1, 2), 3e38, np.float32)
    reply = sealed({PAIR.b: np.ones((2, 1), np.float32), PAIR.a: huge})
    with pytest.raises(BoundsError):
        weight_norm(reply, [PAIR], {PAIR.a: huge})
