"""What a masked round opened, on disk before anything is made of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..aggregators.base import Planes
from ..protocols import digests
from ..protocols.adverts import Advert
from ..protocols.terms import Terms
from . import files
from .sessions import Session

FOLDER = "masks"


@dataclass(slots=True)
class Outcome:
    """What came of a masked round.

    Attributes:
        terms: the round's.
        survivors: whose contributions are in the sums.
        planes: [p, k] the reducer's sums.
        places: [k] where they belong.
        report: numbers for the record.
        adverts: of the survivors, as they signed them.
    """

    terms: Terms
    survivors: tuple[str, ...]
    planes: Planes
    places: npt.NDArray[np.int64]
    report: dict[str, float] = field(default_factory=dict)
    adverts: tuple[Advert, ...] = ()

    def digest(self, name: str) -> str:
        """What names a contribution that nobody saw: terms, survivors, and whose."""
        said = json.dumps([self.terms.digest, self.survivors, name])
        return digests.of_bytes(said.encode())

    def signed(self, name: str) -> dict[str, str]:
        """Who signed a survivor's advert, and the signature."""
        for one in self.adverts:
            if one.name == name:
                return {"signer": one.signer, "signature": one.signature}
        return {}


def _path(session: Session, number: int) -> Path:
    return session.journal.folder / FOLDER / f"round-{number:04}"


def keep(session: Session, made: Outcome) -> None:
    """Put what was opened on disk: asked for once."""
    path = _path(session, made.terms.round)
    arrays = {"planes": made.planes, "places": made.places}
    files.write_arrays(path.with_suffix(".safetensors"), arrays)
    said = {
        "terms": made.terms.to_json(),
        "survivors": made.survivors,
        "report": made.report,
        "adverts": [one.to_json() for one in made.adverts],
    }
    files.write_json(path.with_suffix(".json"), said)


def kept(session: Session, number: int) -> Outcome | None:
    """What was opened of a round before the server was killed; None: nothing."""
    path = _path(session, number)
    if not path.with_suffix(".json").exists():
        return None
    said = files.read_json(path.with_suffix(".json"))
    arrays = files.read_arrays(path.with_suffix(".safetensors"))
    terms, names = Terms.from_json(said["terms"]), tuple(said["survivors"])
    if terms.run != session.run:
        return None
    adverts = tuple(Advert.from_json(one) for one in said.get("adverts", ()))
    planes, places = arrays["planes"], arrays["places"]
    return Outcome(terms, names, planes, places, said["report"], adverts)
