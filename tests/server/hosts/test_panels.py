"""The coordinator's picture of its federation, over the real status service."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console, Group

from fedelta.protocols.errors import FedeltaError
from fedelta.server import files
from fedelta.server.hosts import panels, statuses
from fedelta.server.hosts.asking import status
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.records import Record

from .federations import host, join


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostFolder]:
    folder = host(tmp_path / "host")
    server, service = statuses.serve(folder)
    yield folder
    service.ending.set()
    server.stop(0).wait()


def begun(folder: HostFolder, name: str) -> Record:
    files.write_json(folder.runs / name / "config.json", {})
    record = Record(folder.runs / name / "record.jsonl")
    record.add("run", run=name, name=name, recipe="fedavg()", rounds=3, clients=["a"])
    return record


def drawn(panel: panels.Panel) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(panel.picture())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_empty_federation_has_a_picture(hosted: HostFolder) -> None:
    with status(hosted) as asked:
        assert "nobody yet" in drawn(panels.Panel(asked))


def test_the_picture_follows_the_record(hosted: HostFolder, tmp_path: Path) -> None:
    join(hosted, tmp_path / "a", "a")
    with status(hosted) as asked:
        panel = panels.Panel(asked)
        record = begun(hosted, "first")
        assert "run first: stopped" in drawn(panel)
        record.add(
            "contribution", round=1, client="a", verdict="refused",
            reason="NORM_CAP", detail="9 is more than 1", bytes=2000, seconds=1.25,
        )  # fmt: skip
        text = drawn(panel)
        assert "NORM_CAP: 9 is more than 1" in text
        assert "2 KB" in text
        record.add("round", round=1, down=5)
        text = drawn(panel)
        assert "1/3" in text
        assert text.count("NORM_CAP") == 1
        record.close()
        begun(hosted, "second").close()
        text = drawn(panel)
        assert "run second" in text
        assert "NORM_CAP" not in text
        assert "run first" in drawn(panels.Panel(asked, "first"))


def test_it_stays_while_the_host_is_away(hosted: HostFolder) -> None:
    out, looks = io.StringIO(), iter([False, False, True])
    console = Console(file=out, width=100, force_terminal=True)
    with status(hosted) as asked:
        panel = panels.Panel(asked)

        def away(_: float) -> None:
            panel.picture = gone  # type: ignore[method-assign]

        def gone() -> Group:
            raise FedeltaError("nobody answers")

        panels.watch(panel, console, lambda: next(looks), away)
    assert "nobody yet" in out.getvalue()
    assert "nobody answers; looking again" in out.getvalue()
