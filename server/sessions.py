"""Everything that a run's server holds between rounds, opened anew or from disk."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..protocols.errors import CheckpointError
from ..protocols.settings import Config
from ..protocols.vectors import Floats, Layout, Pair
from . import provenances
from .journal import Arrays, Journal
from .records import Record
from .rosters import Roster
from .versions import Versions

if TYPE_CHECKING:
    from ..client.data import Task
    from ..client.models import Base
    from .flights import Flight


@dataclass(slots=True)
class Totals:
    """What a run has cost so far.

    Attributes:
        up: bytes received in training rounds.
        down: bytes sent in them.
        up_dense_fp32: what the replies would have taken as dense float32.
        refused: how often which reason was met.
        phases: seconds by phase.
    """

    up: int = 0
    down: int = 0
    up_dense_fp32: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    phases: dict[str, float] = field(default_factory=dict)

    def spend(self, phase: str, seconds: float) -> None:
        """Add to what a phase has taken."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def memory(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        return {
            "up": self.up,
            "down": self.down,
            "up_dense_fp32": self.up_dense_fp32,
            "refused": dict(self.refused),
            "phases": {name: round(one, 3) for name, one in self.phases.items()},
        }

    @classmethod
    def of(cls, memory: Mapping[str, Any]) -> "Totals":
        """Read `memory` back."""
        return cls(
            memory["up"],
            memory["down"],
            memory["up_dense_fp32"],
            Counter(memory["refused"]),
            dict(memory["phases"]),
        )


@dataclass(slots=True)
class Session:
    """A run in progress.

    Attributes:
        config: its settings.
        run: its id.
        task: its data, as far as the server reads it (names, test set).
        base: the base model, kept at the newest version. Where the server never
            computes with it (`evaluation.without_network`) it is its trunk alone.
        journal: what it keeps on disk.
        record: what it tells.
        roster: who takes part.
        model: the global model.
        totals: what it has cost.
        metrics: by round, what evaluations found.
        states: what is carried from one merge to the next, by kind.
        round: the last committed round.
        flights: by client, the question of an earlier round that it is still at.
    """

    config: Config
    run: str
    task: "Task"
    base: "Base"
    journal: Journal
    record: Record
    roster: Roster
    model: Versions
    totals: Totals = field(default_factory=Totals)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    states: Mapping[str, Arrays] = field(default_factory=dict)
    round: int = 0
    flights: "dict[str, Flight]" = field(default_factory=dict)

    def layout(self, client: str) -> Layout:
        """The tensors of a client's reply."""
        return self.base.layout(self.config.of(client))

    def pairs(self, client: str) -> tuple[Pair, ...]:
        """The low-rank pairs of a client's reply."""
        return self.base.pairs(self.config.of(client))

    def start(self, client: str, number: int) -> dict[str, Floats]:
        """Where a client's factors start in a round, by name."""
        from ..client.starts import run_key

        return self.base.start(self.config.of(client), run_key(self.config), number)

    def commit(self, number: int, **more: Any) -> None:
        """Make everything up to a round last; the manifest is the commit point."""
        self.states = self.journal.write_state(number, self.states)
        manifest = {
            "run": self.run,
            "base": self.model.base,
            "model_digest": self.model.digest,
            "updates": [one.digest for one in self.model.updates],
            "states": sorted(self.states),
            "roster": self.roster.memory(),
            "totals": self.totals.memory(),
            "metrics": {str(key): one for key, one in self.metrics.items()},
            "seconds": round(self.record.seconds, 3),
            "record": self.record.commit(),
        }
        manifest["provenance"] = self._prove(number)
        self.journal.commit(number, manifest | more)
        self.round = number

    def _prove(self, number: int) -> Any:
        """Write the round's signed line; what the manifest keeps of it."""
        folder, config = self.journal.folder, self.config
        last = self.journal.last() or {}
        uniform = config.merge.weights == "uniform"
        shares = {one.name: 1 if uniform else one.weight for one in self.roster}
        newest = self.model.updates[-1].digest if self.model.updates else ""
        said = {
            "run": self.run,
            "round": number,
            "base": self.model.base,
            "model": self.model.digest,
            "update": newest if number else "",
            "recipe": config.merge.recipe,
            "space": config.lora.space,
            "seed": config.run.seed,
            "contributions": provenances.contributions(
                self.record.path, int(last.get("record", 0)), shares
            ),
            "ledger": provenances.ledger(folder),
        }
        return provenances.extend(folder, said, last.get("provenance", {}))

    def restore(self, manifest: Mapping[str, Any]) -> None:
        """Bring the model and what is carried to a committed round.

        Raises:
            CheckpointError: the run is another one, or what is on disk does not lead
                to the model that was committed.
        """
        from .releases import read_update

        if manifest["run"] != self.run:
            raise CheckpointError("config.json was changed since the run began")
        self.round = int(manifest["round"])
        for version, digest in enumerate(manifest["updates"], 1):
            update = read_update(self, version, digest)
            self.model.add(update)
        self.totals = Totals.of(manifest["totals"])
        self.metrics = {int(key): one for key, one in manifest["metrics"].items()}
        kept = manifest["states"]
        self.states = {n: self.journal.read_state(self.round, n) for n in kept}
        if self.model.digest != manifest["model_digest"]:
            raise CheckpointError(
                f"{self.journal.folder}: the updates do not lead to the model that "
                f"round {self.round} committed"
            )
