"""Everything that the fuzzer was started from, or ever found, is judged well."""

from pathlib import Path

from .targets import GOOD, judge, payload_of

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_corpus() -> None:
    assert len(CORPUS) >= len(GOOD)
    for path in CORPUS:
        judge(path.read_bytes())


def test_nothing_changed_is_accepted() -> None:
    for at, data in enumerate(GOOD):
        assert judge(bytes([at]))
        assert judge(b"\xff" + data)


def test_edits_change_something() -> None:
    changed = bytes([1, 0, 3, 0, 7, 0, 0])
    assert payload_of(changed) != GOOD[1]
