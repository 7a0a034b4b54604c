"""What a payload says of itself, and what a receiver holds it against."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from .errors import ConfigError
from .refusals import Reason, refuse
from .vectors import Layout
from .wires import AUTO, Wire, wire

VERSIONS = ("1", "2")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,19}")
_SEEDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Header:
    """What a payload says of itself.

    Attributes:
        run: the run's id.
        round: counted from 1.
        client: who sends it, by roster name.
        base: digest of the model version that the change is against.
        layout: fingerprint of the layout.
        recipe: the merge that it is for, as text.
        seed: what masks are drawn from.
        weight: how much the sender counts: its number of examples.
        wire: the format, as canonical text; `encode` fills it in.
    """

    run: str
    round: int
    client: str
    base: str
    layout: str
    recipe: str = ""
    seed: int = 0
    weight: int = 1
    wire: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a receiver expects of a payload.

    Attributes:
        layout: the tensors it has.
        run: the run's id.
        round: the round that is on.
        base: digest of the model version of this round.
        wire: the format that was asked for; empty or "auto": any.
        client: who was asked; empty: anyone.
        recipe: the merge that was announced; empty: any.
        seed: the seed that was agreed; None: any.
        max_bytes: the largest payload; 0: what its layout can need.
        norm_cap: the largest L2 norm; 0: any.
        max_weight: the largest weight.
    """

    layout: Layout
    run: str
    round: int
    base: str
    wire: str = ""
    client: str = ""
    recipe: str = ""
    seed: int | None = None
    max_bytes: int = 0
    norm_cap: float = 0.0
    max_weight: int = 1 << 31

    @property
    def limit(self) -> int:
        """The most bytes that a payload may have."""
        needed = 5 * self.layout.size + 64 * len(self.layout.spans)
        return self.max_bytes or needed + len(self.layout.names) + (1 << 17)


def metadata(header: Header, kept: int, version: int, layout: Layout) -> dict[str, str]:
    """A header as the texts of a container; from version 2 on with the layout's counts.

    So that what is in a file can be told without its layout.
    """
    texts = {name: str(value) for name, value in asdict(header).items()}
    said = {"format": "fedelta.payload", "version": str(version), "kept": str(kept)}
    return texts | said | (_counts(layout) if version > 1 else {})


def _counts(layout: Layout) -> dict[str, str]:
    spans, chunks = len(layout.spans), len(layout.chunks)
    return {"size": str(layout.size), "spans": str(spans), "chunks": str(chunks)}


_PLAIN = {one.name for one in fields(Header)} | {"format", "version", "kept"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a payload says beside its header.

    Attributes:
        wire: its format.
        kept: how many values it has.
        version: how its tables are written.
    """

    wire: Wire
    kept: int
    version: int


def admitted(texts: Mapping[str, str], context: Context) -> tuple[Header, Told]:
    """The header of a container that is what the receiver expects.

    Returns:
        The header, and what is said beside it.

    Raises:
        RefusedError: with the first thing that is otherwise.
    """
    version = texts.get("version")
    if texts.get("format") != "fedelta.payload" or version not in VERSIONS:
        refuse(Reason.BAD_VERSION, "not a fedelta.payload of version 1 or 2")
    counts = _counts(context.layout) if version != "1" else {}
    if texts.keys() != _PLAIN | counts.keys():
        refuse(Reason.BAD_HEADER, "other fields than a payload has")
    header = Header(
        run=texts["run"],
        round=_number(texts["round"], Reason.BAD_HEADER),
        client=texts["client"],
        base=texts["base"],
        layout=texts["layout"],
        recipe=texts["recipe"],
        seed=_number(texts["seed"], Reason.BAD_HEADER),
        weight=_number(texts["weight"], Reason.BAD_WEIGHT),
        wire=texts["wire"],
    )
    _compare(header, context)
    if any(texts[name] != count for name, count in counts.items()):
        refuse(Reason.WRONG_SCHEMA, "other counts than its layout has")
    kept = _number(texts["kept"], Reason.BAD_HEADER)
    told = Told(_wire(header, context), kept, int(version))
    if told.version > 1 and told.wire.places in ("all", "seeded"):
        refuse(Reason.BAD_VERSION, "its tables are those of version 1")
    if told.version == 1 and told.wire.places == "mixed":
        refuse(Reason.BAD_VERSION, "its tables are those of version 2")
    return header, told


def _number(text: str, reason: Reason) -> int:
    if not _WHOLE.fullmatch(text) or int(text) >= _SEEDS:
        refuse(reason, f"{text[:40]!r} is no whole number")
    return int(text)


def _compare(header: Header, context: Context) -> None:
    if header.run != context.run:
        refuse(Reason.WRONG_RUN, f"of run {header.run[:40]!r}")
    if header.round != context.round:
        stale = header.round < context.round
        reason = Reason.STALE_ROUND if stale else Reason.WRONG_ROUND
        refuse(reason, f"of round {header.round}, this is {context.round}")
    if context.client and header.client != context.client:
        refuse(Reason.WRONG_CLIENT, f"signed by {header.client[:40]!r}")
    if header.base != context.base:
        refuse(Reason.WRONG_BASE, f"against model {header.base[:16]!r}")
    if header.layout != context.layout.fingerprint:
        refuse(Reason.WRONG_SCHEMA, "another layout: rank, targets or shapes differ")
    if context.recipe and header.recipe != context.recipe:
        refuse(Reason.WRONG_SCHEMA, f"for recipe {header.recipe[:40]!r}")
    if context.seed is not None and header.seed != context.seed:
        refuse(Reason.WRONG_SCHEMA, "drawn from another seed")
    if not 1 <= header.weight <= context.max_weight:
        refuse(Reason.BAD_WEIGHT, f"{header.weight} is not 1 to {context.max_weight}")


def _wire(header: Header, context: Context) -> Wire:
    try:
        found = wire(header.wire)
    except ConfigError:
        refuse(Reason.WRONG_SCHEMA, f"unknown format {header.wire[:40]!r}")
    if str(found) != header.wire:
        refuse(Reason.WRONG_SCHEMA, "the format's text is not canonical")
    if found.name == AUTO:
        refuse(Reason.WRONG_SCHEMA, "auto is no format of a payload")
    if context.wire not in ("", AUTO) and found != wire(context.wire):
        refuse(Reason.WRONG_SCHEMA, f"format {header.wire!r} was not asked for")
    return found
