"""The model to hand out where it is another than the one that was trained on.

With ``merge.server_optimizer = "ema(0.9)"`` or ``"swa()"`` rounds go on from the last
model, but what is exported is the average of the models that the run passed through.
"""

from typing import Any

from ..aggregators.outer import optimizer
from ..protocols import digests
from . import evaluation
from .sessions import Session
from .versions import Update


def hand_out(session: Session) -> dict[str, Any]:
    """Bring a finished run's session to the average of its models, if it keeps one.

    Returns:
        "average": the optimiser's text, the averaged model's digest and what it
        scores on the server's test set; nothing where there is no average.
    """
    text = session.config.merge.server_optimizer
    made = optimizer(text) if text else None
    if made is None or made.average is None or not session.round:
        return {}
    offset = made.average(session.states.get("outer", {}))
    name = digests.of_tensors({n: offset[n] for n in sorted(offset)})
    session.model.add(Update(name, b"", offset))
    said = {"optimizer": made.text, "model_digest": session.model.digest}
    return {"average": said | {"metrics": evaluation.on_server(session)}}
