"""What a run keeps on disk, and what it makes of what a crash left there."""

from pathlib import Path

import numpy as np
import pytest

from fedelta.protocols import digests
from fedelta.protocols.errors import CheckpointError, ConfigError
from fedelta.server import files, records
from fedelta.server.journal import Journal, stem_of
from fedelta.server.rosters import Member, Roster, quorum
from fedelta.server.runs import load


def note(data: bytes) -> dict[str, str]:
    return {"digest": digests.of_bytes(data)}


def test_a_sealed_reply_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in ("ada", "Ward 3/b", "..", "é"):
        journal.seal(1, name, name.encode(), note(name.encode()))
    found = Journal(tmp_path).sealed(1)
    assert sorted(found) == sorted(["ada", "Ward 3/b", "..", "é"])
    assert found["ada"].path.read_bytes() == b"ada"
    assert journal.sealed(2) == {}
    inside = {path.parent for path in tmp_path.rglob("*.payload")}
    assert inside == {tmp_path / "journal" / "round-0001"}


def test_what_was_sealed_is_its_owners_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.hold()
    sealed = journal.seal(1, "ada", b"x", note(b"x"))
    journal.release()
    assert sealed.path.is_relative_to(tmp_path / "run" / "journal")
    assert (tmp_path / "run" / "journal").stat().st_mode & 0o777 == 0o700


def test_a_note_without_its_payload_is_no_seal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.seal(1, "ada", b"x", note(b"x")).path.unlink()
    assert journal.sealed(1) == {}


def test_a_seal_that_was_touched_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.seal(1, "ada", b"x", note(b"x")).path.write_bytes(b"y")
    with pytest.raises(CheckpointError, match=r"ada\.payload"):
        journal.sealed(1)


def test_the_last_manifest_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.last() is None
    for number in (0, 1, 2, 10):
        journal.commit(number, {"x": number})
    assert journal.last() == {"round": 10, "x": 10}
    (tmp_path / "journal" / "round-0010" / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        journal.last()


@pytest.mark.parametrize(("keep", "left"), [("all", 3), ("last", 1), (2, 2)])
def test_old_payloads_go(tmp_path: Path, keep: str | int, left: int) -> None:
    journal = Journal(tmp_path, keep)
    for number in (1, 2, 3):
        journal.seal(number, "ada", b"x", note(b"x"))
        journal.commit(number, {})
    assert len(list(tmp_path.rglob("*.payload"))) == left
    assert len(list(tmp_path.rglob("manifest.json"))) == 3


def test_only_the_newest_state_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in (1, 2):
        arrays = {"a|b": np.full(3, number, np.float32)}
        journal.write_state(number, {"carry": arrays})
        journal.commit(number, {})
    assert journal.read_state(2, "carry")["a|b"].tolist() == [2, 2, 2]
    with pytest.raises(CheckpointError):
        journal.read_state(1, "carry")


def test_an_update_is_the_one_that_was_committed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    digest = journal.write_update(1, b"x")
    assert journal.read_update(1, digest) == b"x"
    for version, other in ((1, "00"), (2, digest)):
        with pytest.raises(CheckpointError, match=f"{version:04}"):
            journal.read_update(version, other)


def test_one_process_a_folder(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.hold()
    with pytest.raises(ConfigError, match="another process"):
        second.hold()
    first.release()
    second.hold()
    second.release()


def test_a_record_is_cut_back_to_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = records.Record(path)
    record.add("round", round=1, loss=float("nan"))
    kept = record.commit()
    record.add("round", round=2)
    record.close()
    with path.open("a") as file:
        file.write('{"kind": "rou')
    assert [line["round"] for line in records.read(path)] == [1, 2]
    heard: list[records.Line] = []
    again = records.Record(path, keep=kept, before=100.0, listeners=[heard.append])
    again.add("round", round=3)
    again.close()
    lines = records.read(path)
    assert [line["round"] for line in lines] == [1, 3]
    assert lines[0]["loss"] is None
    assert lines[1]["at"] >= 100
    assert heard == lines[1:]


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x" / "file"
    files.write(path, b"old")
    (path.parent / ".file.part").mkdir()  # the new one cannot even be begun
    with pytest.raises(OSError, match="part"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"


def test_file_names_are_harmless_and_distinct() -> None:
    names = ["a", "A b", "a/b", "a%2Fb", "..", ".", "%2E.", "é", "", "%"]
    stems = [stem_of(name) for name in names if name]
    assert len(set(stems)) == len(stems)
    assert not any(stem.startswith(".") or "/" in stem for stem in stems)


@pytest.mark.parametrize(
    ("wanted", "asked", "needed"), [(0.5, 8, 4), (0.5, 5, 3), (3, 8, 3), (0.01, 8, 1)]
)
def test_quorum(wanted: float, asked: int, needed: int) -> None:
    assert quorum(load(overrides=[f"round.quorum={wanted}"]), asked) == needed


def test_a_sample_is_drawn_by_seed() -> None:
    config = load(overrides=["round.clients=3"])
    roster = Roster(Member(f"c{n}", n, 10) for n in range(8))
    draws = [
        [one.name for one in roster.sample(config, "run", number)]
        for number in range(40)
    ]
    assert all(len(draw) == 3 and draw == sorted(draw) for draw in draws)
    assert {name for draw in draws for name in draw} == {f"c{n}" for n in range(8)}
    assert draws[0] == [one.name for one in roster.sample(config, "run", 0)]
