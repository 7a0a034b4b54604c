"""A finished run opened again: its versions, and the replies of a round, to look at."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...aggregators.base import Key
from ...aggregators.solos import solo
from ...aggregators.spaces import Arrival, Merged
from ...protocols.vectors import Floats
from .. import averages, environments
from ..arrivals import Arrivals
from ..mergers import Merger
from ..recordings import Recording, bring, updates
from ..records import Record
from ..releases import opened, rules_for
from ..sessions import Session
from ..versions import Update

if TYPE_CHECKING:
    from ...client.data import Examples


@dataclass(frozen=True, slots=True)
class Round:
    """One round's replies, with the model that they were trained from in the session.

    Attributes:
        number: the round.
        arrivals: its replies, in name order.
        merge: merges some of them, by the run's recipe or another.
        space: the space that is merged in.
        key: the run and round.
    """

    number: int
    arrivals: Sequence[Arrival]
    merge: Merger
    space: str
    key: Key

    @property
    def names(self) -> list[str]:
        """Whose replies they are."""
        return [one.name for one in self.arrivals]

    def merged(self, names: Sequence[str] = (), text: str = "") -> Merged:
        """Some clients' replies merged; all of them where none is named."""
        some = [one for one in self.arrivals if not names or one.name in names]
        return self.merge(some, text)

    def solo(self, name: str) -> dict[str, Floats]:
        """One client's own update."""
        (own,) = (one for one in self.arrivals if one.name == name)
        return solo(own, self.space, self.key)


@dataclass(frozen=True, slots=True)
class Revisit:
    """A finished run.

    Attributes:
        tape: what it left behind.
        session: its session, at whatever version was asked for last.
        versions: its updates, oldest first.
    """

    tape: Recording
    session: Session
    versions: Sequence[Update]

    def at(self, number: int) -> Session:
        """The session with the model as it was after a round; 0: the base."""
        bring(self.session, self.versions[:number])
        return self.session

    def kept(self) -> Session:
        """The session with the model that the run wrote out."""
        last, kept = len(self.versions), self.tape.summary.get("kept", {})
        session = self.at(int(kept.get("round", last)))
        session.round = max(self.tape.manifests)
        session.states = {
            name: self.tape.journal.read_state(session.round, name)
            for name in self.tape.last["states"]
        }
        averages.hand_out(session)
        return session

    @contextmanager
    def round(self, number: int) -> Iterator[Round]:
        """A round's replies; the session is at the model before it."""
        session, tape = self.at(number - 1), self.tape
        session.states = {}
        names = tape.manifests[number]["accepted"]
        asked = [session.roster[name] for name in names]
        rules = rules_for(session, asked, number, tape.journal.since(number))
        arrivals = Arrivals(number, asked, rules, tape.journal, session.record)
        with opened(session, arrivals) as found:
            yield Round(
                number,
                found,
                Merger(session, arrivals),
                "full" if tape.config.train.mode == "full" else tape.config.lora.space,
                Key(session.run, number),
            )

    def judging(self, client: str) -> "Examples":
        """What a client's task is judged on: what it keeps for it, or its domain's.

        A causal LM's client of a domain's name has that domain's part of the test set.
        """
        task = self.tape.task
        held = task.split(client)[1] if len(task.clients[client]) else task.test.take(
            task.test.labels[:0]
        )  # fmt: skip
        if len(held) or client not in task.labels:
            return held
        own = task.labels.index(client)
        return task.test.take((task.test.labels == own).nonzero()[0])


@contextmanager
def revisited(folder: Path) -> Iterator[Revisit]:
    """Open a finished run.

    Raises:
        ConfigError: the folder holds no finished run.
        CheckpointError: what is on disk is not what the run merged.
    """
    from ...client.models import load_base

    environments.prepare()
    tape = Recording.read(Path(folder))
    base = load_base(tape.config, tape.task.labels)
    with tempfile.TemporaryDirectory() as there:
        path = Path(there) / "record.jsonl"
        with closing(Record(path)) as record:
            session = tape.session(base, tape.config, record)
            yield Revisit(tape, session, updates(session, tape))
