"""Data: the same split for the same seed, and every bad input named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import (  # type: ignore[import-untyped]
    ClassLabel,
    Dataset,
    DatasetDict,
)

from fedelta.client import data, tables
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Config, Data, Run
from tests import tiny


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """A JSONL file."""
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_every_example_is_somewhere_once(config: Config) -> None:
    task = data.load(config)
    assert list(task.clients) == [f"client-{n:02d}" for n in range(4)]
    assert sum(map(len, task.clients.values())) + len(task.test) == 160
    for name in task.clients:
        own, held = task.split(name)
        assert len(own) + len(held) == len(task.clients[name])
        assert len(own) > 0
        both = sorted(own.texts + held.texts)
        assert both == sorted(task.clients[name].texts)


def test_the_seed_decides(folder: Path) -> None:
    def texts(seed: int) -> list[tuple[str, ...]]:
        data._load.cache_clear()
        task = data.load(tiny.config(folder, run={"seed": seed}))
        return [one.texts for one in task.clients.values()] + [task.test.texts]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "folder", "dict", "jsonl"])
def test_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    rows = tiny.rows(60, 3)
    table = Dataset.from_list(rows)
    path = tmp_path / f"data.{suffix}"
    if suffix == "csv":
        lines = [f"{row['text']},{row['label']}" for row in rows]
        path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    elif suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "jsonl":
        write(path, rows)
    else:
        path = tmp_path / "saved"
        (table if suffix == "folder" else DatasetDict(train=table)).save_to_disk(path)
    reference = Config(
        data=Data(source=write(tmp_path / "as.jsonl", rows), clients=2, partition="iid")
    )
    task = data.load(replace(reference, data=replace(reference.data, source=str(path))))
    expected = data.load(reference)
    assert task.labels == expected.labels == ("amber", "birch", "cobalt")
    assert task.clients["client-01"].texts == expected.clients["client-01"].texts
    assert (task.test.labels == expected.test.labels).all()


def test_class_labels_keep_their_names(tmp_path: Path) -> None:
    table = Dataset.from_dict({"text": ["a", "b"] * 10, "label": [0, 1] * 10})
    table.cast_column("label", ClassLabel(names=["no", "yes"])).save_to_disk(
        tmp_path / "d"
    )
    given = Data(source=str(tmp_path / "d"), clients=2, partition="iid")
    assert data.load(Config(data=given)).labels == ("no", "yes")


def test_a_column_makes_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"ward": f"W {n % 3}"} for n, row in enumerate(tiny.rows(90, 2))]
    source = write(tmp_path / "d.jsonl", rows)
    given = Data(source=source, partition="column:ward", test=0.1)
    task = data.load(Config(data=given))
    assert sorted(task.clients) == ["W-0", "W-1", "W-2"]
    assert capsys.readouterr().err == "", "a bar of the partitioner's own"


def test_skew_follows_alpha(tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", tiny.rows(800, 4))

    def skew(alpha: float) -> float:
        given = Data(source=source, clients=4, alpha=alpha, test=0.0)
        task = data.load(Config(run=Run(seed=1), data=given))
        tops = [np.bincount(c.labels).max() / len(c) for c in task.clients.values()]
        return float(np.mean(tops))

    assert skew(0.2) > skew(100.0) + 0.15


def test_caps_and_regions(folder: Path) -> None:
    given = {"examples": 60, "test_examples": 10, "regions": 2, "validation": 0.0}
    task = data.load(tiny.config(folder, data=given))
    assert sum(map(len, task.clients.values())) == 60
    assert len(task.test) == 10
    assert list(task.regions.values()) == ["region-0", "region-1"] * 2
    assert len(task.split("client-00")[1]) == 0


def test_owners_bring_their_files(tmp_path: Path) -> None:
    clients = [
        {"name": f"ward.{n}", "region": f"r{n}", "data": str(
            tiny.data(tmp_path, 40, 2, name=f"{n}.jsonl", seed=n))}
        for n in range(3)
    ]  # fmt: skip
    task = data.load(tiny.config(tmp_path, clients=clients))
    assert list(task.clients) == ["ward.0", "ward.1", "ward.2"]
    assert task.regions["ward.2"] == "r2"
    assert [len(c) for c in task.clients.values()] == [32, 32, 32]
    assert len(task.test) == 24
    tested = str(tiny.data(tmp_path, 20, 2, name="test.jsonl", seed=9))
    own = tiny.config(tmp_path, clients=clients, data={"test": tested})
    assert len(data.load(own).test) == 20


def test_names_can_come_from_the_roster(folder: Path) -> None:
    named = tiny.config(folder, clients=[{"name": "b"}, {"name": "a"}])
    assert list(data.load(named).clients) == ["b", "a"]


def test_the_built_in_set_never_trains_on_what_it_tests() -> None:
    from fedelta.client import icd10

    category = {text: c.name for c in icd10.categories() for text in c.texts}
    task = data.load(Config(data=Data(test_examples=500, examples=4000)))
    assert len(task.labels) == 21
    known = {category[t] for c in task.clients.values() for t in c.texts}
    tested = {category[t] for t in task.test.texts}
    assert len(tested) > 100
    assert not tested & known


ROWS = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(40)]
BAD: dict[str, tuple[list[dict[str, Any]] | None, dict[str, Any], str]] = {
    "missing file": (None, {}, "is not there"),
    "missing column": (
        ROWS,
        {"text": "body"},
        r"no column 'body' \(data.text\); it has",
    ),
    "missing label": (ROWS, {"label": "kind"}, r"no column 'kind' \(data.label\)"),
    "text is not text": ([r | {"text": 3} for r in ROWS], {}, "must be text"),
    "text is missing": (
        [*ROWS, {"text": None, "label": "a"}],
        {},
        "row 41 holds NoneType",
    ),
    "label is a number with a point": (
        [r | {"label": 0.5} for r in ROWS],
        {},
        "whole num",
    ),
    "one class": ([r | {"label": "a"} for r in ROWS], {}, "one class only"),
    "unknown partition": (ROWS, {"partition": "by-moon"}, '"dirichlet", "iid" and'),
    "partition column": (ROWS, {"partition": "column:ward"}, "no column 'ward'"),
    "more clients than examples": (ROWS, {"clients": 99}, "data.clients = 99"),
    "no clients": (ROWS, {"clients": 0}, "data.clients = 0"),
    "impossible split": (ROWS, {"clients": 20, "alpha": 1e-4}, "raise alpha"),
    "missing test": (ROWS, {"test": "gone.jsonl"}, "gone.jsonl' is not there"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_is_named(tmp_path: Path, what: str) -> None:
    rows, keys, message = BAD[what]
    path = str(tmp_path / "d.jsonl")
    if rows is not None:
        write(Path(path), rows)
    plain: dict[str, Any] = {"source": path, "clients": 2, "partition": "iid"}
    given = Data(**(plain | keys))
    if what == "impossible split":
        given = replace(given, partition="dirichlet")
    with pytest.raises(ConfigError, match=message):
        data.load(Config(data=given))


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    for name, body, message in (
        ("d.jsonl", "not json", "is not a jsonl table"),
        ("d.parquet", "not parquet", "is not a parquet table"),
        ("d.txt", "text", "read are .csv"),
        ("d.json", "[1, 2]", "a list must hold objects"),
        ("d.json", "[{", "is not a json table"),
    ):
        (tmp_path / name).write_text(body, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            data.load(Config(data=Data(source=str(tmp_path / name))))
    with pytest.raises(ConfigError, match="cannot read"):
        data.load(Config(data=Data(source=str(tmp_path))))


def test_tables_as_people_have_them(tmp_path: Path) -> None:
    """As spreadsheets and scripts write them, in every spelling of the suffix."""
    rows = [{"text": "a; b", "label": "x"}, {"text": "Müdigkeit", "label": "y"}]
    for name, body in (
        ("d.csv", 'text,label\n"a; b",x\nMüdigkeit,y\n'),
        ("d.CSV", '\ufefftext;label\r\n"a; b";x\r\nMüdigkeit;y\r\n'),
        ("t.csv", "text\tlabel\na; b\tx\nMüdigkeit\ty\n"),
        ("d.json", "\n" + json.dumps(rows)),
        ("l.json", "\n".join(map(json.dumps, rows))),
    ):
        (tmp_path / name).write_bytes(body.encode())
        assert tables.load(str(tmp_path / name)).to_list() == rows, name
    (tmp_path / "old.csv").write_bytes("text,label\nMüdigkeit,x\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        tables.load(str(tmp_path / "old.csv"))


def test_a_class_that_no_client_has(tmp_path: Path) -> None:
    test = write(tmp_path / "t.jsonl", [{"text": "x", "label": "zebra"}])
    given = Data(source=write(tmp_path / "d.jsonl", ROWS), test=test, clients=2)
    with pytest.raises(ConfigError, match="no client has: zebra"):
        data.load(Config(data=given))


def test_an_empty_client(tmp_path: Path) -> None:
    full = write(tmp_path / "d.jsonl", ROWS)
    (tmp_path / "e.csv").write_text("text,label\n", encoding="utf-8")
    clients = [
        {"name": "a", "data": full},
        {"name": "b", "data": str(tmp_path / "e.csv")},
    ]
    with pytest.raises(ConfigError, match="client 'b' has no examples"):
        data.load(tiny.config(tmp_path, clients=clients))
    half = [{"name": "a", "data": full}, {"name": "b"}]
    with pytest.raises(ConfigError, match="client 'b' names no data"):
        data.load(tiny.config(tmp_path, clients=half))


def test_an_unknown_client(task: data.Task) -> None:
    with pytest.raises(ConfigError, match="there is no client 'zoe'"):
        task.split("zoe")
