"""Memory that a run will take, on each side, part by part."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...client.data import Examples, Task
from ...client.masters import SPILLED
from ...client.outlines import CAUSAL, Outline
from ...protocols.settings import Config

JUDGED = {CAUSAL: 16, "classification": 64}
"""Rows that are judged at once."""
SAMPLE = 256
"""Texts whose tokens are counted."""
_REAL = 4


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a process holds at most.

    Attributes:
        process: Python, its libraries and the data.
        weights: the model's.
        masters: float32 copies of what updates touch, and the way back.
        working: what training or judging holds at its worst moment.
        updates: replies and updates, as they are read and written.
    """

    process: int
    weights: int
    masters: int
    working: int
    updates: int

    @property
    def total(self) -> int:
        """All of it."""
        parts: Mapping[str, int] = asdict(self)
        return sum(parts.values())


@dataclass(frozen=True, slots=True)
class Rows:
    """How long the rows of a step are, in tokens.

    Attributes:
        longest: the longest.
        usual: the mean of a batch's longest.
    """

    longest: int
    usual: float


def rows(config: Config, task: Task, client: str) -> Rows:
    """How long a client's rows are; as long as they may be, where they are not here."""
    import transformers

    from ...client.loading import place, quiet

    most = config.train.max_length
    own: Examples = task.clients[client]
    if not len(own) or config.train.packing:
        return Rows(most, float(most))
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(place(config.model))
    texts = list(own.texts[:SAMPLE])
    lengths = [min(most, len(one)) for one in tokenizer(texts)["input_ids"]]
    size = max(1, min(config.train.micro_batch or config.train.batch, len(own)))
    heads = [max(lengths[at : at + size]) for at in range(0, len(lengths), size)]
    return Rows(max(lengths), sum(heads) / len(heads))


def words(config: Config, task: Task) -> int:
    """How many different tokens the clients' texts have, of so many of each's texts."""
    import transformers

    from ...client.loading import place, quiet

    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(place(config.model))
    found: set[int] = set()
    for own in task.clients.values():
        some = list(own.texts[: 8 * SAMPLE])
        found.update(*tokenizer(some)["input_ids"] if some else ())
    return len(found)


def of_client(
    outline: Outline, config: Config, floor: int, lengths: Rows, held: int
) -> Footprint:
    """A client's process.

    Args:
        outline: the run's model.
        config: as the client sees it.
        floor: what the process holds without a model.
        lengths: of its rows.
        held: how many examples it keeps for validation.
    """
    batch = config.train.micro_batch or config.train.batch
    step = outline.training(batch, lengths.longest)
    trained = outline.trained(config)
    optimiser = 2 if config.train.optimizer == "adamw" else 0
    peak = step.peak
    if config.train.checkpointing:
        peak = _spared(outline, config, lengths, peak)
    working = peak + _REAL * trained * (1 + optimiser)
    if config.eval.where in ("clients", "both") and held:
        working = max(working, _judging(outline, lengths.longest, held))
    return Footprint(
        floor,
        weights(outline),
        masters(outline),
        working,
        3 * _REAL * outline.reply(config).size,
    )


def of_server(outline: Outline, floor: int, replies: int, test: int) -> Footprint:
    """The server's process.

    Args:
        outline: the run's model.
        floor: what the process holds without a model.
        replies: bytes of a round's replies.
        test: how many test examples there are.
    """
    config = outline.config
    judging = 0
    if test and config.eval.where in ("server", "both"):
        judging = _judging(outline, config.train.max_length, test)
    update = _REAL * outline.update().size
    widest = max((wide * deep for wide, deep in outline.targets.values()), default=0)
    return Footprint(
        floor,
        weights(outline),
        masters(outline),
        judging,
        replies + 4 * update + 4 * _REAL * widest,
    )


def weights(outline: Outline) -> int:
    """Bytes of a model's weights, as they lie in memory while it is read: float32."""
    return _REAL * outline.parameters


def masters(outline: Outline) -> int:
    """Bytes of what updates are added to, and of the way back where it is in memory.

    Weights that updates touch are taken out of their file's mapping, which stays.
    """
    taken = _REAL * outline.touched
    return taken if taken > SPILLED else 2 * taken


def _judging(outline: Outline, tokens: int, examples: int) -> int:
    size = min(JUDGED[outline.config.model.task], examples)
    return outline.judging(size, tokens).peak


def _spared(outline: Outline, config: Config, lengths: Rows, peak: int) -> int:
    """With activations computed again: a layer's, and what goes into each layer."""
    described: Any = outline.body.config
    layers = int(getattr(described, "num_hidden_layers", 1) or 1)
    wide = int(getattr(described, "hidden_size", 0))
    batch = config.train.micro_batch or config.train.batch
    tokens = batch * lengths.longest
    forward = outline.judging(batch, lengths.longest).peak
    kept = tokens * wide * layers * _REAL
    return min(peak, max(forward, peak // layers) + kept)
