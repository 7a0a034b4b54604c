"""The report of a run that goes on: as it is now, in a real browser, read only."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from fedelta.protocols import digests
from fedelta.protocols.errors import CheckpointError
from fedelta.server.broadcasts import Broadcast, broadcast, page
from fedelta.server.interims import Interim
from fedelta.server.journal import Journal
from fedelta.server.serving import LOOPBACK, serving
from tests import tiny

from .browsers import seen
from .folders import HOSTILE, made, record, summary


def write(folder: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "record.jsonl").write_text(text)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run in round 2, of which three replies are there, one of them refused."""
    made(tmp_path)
    (tmp_path / "summary.json").unlink()
    lines = [line for line in record() if line["kind"] != "asked"]
    place = [line.get("round") == 2 for line in lines].index(True)
    write(tmp_path, lines[: place + 4])
    journal = Journal(tmp_path)
    journal.hold()
    yield tmp_path
    journal.release()


def everything(folder: Path) -> dict[str, str]:
    return {
        str(path): digests.of_bytes(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_is_told_as_it_is_now(run: Path) -> None:
    text = page(Interim.read(run))
    assert "federated run, running" in text
    assert "Round 2 of 3" in text
    assert "4 of 8" in text
    assert "refused: NON_FINITE" in text
    assert text.count("awaited") == 4
    assert "54.8 %" in text  # round 1 was judged
    assert HOSTILE not in text


def test_before_the_first_evaluation_there_is_a_page(run: Path) -> None:
    write(run, record()[:1])
    text = page(Interim.read(run))
    assert "No evaluation is there yet" in text
    (run / "record.jsonl").unlink()
    assert "No evaluation is there yet" in page(Interim.read(run))


def test_a_stopped_run_says_how_to_go_on(run: Path, tmp_path: Path) -> None:
    interim = Interim(Interim.read(run).history, "stopped")
    assert "fedelta resume" in page(interim)


def test_a_finished_run_is_told_as_in_its_report(run: Path) -> None:
    (run / "summary.json").write_text(json.dumps(summary()))
    text = page(Interim.read(run))
    assert "<script" not in text
    assert "goes on" not in text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"), broadcast(tmp_path, 0):
        pass


def test_what_has_not_changed_is_not_sent_again(run: Path) -> None:
    now = [0.0]
    shown = Broadcast(run, lambda: now[0])
    first = shown.now()
    assert shown.now() is not None
    now[0] = 2.0
    assert shown.now()[1] is first[1]
    write(run, record()[:2])
    assert shown.now() == first, "it looks once a second"
    now[0] = 4.0
    tag, text = shown.now()
    assert tag != first[0]
    assert text != first[1]


def test_only_the_page_is_there_and_nothing_is_written(run: Path) -> None:
    before = everything(run)
    with broadcast(run, 0) as where:
        said = httpx.get(where)
        assert "script-src 'self'" in said.headers["Content-Security-Policy"]
        again = httpx.get(where, headers={"If-None-Match": said.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        for path in ("record.jsonl", "%2e%2e/config.json", "live.js/..%2f", "x"):
            assert httpx.get(where + path).status_code == 404
    assert everything(run) == before


def growing(run: Path, then: Callable[[], None]) -> Any:
    """The broadcast, to which something happens once it was asked for twice."""
    shown, asked = Broadcast(run), [0]

    def app(
        environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/":
            asked[0] += 1
            if asked[0] == 2:
                then()
                time.sleep(1.1)
        return shown(environ, start_response)

    return app


@pytest.mark.needs_chromium
def test_the_browser_follows_the_run(run: Path) -> None:
    def finish() -> None:
        write(run, record())

    with serving(growing(run, finish), LOOPBACK, 0) as port:
        text = seen(
            "--virtual-time-budget=9000", "--dump-dom", f"http://{LOOPBACK}:{port}/"
        )
    assert "Round 3 of 3" in text
    assert "60.7 %" in text
    assert "awaited" not in text
    assert "data-lost" not in text.split("</style>")[1]


@pytest.mark.needs_chromium
def test_it_can_be_seen(run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "live.png"
    with broadcast(run, 0) as where:
        seen("--window-size=1280,1600", f"--screenshot={picture}", where)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert tuple(pixels[0, 0]) == (0xF4, 0xF5, 0xF7)
    drawn = (pixels == np.array((0x1F, 0x57, 0xC3), np.uint8)).all(axis=2)
    assert drawn.sum() > 300


@pytest.mark.slow
def test_a_running_federation_is_shown_by_the_command(tmp_path: Path) -> None:
    out = tmp_path / "run"
    text = "\n".join(
        [
            f"[run]\nrounds = 2\nout = {json.dumps(str(out))}",
            f"[model]\nid = {json.dumps(str(tiny.model(tmp_path)))}",
            f"[data]\nsource = {json.dumps(str(tiny.data(tmp_path)))}\nclients = 4",
            "[train]\nsteps = 2\nbatch = 8\nmax_length = 24\n[lora]\nrank = 2",
        ]
    )
    (tmp_path / "run.toml").write_text(text)
    fedelta = [sys.executable, "-m", "fedelta.server.cli"]
    going = subprocess.Popen([*fedelta, "simulate", str(tmp_path / "run.toml"), "-q"])
    while not (out / "config.json").exists():
        assert going.poll() is None
        time.sleep(0.1)
    shown = subprocess.Popen(
        [*fedelta, "report", str(out), "--serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shown.stdout is not None
        (where,) = re.findall(r"http://127.0.0.1:\d+/", shown.stdout.readline())
        states = []
        while "finished" not in states:
            text = httpx.get(where, timeout=60).text
            states += re.findall(r"federated run, (\w+)", text)
            time.sleep(0.3)
        assert states[0] == "running"
    finally:
        shown.send_signal(signal.SIGTERM)
        shown.communicate(timeout=20)
        assert shown.returncode == 0
        assert going.wait(60) == 0
