"""Payloads for another round, run, model or format: each a named refusal."""

from typing import Any

import pytest

from fedelta.protocols.codec import Refusal, decode
from fedelta.protocols.refusals import Reason
from fedelta.protocols.vectors import Layout

from .forgeries import add, changed, drop, metadata, verdict
from .samples import SMALL, context, payload

PLAIN = payload(SMALL, "fp16")

HEADERS: dict[str, tuple[bytes, dict[str, Any], Reason]] = {
    "version": (metadata(version="3"), {}, Reason.BAD_VERSION),
    "version of packed tables": (metadata(version="2"), {}, Reason.BAD_HEADER),
    "version 1.0": (metadata(version="1.0"), {}, Reason.BAD_VERSION),
    "format": (metadata(format="fedelta.state"), {}, Reason.BAD_VERSION),
    "more fields": (metadata(note="x"), {}, Reason.BAD_HEADER),
    "previous round": (PLAIN, {"round": 4}, Reason.STALE_ROUND),
    "future round": (PLAIN, {"round": 2}, Reason.WRONG_ROUND),
    "round no number": (metadata(round="-3"), {}, Reason.BAD_HEADER),
    "seed too large": (metadata(seed=str(1 << 64)), {}, Reason.BAD_HEADER),
    "run": (PLAIN, {"run": "f" * 16}, Reason.WRONG_RUN),
    "base": (PLAIN, {"base": "c" * 64}, Reason.WRONG_BASE),
    "client": (PLAIN, {"client": "bob"}, Reason.WRONG_CLIENT),
    "recipe": (PLAIN, {"recipe": "ties()"}, Reason.WRONG_SCHEMA),
    "seed": (PLAIN, {"seed": 12}, Reason.WRONG_SCHEMA),
    "wire not asked for": (PLAIN, {"wire": "fp8"}, Reason.WRONG_SCHEMA),
    "wire unknown": (metadata(wire="fp7"), {}, Reason.WRONG_SCHEMA),
    "wire not canonical": (metadata(wire="fp16()"), {}, Reason.WRONG_SCHEMA),
    "wire of another form": (metadata(wire="fp8"), {}, Reason.SHAPE_MISMATCH),
    "wire of another table": (metadata(wire="fp32"), {}, Reason.KEYS_MISMATCH),
    "adapter of another rank": (
        PLAIN,
        {"layout": Layout.of({"a": (4, 100)})},
        Reason.WRONG_SCHEMA,
    ),
    "tensor missing": (changed("fp16", drop("scales")), {}, Reason.KEYS_MISMATCH),
    "tensor unknown": (changed("fp16", add("more")), {}, Reason.KEYS_MISMATCH),
    "above the cap in bytes": (PLAIN, {"max_bytes": 100}, Reason.INFLATED_SIZE),
    "weight above the roster": (PLAIN, {"max_weight": 69}, Reason.BAD_WEIGHT),
    "norm": (PLAIN, {"norm_cap": 1e-6}, Reason.NORM_CAP),
    "count": (metadata(kept="907"), {}, Reason.LENGTH_MISMATCH),
}


@pytest.mark.parametrize("name", HEADERS)
def test_header(name: str) -> None:
    data, changes, reason = HEADERS[name]
    found = decode(data, context(**({"layout": SMALL.layout} | changes)))
    assert isinstance(found, Refusal)
    assert found.reason == reason
    assert str(found).startswith(f"{reason}: ")


@pytest.mark.parametrize(
    "weight",
    ["0", "-1", "nan", "inf", "True", str(1 << 62), "1.5", "", " 1", "01", "1e3", "٣"],
)
def test_weight(weight: str) -> None:
    assert verdict(metadata(weight=weight)) == Reason.BAD_WEIGHT


def test_a_strangers_words_are_quoted_safely() -> None:
    found = decode(metadata(wire="\n\x1b[31m" + "x" * 999), context(SMALL.layout))
    assert isinstance(found, Refusal)
    assert found.detail.isprintable()
    assert len(found.detail) <= 200
