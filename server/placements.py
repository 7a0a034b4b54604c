"""Where a recipe's transforms are applied: by each client, or here while merging.

A client can apply them where it holds what is merged (every weight's change, or the
factors apart), and where what they leave out stays out on the wire. With a product of
factors, which only the server forms, or one bit a value, the server applies them.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..aggregators.base import Recipe, Transform
from ..aggregators.furthers import wanted
from ..aggregators.recipes import recipe
from ..protocols.budgets import uplink
from ..protocols.settings import Config
from ..protocols.wires import wire

CLIENT, SERVER = "client", "server"
_FORMED = ("product", "residual")  # spaces whose tensors only the server forms
_CLIPS, _SELECTS = "clip(", ("clip(", "trim(", "trim_vector(")


def before(config: Config) -> str:
    """Which side applies the transforms of a run's recipe.

    Example:
        >>> from fedelta.server.runs import load
        >>> full = ["train.mode=full", "merge.recipe=ties(density=0.2)"]
        >>> before(load(overrides=[*full, "wire.up=sparse(density=0.05)"]))
        'client'
        >>> before(load(overrides=[*full, "wire.up=auto"]))
        'server'
    """
    formed = config.train.mode == "lora" and config.lora.space in _FORMED
    chosen = recipe(config.merge.recipe)
    guarded = config.privacy.mode == "client"  # the server bounds what came
    if formed or not chosen.before or wanted(chosen) or guarded:
        return SERVER
    wires = {uplink(config, one) for one in ("", *(c.name for c in config.clients))}
    return CLIENT if all(map(keeps_zeros, wires)) else SERVER


def applied(config: Config) -> tuple[str, ...]:
    """The transforms that a run's clients apply, as they are written in its recipe."""
    if before(config) == SERVER:
        return ()
    return tuple(one.text for one in recipe(config.merge.recipe).before)


def left(given: Recipe, done: Sequence[str]) -> Recipe:
    """A recipe without what was applied already.

    A clip that still bounds what came (nothing rescales after it) is applied again: it
    leaves what was clipped as it is, and holds a client that did not clip.

    Args:
        given: the recipe to merge by.
        done: the transforms that the clients applied. Where the recipe does not begin
            with them (a replay by another one), it is applied whole, on top of them.

    Example:
        >>> [one.text for one in left(recipe("clip(1.0) | ties(0.2)"),
        ...                           ["clip(1.0)", "trim(0.2)"]).before]
        ['clip(1.0)']
        >>> [one.text for one in left(recipe("dare(0.1)"), ["trim(0.2)"]).before]
        ['drop(0.1)']
    """
    texts = [one.text for one in given.before]
    if not done or texts[: len(done)] != list(done):
        return given
    bounded = all(one.startswith(_SELECTS) for one in done)
    kept: list[Transform] = [
        one
        for place, one in enumerate(given.before)
        if place >= len(done) or (bounded and one.text.startswith(_CLIPS))
    ]
    return replace(given, before=tuple(kept))


def keeps_zeros(text: str) -> bool:
    """Whether a format gives back a zero for every zero.

    Example:
        >>> [keeps_zeros(one) for one in ("fp16", "sparse", "sign256", "auto")]
        [True, True, False, False]
    """
    found = wire(text)
    if not found.values:  # each tensor in a format of its own
        return False
    return found.values != "sign256" or found.places == "gaps"
