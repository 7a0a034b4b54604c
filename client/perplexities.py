"""How well texts are predicted: loss and perplexity, domain by domain."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..protocols.perplexities import perplexity


def of_tokens(
    values: npt.NDArray[np.float64],
    owners: npt.NDArray[np.int64],
    domains: npt.NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, float]:
    """`metrics` of texts whose tokens' losses are known.

    Args:
        values: [tokens] cross-entropies, nats.
        owners: [tokens] the place of each one's text.
        domains: [n] the place of each text's domain.
        names: the domains.

    Example:
        >>> found = of_tokens(np.log([2.0, 8.0]), np.array([0, 0]), np.array([0]), [""])
        >>> round(found["perplexity"], 9), found["tokens"]
        (4.0, 2.0)
    """
    sums = np.bincount(owners, values, len(domains)).astype(np.float64)
    counts = np.bincount(owners, minlength=len(domains)).astype(np.int64)
    return metrics(sums, counts, domains, names)


def metrics(
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    domains: npt.NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, float]:
    """Metrics of texts whose losses are known.

    Args:
        sums: [n] of each text, the cross-entropies of its counted tokens, nats.
        counts: [n] how many tokens those are.
        domains: [n] the place of its domain's name.
        names: the domains; a domain without a name is counted but not told apart.

    Returns:
        "loss" (nats a token, over all tokens), "perplexity" (the geometric mean of
        the domains' perplexities, so that a small domain counts like a large one),
        "perplexity/NAME" and "tokens/NAME" of each domain that occurs, "tokens" and
        "examples".

    Example:
        >>> found = metrics(np.log([4.0, 16.0]), np.array([1, 1]),
        ...                 np.array([0, 1]), ["code", "law"])
        >>> [round(found[name], 9) for name in ("perplexity", "perplexity/law")]
        [8.0, 16.0]
    """
    total = int(counts.sum())
    told = {"loss": math.fsum(sums.tolist()) / max(1, total)}
    means: list[float] = []
    parts: dict[str, float] = {}
    for one in np.unique(domains):
        inside = domains == one
        tokens = int(counts[inside].sum())
        if not tokens:
            continue
        means.append(math.fsum(sums[inside].tolist()) / tokens)
        if names[one]:
            parts[f"perplexity/{names[one]}"] = perplexity(means[-1])
            parts[f"tokens/{names[one]}"] = float(tokens)
    told["perplexity"] = perplexity(math.fsum(means) / max(1, len(means)))
    return told | parts | {"tokens": float(total), "examples": float(len(counts))}
