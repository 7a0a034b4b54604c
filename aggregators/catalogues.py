"""What there is beside recipes: spaces by their papers' names, and what clients do."""

from typing import Any

from .base import FORMED
from .recipes import properties, recipe

_LORA: tuple[tuple[str, str, str, str], ...] = (
    ("product", "FlexLoRA", "SVD of the sum of products, to a rank", "2402.11505"),
    ("product", "FLoRA", "the stack whole: lora.rank_down = all ranks", "2409.05976"),
    ("residual", "FedEx-LoRA", "the sum of products goes into the base", "2410.09432"),
    ("frozen-a", "FFA-LoRA", "A fixed, B merged: exact", "2403.12313"),
    ("share-a", "FedSA-LoRA", "A merged, each client's own B", "2410.01463"),
    ("core", "Fed-SB", "an r x r matrix between fixed B and A: exact", "2502.15436"),
    ("factors", "FedIT", "A and B merged apart: not the product's mean", "2305.05644"),
)
_CLIENTS: tuple[tuple[str, str, str], ...] = (
    ("train.prox_mu", "FedProx: stay near the round's start", "1812.06127"),
    ("train.scaffold", "SCAFFOLD: control variates", "1910.06378"),
)


def lora() -> list[dict[str, Any]]:
    """LoRA's aggregations by their names in papers, and what holds for a mean there.

    Example:
        >>> [(one["name"], one["space"]) for one in lora() if one["maskable"]][:2]
        [('FFA-LoRA', 'frozen-a'), ('FedSA-LoRA', 'share-a')]
    """
    found = []
    for space, name, summary, source in _LORA:
        held = properties(recipe("fedavg"), space)
        found.append(
            {
                "name": name,
                "space": space,
                "summary": summary,
                "source": f"arXiv:{source}",
                "family": held.family,
                "tree": held.tree,
                "maskable": held.maskable,
                "mixed_ranks": space in FORMED,
                "one_model": space != "share-a",
            }
        )
    return found


def clients() -> list[dict[str, str]]:
    """What clients do otherwise, by the key that asks for it.

    Example:
        >>> [one["key"] for one in clients()]
        ['train.prox_mu', 'train.scaffold']
    """
    return [
        {"key": key, "summary": summary, "source": f"arXiv:{source}"}
        for key, summary, source in _CLIENTS
    ]
