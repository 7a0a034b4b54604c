"""/metrics for Prometheus: what run folders and the kernel say, asked anew each time.

Nothing is counted here that is not in a run's record, so that a restart loses nothing.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ... import __version__
from ...client.joins.runtimes import UP, state_of
from ...protocols.errors import ConfigError
from ..holders import holder, memory
from ..serving import serving, told
from . import certificates, ledgers
from .folders import HostFolder
from .meters import Meter

LOG = logging.getLogger("fedelta.host")
RUNS = 20
"""Runs that are told of: the newest."""
LABELLED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "members": ("Institutions on the roster, by state.", ("state",)),
    "process_up": ("Whether a process of `fedelta host up` lives.", ("process",)),
    "process_resident_bytes": ("Its memory.", ("process",)),
    "certificate_days": ("Days until a certificate ends.", ("certificate",)),
    "disk_free_bytes": ("Room where run folders are.", ()),
    "run_up": ("Whether a process works on the run.", ("run",)),
    "run_finished": ("Whether the run has its summary.", ("run",)),
    "run_resident_bytes": ("Memory of the run's server process.", ("run",)),
    "run_peak_bytes": ("Its highest so far.", ("run",)),
    "rounds_planned": ("Rounds that the run will have.", ("run",)),
    "last_round_seconds": ("Seconds of the last round by phase.", ("run", "phase")),
    "reply_seconds": ("Seconds to a client's last reply.", ("run", "client")),
    "evaluation": ("The last evaluation.", ("run", "metric", "where")),
}
"""Gauges: help and labels by name; all names begin with fedelta_."""
COUNTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "process_restarts": ("How often a process was started again.", ("process",)),
    "rounds": ("Rounds that are done.", ("run",)),
    "replies": ("Replies by client and verdict.", ("run", "client", "state")),
    "refusals": (
        "Of replies and enrolments, by reason.",
        ("run", "reason"),
    ),
    "bytes": ("Bytes as the transport had them.", ("run", "direction")),
    "dense_bytes": ("What was merged, as dense float32.", ("run",)),
    "phase_seconds": ("Seconds of the rounds by phase.", ("run", "phase")),
}
"""Counters, which end in _total."""

Samples = dict[str, dict[tuple[str, ...], float]]


class Exporter:
    """What Prometheus's client asks for all families.

    Args:
        folder: the host's.
        members: each institution's state by name.
    """

    def __init__(
        self, folder: HostFolder, members: Callable[[], Mapping[str, str]]
    ) -> None:
        self._folder = folder
        self._members = members
        self._meters: dict[str, Meter] = {}

    def collect(self) -> Iterator[Metric]:
        """All families, as things are now."""
        info = GaugeMetricFamily(
            "fedelta_info", "Version and name.", labels=("version", "federation")
        )
        info.add_metric((__version__, self._folder.settings.host.name), 1)
        yield info
        found: Samples = {name: {} for name in (*LABELLED, *COUNTED)}
        self._host(found)
        for run in ledgers.runs(self._folder.runs)[:RUNS]:
            self._run(found, run)
        for name, (said, labels) in LABELLED.items():
            gauge = GaugeMetricFamily(f"fedelta_{name}", said, labels=labels)
            yield _filled(gauge, found[name])
        for name, (said, labels) in COUNTED.items():
            counter = CounterMetricFamily(f"fedelta_{name}", said, labels=labels)
            yield _filled(counter, found[name])

    def _host(self, found: Samples) -> None:
        states = Counter(self._members().values())
        found["members"] = {(state,): count for state, count in states.items()}
        pids = {"host": {"pid": 0, "restarts": 0}}
        up = state_of(self._folder.state / UP)
        pids["host"]["pid"] = up["pid"]
        for name, one in (pids | up["services"]).items():
            found["process_up"][name,] = float(one["pid"] > 0)
            found["process_restarts"][name,] = one["restarts"]
            if held := memory(one["pid"]) if one["pid"] else {}:
                found["process_resident_bytes"][name,] = held["resident"]
        for name in ("ca", "server", "coordinator"):
            pem = (self._folder.keys / f"{name}.pem").read_bytes()
            found["certificate_days"][name,] = certificates.days_left(pem)
        found["disk_free_bytes"][()] = shutil.disk_usage(self._folder.runs).free

    def _run(self, found: Samples, run: ledgers.RunFolder) -> None:
        meter = self._meters.setdefault(run.name, Meter(run)).read()
        name, pid = run.name, holder(run.path)
        held = memory(pid) if pid else {}
        found["run_up"][name,] = float(pid > 0)
        found["run_finished"][name,] = float((run.path / "summary.json").exists())
        for what in held.keys() & {"resident", "peak"}:
            found[f"run_{what}_bytes"][name,] = held[what]
        found["rounds_planned"][name,] = meter.planned
        found["rounds"][name,] = meter.rounds
        found["dense_bytes"][name,] = meter.bytes["dense"]
        for direction in ("up", "down"):
            found["bytes"][name, direction] = meter.bytes[direction]
        pairs: Iterable[tuple[str, Mapping[Any, float]]] = (
            ("replies", meter.replies),
            ("refusals", meter.refusals),
            ("phase_seconds", meter.phases),
            ("last_round_seconds", meter.last),
            ("reply_seconds", meter.seconds),
            ("evaluation", meter.values),
        )
        for what, values in pairs:
            for key, number in values.items():
                labels = key if isinstance(key, tuple) else (key,)
                found[what][name, *labels] = number


def _filled(family: Any, samples: Mapping[tuple[str, ...], float]) -> Metric:
    for labels, value in samples.items():
        family.add_metric(labels, value)
    found: Metric = family
    return found


@contextmanager
def exporting(
    folder: HostFolder, members: Callable[[], Mapping[str, str]]
) -> Iterator[int]:
    """Serve /metrics until the block ends; where its port is taken, say so and go on.

    Yields:
        The port; 0: there is none.
    """
    inside = folder.settings.inside
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exporter(folder, members))
    metrics = make_wsgi_app(registry, disable_compression=True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] != "/metrics":
            return told(start_response, "404 Not Found", "there is /metrics\n")
        return metrics(environ, start_response)

    with ExitStack() as stack:
        port = 0
        if inside.metrics_port:
            site = serving(app, inside.metrics_listen, inside.metrics_port)
            try:
                port = stack.enter_context(site)
            except ConfigError as error:
                LOG.warning("no /metrics: %s; see [inside] in host.toml", error)
        yield port
