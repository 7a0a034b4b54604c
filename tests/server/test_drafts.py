"""`fedelta init`: what lies in a folder becomes a configuration that runs."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
import pytest

from fedelta.client.data import load as read
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config
from fedelta.server import cli, drafts, runs
from tests import tiny


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def words(given: list[str]) -> None:
    """A command that goes well."""
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    assert not ended.value.code


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    """Four owners in four forms, and a common test set."""
    folder = tmp_path / "hospitals"
    folder.mkdir()
    jsonl(folder / "north ward.jsonl", tiny.rows(40, 4, seed=1))
    with (folder / "south.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(tiny.rows(30, 4, seed=2))
    table = datasets.Dataset.from_list(tiny.rows(20, 4, seed=3))
    table.to_parquet(str(folder / "east.parquet"))
    table.save_to_disk(str(folder / "west"))
    jsonl(folder / "test.jsonl", tiny.rows(16, 4, seed=4))
    (folder / "README.txt").write_text("not data")
    return folder


def test_a_file_a_client(hospitals: Path, tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(drafts.draft(hospitals))
    config = runs.load(path)
    assert [one.name for one in config.clients] == [
        "east",
        "north-ward",
        "south",
        "west",
    ]
    assert config.model.task == "classification"
    task = read(config)
    assert len(task.test) == 16
    told = {row[0]: row for row in drafts.rows(task)}
    assert told["north-ward"][2:4] == ("36", "4")
    assert told["south"][4].startswith("amber 8")


def test_every_key_that_is_shown_is_one_and_can_be_uncommented(hospitals: Path) -> None:
    text = drafts.draft(hospitals)
    tables = text.partition("[[clients]]")[0]
    live = [
        line.removeprefix("# ") if " = " in line and "  # " in line else line
        for line in tables.splitlines()
        if not line.startswith("# region")
    ]
    path = hospitals.parent / "all.toml"
    path.write_text(
        "\n".join(live) + "\n[[clients]]" + text.partition("[[clients]]")[2]
    )
    assert runs.load(path).train == Config().train
    assert all(len(line) < 200 for line in text.splitlines())


@pytest.mark.parametrize(
    ("row", "task", "column"),
    [
        ({"text": "plain"}, "causal-lm", "text"),
        ({"instruction": "say", "output": "it"}, "causal-lm", "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, "causal-lm", "messages"),
        ({"Sentence": "x", "category": "y"}, "classification", "text"),
    ],
)
def test_shapes_are_known(
    tmp_path: Path, row: dict[str, Any], task: str, column: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b"):
        jsonl(folder / f"{name}.jsonl", [row] * 12)
    found = drafts.find(folder)
    assert found.task == task
    assert column in found.columns
    (tmp_path / "c.toml").write_text(drafts.draft(folder))
    assert runs.load(tmp_path / "c.toml").model.task == task


def test_one_file_is_dealt_by_owner_or_among_simulated_clients(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = tiny.rows(60, 4)
    jsonl(folder / "all.jsonl", rows)
    assert 'partition = "dirichlet"' in drafts.draft(folder)
    owned = [row | {"hospital": f"h{n % 3}"} for n, row in enumerate(rows)]
    jsonl(folder / "all.jsonl", owned)
    (tmp_path / "c.toml").write_text(drafts.draft(folder))
    assert list(read(runs.load(tmp_path / "c.toml")).clients) == ["h0", "h1", "h2"]


def test_what_cannot_be_guessed_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        drafts.draft(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="holds no data"):
        drafts.draft(tmp_path)
    jsonl(tmp_path / "a.jsonl", [{"x": "y"}])
    with pytest.raises(ConfigError, match=r"a\.jsonl: none of its columns"):
        drafts.draft(tmp_path)
    jsonl(tmp_path / "a.jsonl", [{"text": "y"}])
    jsonl(tmp_path / "b.jsonl", [{"text": "y", "label": "z"}])
    with pytest.raises(ConfigError, match=r"b\.jsonl has other columns"):
        drafts.draft(tmp_path)


def test_the_command_says_what_each_client_has(
    hospitals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "federation.toml"
    words(["init", str(hospitals), "--out", str(out), "--dry-run"])
    assert not out.exists()
    said = capsys.readouterr().out
    assert "north-ward" in said
    assert "classes in column 'label'" in said
    words(["init", str(hospitals), "--out", str(out)])
    assert runs.load(out).clients
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", str(hospitals), "--out", str(out)])
    assert ended.value.code == 2
    assert "is there already" in capsys.readouterr().err
