"""Where transforms are applied: the same merge either way, and held to their bounds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedelta.aggregators.recipes import recipe
from fedelta.protocols.settings import Config
from fedelta.server import files, placements
from fedelta.server.replays import replay
from fedelta.server.simulations import simulate
from tests import tiny


def run(folder: Path, **overrides: Any) -> dict[str, Any]:
    """One federation in this process, as short as can be."""
    given = {
        "run": {"rounds": 1},
        "data": {"clients": 2},
        "train": {"mode": "full", "steps": 2},
        "wire": {"up": "fp32", "feedback": False},
        "eval": {"local": False},
        "merge": {"recipe": "ties(density=0.2)"},
    } | overrides
    return simulate(tiny.config(folder, **given), workers=0)


@pytest.mark.parametrize(
    ("train", "space", "up", "side"),
    [
        ("full", "product", "sparse(density=0.05)", "client"),
        ("full", "product", "sign256", "client"),  # what did not move stays
        ("full", "product", "auto", "server"),
        ("lora", "factors", "sign256", "server"),
        ("full", "product", "moved", "client"),
        ("lora", "factors", "fp16", "client"),
        ("lora", "product", "fp16", "server"),
    ],
)
def test_clients_transform_where_they_hold_what_is_merged(
    train: Any, space: Any, up: str, side: str
) -> None:
    config = tiny_free(train, space, up, "ties(density=0.2)")
    assert placements.before(config) == side
    assert bool(placements.applied(config)) == (side == "client")
    assert placements.before(tiny_free(train, space, up, "fedavg()")) == "server"


def tiny_free(train: Any, space: Any, up: str, text: str) -> Config:
    """A configuration without files."""
    plain = Config()
    return replace(
        plain,
        train=replace(plain.train, mode=train),
        lora=replace(plain.lora, space=space),
        wire=replace(plain.wire, up=up),
        merge=replace(plain.merge, recipe=text),
    )


def test_a_merge_is_the_same_whichever_side_transforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("ties(density=0.2)", "trim(0.5) | dare(density=0.5)")

    def digests(name: str) -> list[str]:
        made = []
        for place, text in enumerate(texts):
            out = {"rounds": 1, "out": str(tmp_path / f"{name}{place}")}
            made.append(run(tmp_path, run=out, merge={"recipe": text})["model_digest"])
        return made

    found = digests("client")
    monkeypatch.setattr(placements, "before", lambda _: placements.SERVER)
    assert digests("server") == found
    assert len(set(found)) == len(found)


def test_what_clients_clipped_is_clipped_again() -> None:
    chosen = recipe("clip(1.0) | ties(0.2)")
    done = [one.text for one in chosen.before]
    assert [one.text for one in placements.left(chosen, done).before] == ["clip(1.0)"]
    assert placements.left(chosen, ()) is chosen
    chosen = recipe("clip(1.0) | dare(0.1)")
    done = [one.text for one in chosen.before]
    assert not placements.left(chosen, done).before  # the drop rescales: other norms


def test_a_replay_says_what_its_replies_went_through(tmp_path: Path) -> None:
    whole = run(tmp_path)
    same, other = replay(tmp_path / "run", ["ties(density=0.2)", "fedavg"])
    assert same["model_digest"] == whole["model_digest"]
    for one in (same, other):
        assert one["replay"]["applied"] == ["trim(0.2)"]
    assert "trim(0.2)" not in same["replay"]["note"]
    assert "trim(0.2)" in other["replay"]["note"]
    kept = files.read_json(tmp_path / "run" / "replays" / "fedavg" / "summary.json")
    assert kept["replay"] == other["replay"]
