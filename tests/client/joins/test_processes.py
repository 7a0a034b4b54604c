"""Services come back when they die, and nothing of them stays."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedelta.client.joins.processes import Running, Service, Supervisor

SLEEP = "import time; print('here', flush=True); time.sleep(60)"


def python(name: str, code: str, **more: object) -> Service:
    return Service(name, [sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.split()[2] != "Z"


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_killed_service_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    seen: list[list[int]] = []

    def changed(running: Sequence[Running]) -> None:
        seen.append([one.process.pid if one.process else 0 for one in running])

    supervisor = Supervisor([python("one", SLEEP)], tmp_path, told.append, changed)
    stop = threading.Event()
    supervisor.start()
    watching = threading.Thread(target=supervisor.watch, args=(stop.is_set, 0.02))
    watching.start()
    try:
        first = supervisor.running[0].process
        assert first is not None
        log = tmp_path / "one.log"
        until(lambda: log.read_text().count("here") == 1)
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: "one was started again" in told)
        second = supervisor.running[0].process
        assert second is not None
        assert second.pid != first.pid
        until(lambda: log.read_text().count("here") == 2)
    finally:
        stop.set()
        watching.join()
        supervisor.end()
    assert not alive(second.pid)
    assert any("SIGKILL" in line for line in told)
    assert [0] in seen


def test_a_service_that_lost_its_helper_is_started_again(tmp_path: Path) -> None:
    """As a SuperNode whose SuperExec died: it lives, and answers nothing any more."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)',"
        " 'a-helper']);"
        f"open({str(note)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    told: list[str] = []
    supervisor = Supervisor(
        [python("one", code, helper="a-helper")], tmp_path, told.append
    )
    stop = threading.Event()
    supervisor.start()
    watching = threading.Thread(target=supervisor.watch, args=(stop.is_set, 0.02))
    watching.start()
    try:
        until(lambda: supervisor.running[0].helped and note.read_text() != "")
        first = int(note.read_text())
        os.kill(first, signal.SIGKILL)
        until(lambda: "one was started again" in told)
        until(lambda: note.read_text() not in ("", str(first)))
    finally:
        stop.set()
        watching.join()
        supervisor.end()
    assert "one has lost its a-helper" in told
    until(lambda: not alive(int(note.read_text())))  # whoever inherits it reaps it


def test_what_a_service_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(note)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    supervisor = Supervisor([python("one", code)], tmp_path, print)
    supervisor.start()
    until(lambda: note.exists() and note.read_text() != "")
    child = int(note.read_text())
    assert alive(child)
    supervisor.end()
    until(lambda: not alive(child))


def test_pauses_grow_and_are_bounded(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(
        [python("one", "raise SystemExit(3)")], tmp_path, told.append
    )
    stop_at = time.monotonic() + 2.5
    supervisor.start()
    supervisor.watch(lambda: time.monotonic() > stop_at, 0.02)
    supervisor.end()
    deaths = [line for line in told if "died (exit code 3)" in line]
    assert deaths[0].endswith("0.5 s")
    assert deaths[1].endswith("1 s")


def test_one_that_never_gets_ready_says_what_it_wrote(tmp_path: Path) -> None:
    service = python("one", "print('port taken'); raise SystemExit(1)", ready=bool)
    supervisor = Supervisor([service], tmp_path, print)
    with pytest.raises(TimeoutError, match="one ended at once: port taken"):
        supervisor.start()
    supervisor.end()


def test_services_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    code = (
        "from fedelta.client.joins.processes import Service, Supervisor\n"
        "from pathlib import Path; import sys, time\n"
        f"s = Service('one', [sys.executable, '-c', {SLEEP!r}])\n"
        f"v = Supervisor([s], Path({str(tmp_path)!r}), print); v.start()\n"
        "print(v.running[0].process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # "one is up"
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    until(lambda: not alive(child))
