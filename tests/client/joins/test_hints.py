"""What `fedelta join up` hears of its node's logs."""

from pathlib import Path

import pytest

from fedelta.client import logs
from fedelta.client.joins.hints import CLIENT, NODE, OFTEN, STARVED, Hints


@pytest.mark.parametrize("form", logs.FORMS)
def test_refusals_are_told_in_either_form(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(logs.VARIABLE, form)
    before, asked, no, other = (
        f"{logs.line('join', text)}\n"
        for text in ("query: no: A", "train: asked", "train: no: B: C", "train: no: D")
    )
    log, told = tmp_path / CLIENT, list[str]()
    log.write_text(before)
    hints = Hints(tmp_path, told.append)
    log.write_text(before + asked + no + other[:-9])
    for _ in range(2):
        hints.look()
        assert told == ["this node refused: B: C"]
    log.write_text(before + asked + no + other)
    hints.look()
    assert told[1:] == ["this node refused: D"]


def test_a_client_that_never_begins_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    hints = Hints(tmp_path, told.append)
    for count in range(1, 2 * OFTEN + 1):
        with (tmp_path / NODE).open("a") as log:
            for path in (STARVED, "/push-task-output]"):
                log.write(f"ERROR: [/v1{path} task-token authentication failed.\n")
        hints.look()
        assert len(told) == count // OFTEN
        if count == OFTEN:
            assert "3 times" in told[0]
            (tmp_path / CLIENT).write_text("2026 train: answered\n")
            hints.look()
    assert "3 times" in told[1], "counted anew once a reply was sent"
