"""/metrics: what a run's record says, and what the coordinator's machine is like."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fedelta.server import records
from fedelta.server.hosts import exporters
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.hosts.ledgers import RunFolder
from fedelta.server.hosts.meters import Meter
from tests import tiny
from tests.federations import federate, silent

from .federations import host
from .scrapes import Told, asked


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host with a finished run, to which one client sent nothing of use once."""
    root = tmp_path_factory.mktemp("metrics")
    folder = host(root / "host")
    config = tiny.config(
        root, run={"out": str(folder.runs / "first")}, round={"quorum": 0.5}
    )
    federate(config, {("client-01", 1): silent})
    return folder


@pytest.fixture(scope="module")
def told(hosted: HostFolder) -> Told:
    with exporters.exporting(hosted, lambda: {"a": "online", "b": "offline"}) as port:
        assert port == hosted.settings.inside.metrics_port
        return asked(port)


def lines(hosted: HostFolder, kind: str) -> list[records.Line]:
    found = records.read(hosted.runs / "first" / "record.jsonl")
    return [line for line in found if line["kind"] == kind]


def test_the_numbers_are_the_records(hosted: HostFolder, told: Told) -> None:
    summary = json.loads((hosted.runs / "first" / "summary.json").read_text())
    assert told["fedelta_rounds_total"]["first",] == summary["rounds"] == 2
    for direction in ("up", "down"):
        assert (
            told["fedelta_bytes_total"][direction, "first"]
            == (summary["bytes"][direction])
        )
    assert (
        told["fedelta_dense_bytes_total"]["first",]
        == (summary["bytes"]["up_dense_fp32"])
    )
    refusals = {key[0]: value for key, value in told["fedelta_refusals_total"].items()}
    assert refusals == summary["refused"]
    assert sum(told["fedelta_replies_total"].values()) == len(
        lines(hosted, "contribution")
    )
    merge = sum(line["phases"]["merge"] for line in lines(hosted, "round"))
    assert told["fedelta_phase_seconds_total"]["merge", "first"] == pytest.approx(merge)


def test_the_coordinator_is_told_of(told: Told) -> None:
    assert told["fedelta_members"] == {("online",): 1, ("offline",): 1}
    assert told["fedelta_process_up"]["host",] == 0
    assert told["fedelta_certificate_days"]["server",] > 800
    assert told["fedelta_run_up"]["first",] == 0
    assert told["fedelta_run_finished"]["first",] == 1
    assert told["fedelta_disk_free_bytes"][()] > 0


def test_there_is_no_other_page(hosted: HostFolder) -> None:
    with (
        exporters.exporting(hosted, dict) as port,
        pytest.raises(urllib.error.HTTPError, match="404"),
    ):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)


def test_a_taken_port_stops_nothing(
    hosted: HostFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with exporters.exporting(hosted, dict), exporters.exporting(hosted, dict) as second:
        assert second == 0
    assert "no /metrics" in caplog.text


def test_a_record_that_was_cut_back_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = records.Record(path)
    meter = Meter(RunFolder(tmp_path))
    record.add("contribution", round=1, client="a", verdict="accepted", bytes=5)
    kept = record.commit()
    assert meter.read().bytes["up"] == 5
    record.add("contribution", round=1, client="a", verdict="accepted", bytes=5)
    record.close()
    assert meter.read().bytes["up"] == 10
    record = records.Record(path, keep=kept)
    record.add("contribution", round=1, client="b", verdict="accepted", bytes=70)
    record.close()
    assert meter.read().replies == {("a", "accepted"): 1, ("b", "accepted"): 1}
    assert meter.read().bytes["up"] == 75
    path.write_bytes(path.read_bytes() + b'{"kind":"contr')
    assert meter.read().bytes["up"] == 75
