"""How well a model does on examples."""

from ..protocols.settings import Config
from .data import Examples
from .models import Base


def evaluate(base: Base, examples: Examples, config: Config) -> dict[str, float]:
    """Judge the model as it is now, with the adapter that sits in it if one does.

    Args:
        base: the model.
        examples: what to judge it on, at least one.
        config: how much of a text is read.

    Returns:
        The task's metrics, "loss" and "examples" among them: see
        `fedelta.client.accuracies` and `fedelta.client.perplexities`.
    """
    return base.network.judge(examples, config.train)
