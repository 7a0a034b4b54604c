"""Every value of a payload looked at once, before anything is made of it."""

import numpy as np
import numpy.typing as npt

from . import kernels
from .payloads import Payload
from .refusals import Reason, refuse
from .streams import Streams
from .values import CODINGS, HALVES

FLAWS = {
    kernels.RANGE: (Reason.INDEX_RANGE, "a place outside its span"),
    kernels.LENGTH: (Reason.LENGTH_MISMATCH, "more or fewer places than values"),
    kernels.LOOSE: (Reason.NOT_CANONICAL, "bits or gaps after the last value"),
    kernels.INFINITE: (Reason.NON_FINITE, "a value is not finite"),
    kernels.NEGATIVE: (Reason.NOT_CANONICAL, "a negative zero"),
    kernels.ZERO: (Reason.NOT_CANONICAL, "a zero is spelled out"),
    kernels.CODE: (Reason.NOT_CANONICAL, "a code that no value has"),
}


def validated(streams: Streams) -> tuple[Payload, npt.NDArray[np.float64]]:
    """Every chunk is decompressed and every value looked at, once.

    Returns:
        The payload; by tensor, its largest step or magnitude, from which e follows.

    Raises:
        RefusedError: with the first thing that is wrong.
    """
    layout, choices = streams.layout, streams.tables.choices
    payload = Payload(streams, 0.0, np.zeros(len(layout.names), np.float32))
    zeros = np.array([one.places != "gaps" for one in choices], np.bool_)
    grouped = np.array([CODINGS[one.values].group > 0 for one in choices], np.bool_)
    found = np.zeros(len(layout.spans), np.float64)
    steps = np.zeros(len(layout.names), np.float64)
    total = 0.0
    for run, first in enumerate(streams.runs[:-1].tolist()):
        last = int(streams.runs[run + 1])
        owners = streams.owners[first:last]
        flaw, at = payload.decode(run)
        _check(flaw, layout.names[streams.owners[at]])
        flaw, at, squares = kernels.examine(
            payload.scratch[0],
            np.arange(last - first),
            payload.scratch[1],
            zeros[owners],
            found[first:last],
        )
        _check(flaw, layout.names[owners[at]])
        total += squares
        for index in np.flatnonzero(grouped[owners]).tolist():
            halves = payload.steps(first + index, first + index + 1).view(np.uint16)
            top = float(HALVES[halves.max(initial=0)])
            steps[owners[index]] = max(steps[owners[index]], top)
    np.maximum.at(payload.peaks, streams.owners, found.astype(np.float32))
    payload.peaks.flags.writeable = False
    payload.norm = float(np.sqrt(total))
    payload.release()
    scaled = np.ldexp(steps, streams.tables.exponents)
    return payload, np.where(grouped, scaled, payload.peaks)


def _check(flaw: int, tensor: str) -> None:
    """Refuse what a loop found, unless it is `kernels.FINE`."""
    if flaw != kernels.FINE:
        reason, detail = FLAWS[flaw]
        refuse(reason, f"{tensor}: {detail}")
