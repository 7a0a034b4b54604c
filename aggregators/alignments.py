"""Merges that first align models which were trained apart: refused by name, and why.

Clients here start from one base model, whose digest every plan names, and a change is
taken against it: hidden units are in the same place in all of them, and there is
nothing to permute. Where models share no start, a mean of their changes means nothing.
"""

from ..protocols.calls import Call
from ..protocols.errors import ConfigError

ALIGNING = {
    "git_rebasin": "https://arxiv.org/abs/2209.04836",
    "otfusion": "https://arxiv.org/abs/1910.05653",
    "zipit": "https://arxiv.org/abs/2305.03053",
}
"""By name, where it is from."""


def check(call: Call) -> None:
    """Refuse what aligns models before it merges them.

    Raises:
        ConfigError: the recipe, or a part of it, does.

    Example:
        >>> check(Call("git_rebasin", (), {}))
        Traceback (most recent call last):
        fedelta.protocols.errors.ConfigError: git_rebasin aligns models that share no \
start (https://arxiv.org/abs/2209.04836). Models here share a base, to which their \
units are aligned already: merge their changes, by fedavg or any other recipe
    """
    if call.name in ALIGNING:
        raise ConfigError(
            f"{call.name} aligns models that share no start ({ALIGNING[call.name]}). "
            "Models here share a base, to which their units are aligned already: merge "
            "their changes, by fedavg or any other recipe"
        )
    for one in (*call.args, *call.kwargs.values()):
        if isinstance(one, Call):
            check(one)
