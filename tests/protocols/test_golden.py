"""Files of the format's first day are read for ever, by us and by another decoder.

Each is `encode` of `GOLDEN` in the format of its name. They are not to be changed: a
format that writes others is another version.
"""

from pathlib import Path

import numpy as np
import pytest

from fedelta.protocols import digests
from fedelta.protocols.codec import repack

from .forgeries import streams
from .readers import read
from .samples import accepted, payload, vector

FOLDER = Path(__file__).parent / "golden"
SMALL = {"a": (3, 50), "b": (7,), "empty": (0, 4), "one": (1,), "é": (2, 270)}
LARGE = SMALL | {"big": (66_000,)}
GOLDEN: dict[str, tuple[str, dict[str, tuple[int, ...]], str]] = {
    "fp32": (
        "fp32",
        SMALL,
        "95160b9302e9e0103667ae020954c847bcf61f0501360610d2b1599beebf3196",
    ),
    "fp16": (
        "fp16",
        SMALL,
        "a16cb1f229d23c5c112f8cf5707202db4a6b655678dcf250124cac4377210e59",
    ),
    "fp8": (
        "fp8",
        SMALL,
        "a75495269c92aa27e682f8ce9215732c44e25fc2309977c930e487b60cd80eb3",
    ),
    "sign256": (
        "sign256",
        LARGE,
        "805cae5a889d4763770d533ad13a150c9997ff17fcd20661599e41c94f886a18",
    ),
    "sparse-fp8": (
        "sparse(density=0.01)",
        LARGE,
        "b32a9e5ad003609a5eaf29dbecd071907656f301dae812495068f75692a43e98",
    ),
    "sparse-fp16": (
        "sparse(density=0.3, values='fp16')",
        SMALL,
        "490884d84fc03f377daec744d35e8778da870d9eff8e492114bd1374ad8fcb86",
    ),
    "dare-fp16": (
        "dare(density=0.01)",
        LARGE,
        "906ec1bbab22b24b78543ffaa8e3cd8444ee07f2632e906c5e72f7838c397d84",
    ),
    "dare-fp8": (
        "dare(density=0.3, values='fp8')",
        SMALL,
        "631eef2ad460c84ab2422d17410c55c94555d78c9f74e1cfd28500fc9e60150b",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_read(name: str) -> None:
    text, shapes, digest = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    found = accepted(data, vector(shapes).layout, wire=text)
    tensors = found.tensors()
    assert digests.of_tensors(tensors) == digest
    assert streams(repack(found)) == streams(data)


@pytest.mark.parametrize("name", GOLDEN)
def test_read_by_another_decoder(name: str) -> None:
    _, shapes, _ = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    tensors = accepted(data, vector(shapes).layout).tensors()
    other = read(data, shapes)
    assert other.keys() == tensors.keys()
    for tensor, values in other.items():
        assert (np.array(values) == tensors[tensor].reshape(-1)).all()


@pytest.mark.parametrize("name", GOLDEN)
def test_written(name: str) -> None:
    """The same streams as on the first day; a newer zstd may press them otherwise."""
    text, shapes, _ = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    assert streams(payload(vector(shapes), text)) == streams(data)
