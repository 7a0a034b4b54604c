"""Arrays between rounds: as they were, and one at a time where they are large."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedelta.protocols.errors import CheckpointError
from fedelta.server import shelves
from fedelta.server.journal import Journal

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([True, False]),
    "none": np.zeros((0, 4), np.float64),
    "one": np.array(7, np.uint64),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    shelves.write(path, ARRAYS)
    shelf = shelves.Shelf(path)
    assert sorted(shelf) == sorted(ARRAYS)
    for found in (shelf, load_file(path)):
        for name, one in ARRAYS.items():
            assert found[name].dtype == one.dtype
            np.testing.assert_array_equal(found[name], one)
    shelves.write(path, {})
    assert dict(shelves.Shelf(path)) == {}
    with pytest.raises(KeyError):
        shelf["other"]


def test_what_is_broken_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="cannot be read"):
        shelves.Shelf(path)
    shelves.write(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="is not safetensors"):
        shelves.Shelf(path)


def test_large_states_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    states: dict[str, Any] = {
        "owed": {"w": np.arange(9, dtype=np.float32)},
        "few": {"n": np.ones(1)},
    }
    monkeypatch.setattr(shelves, "LARGE", 32)
    kept = journal.write_state(1, states)
    assert isinstance(kept["owed"], shelves.Shelf)
    assert kept["few"] is states["few"]
    again = journal.write_state(2, kept)  # from the last round's file
    journal.commit(1, {})
    journal.commit(2, {})
    assert list((tmp_path / "state").iterdir()) == [tmp_path / "state" / "round-0002"]
    np.testing.assert_array_equal(again["owed"]["w"], states["owed"]["w"])
    read = journal.read_state(2, "owed")
    assert isinstance(read, shelves.Shelf)
    np.testing.assert_array_equal(read["w"], states["owed"]["w"])
