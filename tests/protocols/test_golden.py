"""Files of each version's first day are read for ever, by us and by another decoder.

Each is `encode` of `GOLDEN` in the format of its name. They are not to be changed: a
format that writes others is another version.
"""

from pathlib import Path

import numpy as np
import pytest

from fedelta.protocols import digests
from fedelta.protocols.codec import Choice, encode, repack
from fedelta.protocols.wires import VALUES

from .forgeries import streams
from .readers import read
from .samples import accepted, header, vector

FOLDER = Path(__file__).parent / "golden"
SMALL = {"a": (3, 50), "b": (7,), "empty": (0, 4), "one": (1,), "é": (2, 270)}
LARGE = SMALL | {"big": (66_000,)}
READ_ONLY = {"sparse-fp8", "sparse-fp16"}
"""Of version 1, which is not written any more."""
MIXED = (
    Choice("fp16", "all"),
    Choice("sign256", "all"),
    Choice("int4", "gaps", 0.01),
    Choice("fp32", "all"),
    Choice("fp8", "gaps", 0.0),
    Choice("int8", "seeded", 0.125),
)
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
    "int8": (
        "int8",
        SMALL,
        "cc5c2de1ea8a477aa49d03831aa2e967e2e8f1c8af1b57597f49eeaa00c1769e",
    ),
    "int4-stochastic": (
        "int4(rounding='stochastic')",
        SMALL,
        "27c6ae544c6bf73814f8c4f0baa974d1c3a4c3728d1e8d6059f7e3d9d3c03261",
    ),
    "gaps-2": (
        "sparse(density=0.02, values='int4')",
        LARGE,
        "707f808884b412b4b89821f2ded7cc5f0b84e2b2973fc2c4fa2ccac4377c91fe",
    ),
    "bits-2": (
        "sparse(density=0.4, values='int8b64')",
        SMALL,
        "15978f1bc695537d7922f02502d11a244422c8ed8987d16154977c2f5cab2309",
    ),
    "wide-2": (
        "sparse(density=0.003, values='fp16')",
        LARGE,
        "3e1551f662f0b79680aadc29d84567c306209f2670f0738845b45f61284970e0",
    ),
    "moved-2": (
        "moved(values='sign256')",
        SMALL,
        "0053f30d8392db9f4bc0d82886b6278a97fbb6ec3874aba045d5dd68c81b7e4e",
    ),
    "masked": (
        "masked(density=0.25, values='fp8')",
        SMALL,
        "2bd5fbde6ffc003db760d8d6abc099b2ef77ce29cd9456207083e67a8c34b8be",
    ),
    "mixed-2": (
        "mixed",
        LARGE,
        "bd95c5902d83571bf70389bd842f584a19b53633603f85b920358b280f31ac22",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_read(name: str) -> None:
    text, shapes, digest = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    found = accepted(data, vector(shapes).layout, wire=text)
    tensors = found.tensors()
    assert digests.of_tensors(tensors) == digest
    layout = found.layout
    assert streams(repack(found), layout) == streams(data, layout)


@pytest.mark.parametrize("name", GOLDEN)
def test_read_by_another_decoder(name: str) -> None:
    _, shapes, _ = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    tensors = accepted(data, vector(shapes).layout).tensors()
    other = read(data, shapes)
    assert other.keys() == tensors.keys()
    for tensor, values in other.items():
        assert (np.array(values) == tensors[tensor].reshape(-1)).all()


@pytest.mark.parametrize("name", sorted(GOLDEN.keys() - READ_ONLY))
def test_written(name: str) -> None:
    """The same streams as on the first day; a newer zstd may press them otherwise."""
    text, shapes, _ = GOLDEN[name]
    data = (FOLDER / f"{name}.payload").read_bytes()
    given = vector(shapes)
    choices = MIXED if text == "mixed" else ()
    again = encode(given, text, header(given.layout), choices)
    assert streams(again, given.layout) == streams(data, given.layout)


def test_every_format_and_code_is_among_them() -> None:
    codes, values = set(), set()
    for name, (_, shapes, _) in GOLDEN.items():
        data = (FOLDER / f"{name}.payload").read_bytes()
        tables = accepted(data, vector(shapes).layout).streams.tables
        codes |= set(tables.codes.tolist())
        values |= {one.values for one in tables.choices}
    assert codes == {0, 1, 2}
    assert values == set(VALUES)
