"""A run's committed rounds, read back: its versions and the replies sealed in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.data import Task, load
from ..protocols.errors import CheckpointError, ConfigError
from ..protocols.settings import Config
from . import files
from .journal import Journal
from .records import Record
from .releases import read_update
from .rosters import Roster
from .runs import config_from_json, run_id
from .sessions import Session
from .versions import Update, Versions

if TYPE_CHECKING:
    from ..client.models import Base

CONFIG, SUMMARY = "config.json", "summary.json"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a run left behind.

    Attributes:
        folder: the run's.
        config: its settings; the folder is where it lies now.
        task: its data.
        journal: its sealed replies.
        manifests: of its committed rounds, by round; 0 is the base.
        summary: what `summary.json` holds.
    """

    folder: Path
    config: Config
    task: Task
    journal: Journal
    manifests: Mapping[int, Mapping[str, Any]]
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Recording":
        """Read a finished run's folder.

        Raises:
            ConfigError: the folder holds no finished run.
            CheckpointError: a file of it is broken.
        """
        if not (folder / CONFIG).exists():
            raise ConfigError(f"{folder} holds no run: there is no {CONFIG} in it")
        if not (folder / SUMMARY).exists():
            raise ConfigError(
                f"{folder}: the run is not finished: fedelta resume {folder}"
            )
        config = config_from_json(json.dumps(files.read_json(folder / CONFIG)))
        config = replace(config, run=replace(config.run, out=str(folder)))
        found = sorted((folder / "journal").glob("round-*/manifest.json"))
        manifests = {int(one["round"]): one for one in map(files.read_json, found)}
        return cls(
            folder,
            config,
            load(config),
            Journal(folder, config.journal.keep),
            manifests,
            files.read_json(folder / SUMMARY),
        )

    @property
    def last(self) -> Mapping[str, Any]:
        """The manifest of the last round."""
        return self.manifests[max(self.manifests)]

    def complete(self) -> list[int]:
        """The rounds whose replies are all there still (see ``journal.keep``).

        Raises:
            ConfigError: there is none.
            CheckpointError: a reply is not the one that was merged.
        """
        found = [number for number in sorted(self.manifests) if self._whole(number)]
        if not found:
            raise ConfigError(
                f"{self.folder} keeps no replies: run with journal.keep = "
                '"all" (or a number of rounds)'
            )
        return found

    def chosen(self, number: int = 0) -> int:
        """A round whose replies are kept: the one asked for; 0: the last one.

        Raises:
            ConfigError: the replies of that round are not kept.
        """
        whole = self.complete()
        found = number or whole[-1]
        if found not in whole:
            raise ConfigError(f"the replies of round {found} are not kept: {whole}")
        return found

    def session(self, base: "Base", config: Config, record: Record) -> Session:
        """The run's session as it was before round 1, with other settings.

        Args:
            base: the base model, at its own bytes.
            config: the settings to merge by.
            record: where lines go.

        Raises:
            CheckpointError: the base model is another one than the run's.
        """
        first = self.manifests.get(0)
        if first is None or first["base"] != base.digest:
            raise CheckpointError(f"{self.folder}: the run had another base model")
        nodes = dict.fromkeys(self.last["roster"], 0)
        roster = Roster.of(nodes, self.last["roster"], config, self.task.regions)
        model = Versions.of(base)
        run = run_id(self.config)
        return Session(
            config, run, self.task, base, self.journal, record, roster, model
        )

    def _whole(self, number: int) -> bool:
        merged = self.manifests[number].get("accepted")
        if not merged:
            return False
        sealed = self.journal.sealed(number)
        if any(sealed[n].note["digest"] != merged[n] for n in merged.keys() & sealed):
            raise CheckpointError(f"{self.folder}: round {number} was tampered with")
        return set(merged) <= sealed.keys()


def updates(session: Session, tape: Recording) -> list[Update]:
    """A run's own updates, oldest first; the session is left at the last one.

    Raises:
        CheckpointError: one is not there, or is another one.
    """
    bring(session, ())
    for version, digest in enumerate(tape.last["updates"], 1):
        session.model.add(read_update(session, version, digest))
    return list(session.model.updates)


def bring(session: Session, updates: Sequence[Update]) -> None:
    """Bring a session's model and base from wherever they are to base and updates."""
    session.base.reset()
    session.model = Versions.of(session.base)
    for update in updates:
        session.model.add(update)
