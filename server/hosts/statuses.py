"""The status service: ``python -m fedelta.server.hosts.statuses DIR``.

It reads run folders and the roster and writes nothing. Callers show a certificate of
the federation's CA; what they see depends on who they are.
"""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ... import __version__
from ...client import logs
from ...client.joins.runtimes import UP, state_of, stopping
from ...protocols import digests
from ...protocols.errors import ConfigError, FedeltaError
from ...protocols.status import status_pb2 as messages
from ...protocols.status import wires
from . import controls, ledgers, rosters
from .callers import Callers
from .exporters import exporting
from .folders import HostFolder

WORKERS, STREAMS = 32, 24
"""Threads, and how many of them may be held by streams."""
TICK, LONGEST_WATCH = 0.5, 3600.0
"""Seconds between looks at a record, and how long one call may watch."""


class Statuses:
    """Answers the status service's questions.

    Args:
        folder: the host's.
    """

    def __init__(self, folder: HostFolder) -> None:
        self._folder = folder
        self._callers = Callers(folder)
        self._streams = threading.Semaphore(STREAMS)
        self.ending = threading.Event()

    def overview(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """The federation now."""
        caller = self._callers.name(context)
        reply = messages.OverviewReply(
            federation=self._folder.settings.host.name,
            caller=caller or "coordinator",
            version=__version__,
            runs=[ledgers.describe(run) for run in ledgers.runs(self._folder.runs)],
        )
        reply.members.extend(
            messages.Member(name=name, state=state)
            for name, state in self.members().items()
            if caller in (None, name)
        )
        if caller is None:
            reply.processes.extend(self._processes())
        return reply

    def watch(self, request: Any, context: Any) -> Iterator[Any]:
        """A run's record from a line on, and what follows."""
        caller = self._callers.name(context)
        run = self._run(request.run, context)
        if not self._streams.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many are watching")
        try:
            yield from self._lines(run, request, caller, context)
        finally:
            self._streams.release()

    def verdicts(self, request: Any, context: Any) -> Any:
        """What became of the caller's contributions."""
        caller = self._callers.name(context)
        run = self._run(request.run, context)
        return ledgers.verdicts(run, caller or "")

    def releases(self, request: Any, context: Any) -> Any:
        """What a run has released."""
        self._callers.name(context)
        return ledgers.releases(self._run(request.run, context))

    def settings(self, request: Any, context: Any) -> Any:
        """A run's configuration."""
        self._callers.name(context)
        run = self._run(request.run, context)
        text = (run.path / "config.json").read_text("utf-8")
        return messages.SettingsReply(run=run.name, json=text)

    def pull(self, request: Any, context: Any) -> Iterator[Any]:
        """The files of a released model, in chunks."""
        self._callers.name(context)
        run = self._run(request.run, context)
        try:
            paths = ledgers.model(run)
        except ConfigError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        for path in paths:
            yield from _chunks(path, path.relative_to(run.path / "model").as_posix())

    def _run(self, name: str, context: Any) -> ledgers.RunFolder:
        try:
            return ledgers.named(self._folder.runs, name)
        except ConfigError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise

    def _lines(
        self, run: ledgers.RunFolder, request: Any, caller: str | None, context: Any
    ) -> Iterator[Any]:
        place, waited = int(request.place), 0.0
        while context.is_active() and not self.ending.is_set():
            lines = run.lines()
            for number, line in enumerate(lines[place:], place + 1):
                if ledgers.visible(line, caller):
                    text = json.dumps(line, separators=(",", ":"))
                    yield messages.Event(place=number, kind=line["kind"], json=text)
            place = max(place, len(lines))
            if not request.follow or waited >= LONGEST_WATCH:
                return
            self.ending.wait(TICK)
            waited += TICK

    def members(self) -> dict[str, str]:
        """Each institution's state by name; online or not where SuperLink answers."""
        states = {
            one.name: "revoked" if one.revoked else "admitted"
            for one in rosters.read(self._folder.roster)
        }
        try:
            there = controls.nodes(self._folder)
        except FedeltaError:
            return states
        return states | {name: one for name, one in there.items() if name in states}

    def _processes(self) -> Iterator[Any]:
        found = state_of(self._folder.state / UP)["services"]
        for name, one in found.items():
            yield messages.Process(name=name, pid=one["pid"], restarts=one["restarts"])


def _chunks(path: Path, name: str) -> Iterator[Any]:
    size = path.stat().st_size
    digest = digests.of_bytes(path.read_bytes())
    with path.open("rb") as file:
        while True:
            data = file.read(wires.CHUNK)
            last = file.tell() >= size
            yield messages.Chunk(
                path=name, size=size, data=data, digest=digest if last else ""
            )
            if last:
                return


def serve(folder: HostFolder) -> tuple[Any, Statuses]:
    """Start the service; the gRPC server and what answers.

    Raises:
        ConfigError: its port is taken.
    """
    service = Statuses(folder)
    server = grpc.server(
        ThreadPoolExecutor(WORKERS), options=wires.SERVER_OPTIONS, handlers=()
    )
    server.add_generic_rpc_handlers((wires.handlers(service),))
    healthy = health.HealthServicer()
    healthy.set(wires.SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    host = folder.settings.host
    credentials = wires.server_credentials(
        folder.authority.read_bytes(),
        (folder.keys / "server.key").read_bytes(),
        (folder.keys / "server.pem").read_bytes(),
    )
    address = f"{host.listen}:{host.status_port}"
    try:
        server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: {error}") from error
    server.start()
    return server, service


def main(arguments: list[str]) -> None:
    """Serve a host's folder until SIGTERM."""
    folder = HostFolder.open(Path(arguments[0]))
    logs.begin()
    with stopping() as stop:
        server, service = serve(folder)
        with exporting(folder, service.members):
            while not stop():
                if not server.wait_for_termination(timeout=0.5):
                    return
        service.ending.set()
        server.stop(grace=2).wait()


if __name__ == "__main__":
    main(sys.argv[1:])
