"""A run's record as a log."""

import json
import logging
from pathlib import Path

import pytest

from fedelta.client import logs
from fedelta.server import cli
from fedelta.server.records import read
from tests import tiny


def test_a_simulation_logs_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(logs.VARIABLE, "text")
    monkeypatch.setattr(logging.getLogger("fedelta"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("fedelta"), "propagate", True)
    out = tmp_path / "run"
    text = (
        f"[run]\nrounds = 1\nout = {json.dumps(str(out))}\n"
        f"[model]\nid = {json.dumps(str(tiny.model(tmp_path)))}\n"
        f"[data]\nsource = {json.dumps(str(tiny.data(tmp_path)))}\nclients = 2\n"
        "[train]\nsteps = 1\nbatch = 4\nmax_length = 24\n[lora]\nrank = 2\n"
        "[eval]\nlocal = false\n"
    )
    (tmp_path / "run.toml").write_text(text)
    words = ["simulate", str(tmp_path / "run.toml"), "--workers", "0"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--json", "--log", "json"])
    assert not ended.value.code
    seen = capsys.readouterr()
    summary = json.loads(seen.out)
    lines = [json.loads(text) for text in seen.err.splitlines()]
    told = [line for line in lines if line["logger"] == "fedelta.run"]
    assert {line["run"] for line in told} == {summary["run"]}
    replies = [line for line in told if line["kind"] == "contribution"]
    assert [(line["round"], line["client"]) for line in replies] == [
        (1, "client-00"),
        (1, "client-01"),
    ]
    kept = [line["kind"] for line in read(out / "record.jsonl")]
    assert [line["kind"] for line in told if line["kind"] != "asked"] == kept
