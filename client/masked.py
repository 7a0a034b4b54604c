"""A client's steps of a masked round, as messages ask for them.

A step's text is JSON with the "step" and what goes with it; bytes travel as blobs. The
contribution itself never leaves: what leaves is signed, sealed, or masked.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, RecordDict

from ..aggregators import agreements, portions, supports
from ..aggregators.agreements import Where
from ..aggregators.base import Key
from ..aggregators.fields import State
from ..aggregators.portions import Portioned
from ..protocols import dealings
from ..protocols.aborts import Abort, stop
from ..protocols.adverts import Advert
from ..protocols.errors import ConfigError
from ..protocols.messages import add_parcel, read_parcel
from ..protocols.plans import RUN, RoundPlan
from ..protocols.refusals import Refusal
from ..protocols.settings import Config
from ..protocols.terms import Terms, of_text
from ..protocols.vectors import Floats, TaskVector
from . import noises, sessions, signatures
from .maskers import Masker
from .veils import Veils

Blobs = Sequence[bytes]
Change = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client is when a step comes.

    Attributes:
        config: the run's, as this client runs it.
        name: the client's.
        home: its folder for the run.
        key: the file of its signing key.
        roster: the file of the pinned keys; None: what is seen first is pinned.
    """

    config: Config
    name: str
    home: Path
    key: Path
    roster: Path | None

    @classmethod
    def of(cls, content: RecordDict, context: Context) -> "Place":
        """From what the node's configuration says, without data or a model.

        Raises:
            AbortError: WRONG_STEP, the message is no step.
            ConfigError: the node names no client or folder.
        """
        config = sessions.settings(str(context.run_config.get("config")))
        given, name = context.node_config, context.node_config.get("client")
        if not isinstance(name, str):
            raise ConfigError("the node's configuration names no `client`")
        home = sessions.folder(given, str(asked(content)[0]["run"]))
        key, roster = given.get("signing"), given.get("roster")
        return cls(
            config.of(name),
            name,
            home,
            Path(str(key)) if key else home.parent / "signing.key",
            Path(str(roster)) if roster else None,
        )

    @property
    def veils(self) -> Veils:
        """What is kept of masked rounds."""
        return Veils(self.home)


def asked(content: RecordDict) -> tuple[dict[str, Any], list[bytes]]:
    """A step and its blobs.

    Raises:
        AbortError: WRONG_STEP, this is none.
    """
    found = read_parcel(content)
    if isinstance(found, Refusal):
        stop(Abort.WRONG_STEP, f"no step of a masked round: {found}")
    try:
        given = dict(json.loads(found[0]))
    except (ValueError, TypeError):
        stop(Abort.WRONG_STEP, "a step's text is no JSON")
    if not RUN.fullmatch(str(given.get("run"))):  # it names a folder
        stop(Abort.WRONG_STEP, "a step names its run")
    return given, found[1]


def answer(content: RecordDict, place: Place) -> RecordDict:
    """Take one of the steps that need no training.

    Raises:
        AbortError: by name, why it is not taken.
    """
    given, blobs = asked(content)
    steps: dict[str, Callable[..., tuple[dict[str, Any], list[bytes]]]] = {
        "advert": _advert,
        "shares": _shares,
        "values": _values,
        "unmask": _unmask,
    }
    step = steps.get(str(given.get("step")))
    if step is None:
        stop(Abort.WRONG_STEP, f"allowed: {', '.join(steps)}")
    try:
        text, sent = step(given, blobs, place)
    except (KeyError, TypeError, ValueError) as error:
        stop(Abort.WRONG_STEP, f"a step without what belongs to it ({error!r})")
    return add_parcel(RecordDict(), json.dumps(text), sent)


def contribute(
    content: RecordDict, plan: RoundPlan, place: Place, change: Change
) -> RecordDict:
    """Send what training changed, under masks: values, or counts of who is where.

    Args:
        content: the message, with the shares that others dealt.
        plan: what the round asks for.
        place: where this client is.
        change: by name, in the plan's layout.

    Raises:
        AbortError: by name, why nothing is sent.
    """
    given, blobs = asked(content)
    masker = place.veils.read(plan.run, plan.round, str(given.get("attempt")))
    terms = masker.terms
    if (terms.base, terms.layout) != (plan.base, plan.layout):
        stop(Abort.WRONG_TERMS, "the plan is for another model than the terms are")
    dealers = [str(one) for one in given["dealers"]]
    size = dealings.size_of_seal(terms.passes)
    cut = [blobs[0][at : at + size] for at in range(0, len(blobs[0]), size)]
    if len(cut) != len(dealers):
        stop(Abort.BAD_SEAL, f"{len(cut)} sealed bundles of {len(dealers)} dealers")
    masker.hold(dict(zip(dealers, cut, strict=True)), given["commitments"])
    values = _contribution(terms, change, blobs[1:], place)
    state, share = portions.state(terms), terms.share(place.name)
    numbers = state.written(values, share)  # out of bounds: told before anything goes
    if isinstance(state, Portioned):
        numbers = state.noised(numbers, noises.source(terms, numbers, place.home))
    lanes = state.values
    if terms.passes > 1:
        place.veils.keep_values(terms.round, values)
        numbers, lanes = state.standing(values), state.counts
    words = masker.mask(0, lanes.pack(numbers, share))
    place.veils.keep(masker)
    return add_parcel(RecordDict(), json.dumps({"step": "input"}), [words.tobytes()])


def _contribution(terms: Terms, change: Change, blobs: Blobs, place: Place) -> Floats:
    """[k] the values that are summed, where they are summed."""
    vector, made = TaskVector.of(dict(change)), agreements.choice(place.config)
    if vector.layout.fingerprint != terms.layout:
        stop(Abort.WRONG_TERMS, "training changed other tensors than the terms name")
    key = Key(terms.run, terms.round, place.name)
    ready = made.prepared(vector, key)
    if made.kind == "keyed":
        places = supports.keyed(vector.layout, made.density, key)
        return supports.chosen(ready, places)
    if made.kind == "public":
        if not blobs or supports.digest(blobs[0]) != terms.places:
            stop(Abort.WRONG_TERMS, "these are not the places that the terms name")
        places = supports.restored(blobs[0], vector.layout.size)
        return supports.chosen(ready, places)
    return supports.chosen(ready, None)


def _advert(
    given: Mapping[str, Any],
    _blobs: Blobs,
    place: Place,
) -> tuple[dict[str, Any], list[bytes]]:
    terms = of_text(str(given["terms"]))
    where = Where(terms.run, terms.round, terms.base, terms.layout)
    shares = dict(zip(terms.names, terms.shares, strict=True))
    ours = agreements.drawn(place.config, where, shares, terms.attempt, terms.places)
    if ours != terms:
        stop(Abort.WRONG_TERMS, "not those that follow from the run's configuration")
    signer = signatures.signer(place.key)
    masker, advert = Masker.begin(terms, place.name, signer, os.urandom)
    said = {"run": terms.run, "round": terms.round, "signature": advert.signature}
    signatures.noted(place.home, said | {"terms": terms.digest})
    place.veils.begin(masker)
    return {"step": "advert", "advert": advert.to_json()}, []


def _shares(
    given: Mapping[str, Any],
    _blobs: Blobs,
    place: Place,
) -> tuple[dict[str, Any], list[bytes]]:
    masker = _kept(given, place)
    adverts = [Advert.from_json(str(one)) for one in given["adverts"]]
    if place.roster is not None:
        pins = signatures.pinned(place.roster)
    else:
        pins = signatures.first_seen(place.home / "pins.json", adverts)
    deal = masker.deal(adverts, pins)
    place.veils.keep(masker)
    holders = sorted(deal.sealed)
    text = {"step": "shares", "holders": holders, "commitments": deal.commitments}
    return text, [b"".join(deal.sealed[one] for one in holders)]


def _values(
    given: Mapping[str, Any], blobs: Blobs, place: Place
) -> tuple[dict[str, Any], list[bytes]]:
    masker = _kept(given, place)
    terms, state = masker.terms, State.of(masker.terms)
    values = place.veils.values(terms.round)
    sides = [supports.restored(one, values.size) for one in blobs]
    opened = np.zeros((len(state.counts.fields), values.size), np.bool_)
    if len(sides) != len(opened):
        stop(Abort.WRONG_STEP, "places of each side belong to this step")
    for row, places in zip(opened, sides, strict=True):
        row[places] = True
    there = np.flatnonzero(opened.any(axis=0))
    share = terms.share(place.name)
    numbers = state.closed(state.written(values[there], share), opened[:, there])
    words = masker.mask(1, state.values.pack(numbers, share))
    place.veils.keep(masker)
    return {"step": "values"}, [words.tobytes()]


def _unmask(
    given: Mapping[str, Any],
    _blobs: Blobs,
    place: Place,
) -> tuple[dict[str, Any], list[bytes]]:
    masker, opening = _kept(given, place), int(given["opening"])
    survivors = [str(one) for one in given["survivors"]]
    shares = masker.reveal(opening, survivors)
    noises.charge(place.config, masker.terms, survivors, place.home)
    place.veils.spend(masker.terms, opening, survivors)
    if opening + 1 < masker.terms.passes:
        place.veils.keep(masker)
    else:
        place.veils.end(masker.terms.round)
    return {"step": "unmask", "shares": {k: v.hex() for k, v in shares.items()}}, []


def _kept(given: Mapping[str, Any], place: Place) -> Masker:
    """The round that a step belongs to."""
    run, number = str(given["run"]), int(given["round"])
    return place.veils.read(run, number, str(given["attempt"]))
