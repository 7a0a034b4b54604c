"""What a run will cost, reckoned before anything is trained."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from ...client.data import Task, load
from ...client.outlines import Outline, outline
from ...protocols.settings import Config
from ...protocols.vectors import Layout
from ..rosters import Roster
from . import floors, footprints, promises, volumes
from .watches import Tell, unheard

UP, DOWN, BYTES, SECONDS, MEMORY, SERVER, EPSILON = (
    "up",
    "down",
    "bytes",
    "seconds",
    "memory",
    "server_memory",
    "epsilon",
)
GOALS = {
    BYTES: "bytes of all clients and rounds, both ways",
    UP: "bytes of one reply, the largest",
    DOWN: "bytes to one client a round, on average",
    SECONDS: "seconds a round",
    MEMORY: "bytes of a client's memory",
    SERVER: "bytes of the server's memory",
    EPSILON: "epsilon of all rounds, of whom it is largest for",
}


class Planner:
    """Plans of one run and of what it might be instead.

    Args:
        config: the run's; data and model are read as far as they are described.
        floor: bytes of a process without a model, and its 10^9 operations a second;
            None: measured.

    Raises:
        ConfigError: data or model that cannot be used.
    """

    def __init__(self, config: Config, floor: tuple[int, float] | None = None) -> None:
        self.config = config
        self.task: Task = load(config)
        self.floor = floor or floors.measured(config)
        self._rows: dict[str, footprints.Rows] = {}
        self._shapes: dict[str, Outline] = {}

    def plan(
        self, config: Config | None = None, tell: Tell = unheard
    ) -> dict[str, Any]:
        """What a run costs.

        Args:
            config: the run's, or a variant of it on the same data.
            tell: takes how many clients are reckoned, and of how many.

        Returns:
            By goal (`GOALS`) a number, None where epsilon is not known; "clients": by
            name what each sends and holds; "server"; "model"; "assumed": what was taken
            for granted.
        """
        chosen = config or self.config
        shape = self._shape(chosen)
        replies = {name: shape.reply(chosen.of(name)) for name in self.task.clients}
        sent = self._sent(chosen, shape, replies)
        clients = dict[str, dict[str, Any]]()
        for name in self.task.clients:
            tell(len(clients), len(replies))
            clients[name] = self._client(chosen, shape, name, sent[name])
        waiting = sum(one.reply for one in sent.values())
        server = footprints.of_server(
            shape, self.floor[0], waiting, len(self.task.test)
        )
        asked = sum(one.rounds for one in sent.values())
        down = sum(one.down for one in sent.values())
        rounds = {
            name: (len(self.task.split(name)[0]), sent[name].rounds)
            for name, own in self.task.clients.items()
            if len(own)
        }
        private = promises.privacy(chosen, rounds)
        return {
            BYTES: sum(one.up for one in sent.values()) + down,
            UP: max(one.reply for one in sent.values()),
            DOWN: round(down / max(1, asked)),
            SECONDS: max(one["seconds"] for one in clients.values()),
            MEMORY: max(one["memory"] for one in clients.values()),
            SERVER: server.total,
            EPSILON: (private or {}).get("epsilon"),
            "rounds": chosen.run.rounds,
            "clients": clients,
            "server": asdict(server),
            "model": {
                "parameters": shape.parameters,
                "touched": shape.touched,
                "trained": shape.trained(chosen),
                "update": shape.update().size,
            },
            "privacy": private,
            "secure": promises.secure(
                chosen, len(replies), max(one.size for one in replies.values())
            ),
            "assumed": {
                "line_up": chosen.plan.line_up,
                "line_down": chosen.plan.line_down,
                "gflops": chosen.plan.gflops or self.floor[1],
                "process": self.floor[0],
            },
        }

    def _shape(self, config: Config) -> Outline:
        """The model's outline, which variants of a run share with what it found."""
        key = repr((config.model, config.lora, config.train.mode, config.highest_rank))
        if key not in self._shapes:
            self._shapes[key] = outline(config, len(self.task.labels))
        return replace(self._shapes[key], config=config)

    def _sent(
        self, config: Config, shape: Outline, replies: Mapping[str, Layout]
    ) -> dict[str, volumes.Volume]:
        names = self.task.clients
        memory = {
            name: {"examples": len(self.task.split(name)[0])} if len(own) else
            {"examples": 1}
            for name, own in names.items()
        }  # fmt: skip
        roster = Roster.of(dict.fromkeys(names, 0), memory, config, self.task.regions)
        given = volumes.sizes(
            config, replies, shape.update(), shape.touched, self._idle(config, shape)
        )
        return volumes.followed(config, roster, given)

    def _idle(self, config: Config, shape: Outline) -> dict[str, float]:
        """By table of embeddings, the share of its rows that no text here reads."""
        tables = shape.tables()
        if not tables or not any(len(one) for one in self.task.clients.values()):
            return {}
        wide = config.train.max_length
        words = footprints.words(config, self.task)
        largest = max(tables.values())
        used = {n: words if rows == largest else wide for n, rows in tables.items()}
        return {n: max(0.0, 1 - used[n] / rows) for n, rows in tables.items()}

    def _client(
        self, config: Config, shape: Outline, name: str, sent: volumes.Volume
    ) -> dict[str, Any]:
        own = config.of(name)
        lengths = self._lengths(config, name)
        held = len(self.task.split(name)[1]) if len(self.task.clients[name]) else 0
        held_most = footprints.of_client(shape, own, self.floor[0], lengths, held)
        line = next((one for one in config.clients if one.name == name), None)
        up = (line and line.line_up) or config.plan.line_up
        down = (line and line.line_down) or config.plan.line_down
        gflops = (line and line.gflops) or config.plan.gflops or self.floor[1]
        size = config.train.micro_batch or config.train.batch
        step = shape.training(size, max(1, round(lengths.usual)))
        each = range(1, config.run.rounds + 1)
        steps = fmean(config.train.steps_in(n) for n in each)
        steps *= -(-config.train.batch // size)
        computing = step.flops * steps / (gflops * 1e9)
        rounds = max(1, sent.rounds)
        lines = 8 * sent.up / volumes.rate(up) + 8 * sent.down / volumes.rate(down)
        return {
            "up": sent.up,
            "down": sent.down,
            "reply": sent.reply,
            "rounds": sent.rounds,
            "computing": computing,
            "line": lines / rounds,
            "seconds": computing + lines / rounds,
            "memory": held_most.total,
            "parts": asdict(held_most),
        }

    def _lengths(self, config: Config, name: str) -> footprints.Rows:
        settings = config.train
        sized = (settings.max_length, settings.batch, settings.micro_batch)
        key = f"{name} {sized} {settings.packing}"
        if key not in self._rows:
            self._rows[key] = footprints.rows(config, self.task, name)
        return self._rows[key]
