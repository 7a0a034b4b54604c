"""What travels between a server and a region below it: many clients' messages in one.

Down goes one `Ask` a region: which of its clients are asked, each with its own plan,
and every update once, whoever needs it. Up comes one `Answer`: by client its reply as
it was, or a voucher for a reply that the region keeps, or an error. Both are containers
as states are (see `states`), read without trust.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .containers import Buffer
from .errors import PayloadError
from .refusals import Refusal
from .states import decode_state, encode_state
from .vectors import Floats

KINDS = ("query", "train", "evaluate", "survey", "reduce")


@dataclass(frozen=True, slots=True)
class Asked:
    """One client behind a region.

    Attributes:
        client: its name.
        region: the rest of the way below the region that is asked, such as
            "harbour/north"; empty: the client is its own.
        plan: the plan's JSON; empty in a query.
    """

    client: str
    region: str = ""
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a region is asked.

    Attributes:
        kind: "query", "train" and "evaluate" are for its clients; "survey" and
            "reduce" for itself: what the named clients' replies come to.
        round: the round; 0 before the first.
        seconds: how long the answer may take.
        asked: which clients.
        blobs: updates by digest, each once.
        vouch: the replies stay in the region, vouchers climb.
        exponents: of the merge, by span, in "reduce".
        shares: of the merge, by client, in "reduce".

    Example:
        >>> ask = Ask("query", 0, 60.0, (Asked("ada"),))
        >>> Ask.read(ask.data()) == ask
        True
    """

    kind: str
    round: int
    seconds: float
    asked: tuple[Asked, ...]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    vouch: bool = False
    exponents: tuple[int, ...] = ()
    shares: Mapping[str, int] = field(default_factory=dict)

    def data(self) -> bytes:
        """As it travels."""
        manifest = {
            "kind": self.kind,
            "round": self.round,
            "seconds": self.seconds,
            "asked": [asdict(one) for one in self.asked],
            "vouch": self.vouch,
            "exponents": list(self.exponents),
            "shares": dict(self.shares),
        }
        return encode_state({n: _raw(one) for n, one in self.blobs.items()}, manifest)

    @classmethod
    def read(cls, data: Buffer) -> "Ask":
        """Read it back.

        Raises:
            PayloadError: it is none.
        """
        tensors, manifest = _opened(data)
        try:
            if (kind := manifest["kind"]) not in KINDS:
                raise PayloadError("a region is asked for something unknown")
            asked = tuple(Asked(**one) for one in manifest["asked"])
            given: dict[str, Any] = {
                "exponents": tuple(map(int, manifest["exponents"])),
                "shares": {str(n): int(x) for n, x in manifest["shares"].items()},
                "round": int(manifest["round"]),
                "seconds": float(manifest["seconds"]),
                "vouch": bool(manifest["vouch"]),
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PayloadError(f"not asked as a region is: {error!r}") from error
        blobs = {name: one.tobytes() for name, one in tensors.items()}
        return cls(kind=kind, asked=asked, blobs=blobs, **given)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a region answers.

    Attributes:
        replies: by client, its reply's message as bytes.
        vouchers: by client, what is said of a reply that stays in the region.
        errors: by client, why there is no reply.
        names: the tensors that the region's survey is about; empty: there is none.
        shapes: their shapes.
        peaks: [S] the survey: a bound on the magnitudes of each span.

    Example:
        >>> answer = Answer({"ada": b"x"}, {}, {"bob": "gone"})
        >>> Answer.read(answer.data()) == answer
        True
    """

    replies: Mapping[str, bytes] = field(default_factory=dict)
    vouchers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    peaks: Floats | None = None

    def data(self) -> bytes:
        """As it travels."""
        clients = sorted(self.replies)
        tensors: dict[str, npt.NDArray[Any]] = {
            f"{place:06d}": _raw(self.replies[name])
            for place, name in enumerate(clients)
        }
        if self.peaks is not None:
            tensors["peaks"] = self.peaks
        manifest = {
            "replies": clients,
            "vouchers": {name: dict(one) for name, one in self.vouchers.items()},
            "errors": dict(self.errors),
            "names": list(self.names),
            "shapes": [list(shape) for shape in self.shapes],
        }
        return encode_state(tensors, manifest)

    @classmethod
    def read(cls, data: Buffer) -> "Answer":
        """Read it back.

        Raises:
            PayloadError: it is none.
        """
        tensors, manifest = _opened(data)
        try:
            replies = {
                str(name): tensors[f"{place:06d}"].tobytes()
                for place, name in enumerate(manifest["replies"])
            }
            vouchers = {str(n): dict(one) for n, one in manifest["vouchers"].items()}
            errors = {str(n): str(one)[:200] for n, one in manifest["errors"].items()}
            names = tuple(map(str, manifest["names"]))
            shapes = tuple(tuple(map(int, one)) for one in manifest["shapes"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PayloadError(f"not an answer of a region: {error!r}") from error
        peaks = tensors.get("peaks")
        if peaks is not None and (peaks.dtype != np.float32 or peaks.ndim != 1):
            raise PayloadError("a survey holds one float32 a span")
        return cls(replies, vouchers, errors, names, shapes, peaks)


def _raw(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _opened(data: Buffer) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    found = decode_state(data)
    if isinstance(found, Refusal):
        raise PayloadError(f"not from a region: {found}")
    return found
