"""Names to recipes: the only registry.

What their docstrings say of costs: K members, n elements, a pass reads all that came.
A merge that needs all members reads them once more, before, where a reply does not
state its peaks.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..protocols.errors import ConfigError
from ..protocols.grammar import bind, parse
from . import alignments
from .balances import pcb
from .base import FORMED, SPACES, Pipe, Recipe, Transform, chain
from .centers import centered_clipping, geometric_median
from .classics import dare, dare_ties, fedavg, task_arithmetic, ties
from .contests import cabs, consensus_ta, emr, magmax, sce
from .depths import lines
from .extensions import Known
from .gradients import named, varying
from .grouped import grouped
from .importances import fisher
from .magnitudes import breadcrumbs, breadcrumbs_ties, crumbs, della, sample
from .medians import median, trimmed_mean
from .presences import localize_and_stitch
from .ratios import fromm, metagpt, model_stock
from .regressions import regmean
from .scopes import trim_vector
from .selections import bucketing, bulyan, krum, multi_krum, nnm
from .separations import fedrpca
from .signs import min_agree, sign_vote
from .spectra import iso_c, iso_cts, knots, star, truncate, tsv
from .spheres import karcher, multislerp, nuslerp, slerp
from .transforms import clip, drop, scale, trim
from .trusts import fltrust

__all__ = [
    "METHODS",
    "SPACES",
    "Method",
    "Properties",
    "chain",
    "describe",
    "properties",
    "recipe",
]


@dataclass(frozen=True, slots=True)
class Method:
    """What a recipe's name stands for.

    Attributes:
        make: its factory.
        summary: one line.
        source: the paper, on arXiv.
    """

    make: Callable[..., Recipe]
    summary: str
    source: str


@dataclass(frozen=True, slots=True)
class Properties:
    """What holds for a recipe in a space.

    Attributes:
        family: "sum": states add and have a fixed size; "cohort": a state holds what
            every client sent.
        tree: a tree of servers reaches the flat result, bit for bit.
        maskable: clients can add what is summed under masks.
        linear: merged by stacked factors, without the dense matrix.
    """

    family: str
    tree: bool
    maskable: bool
    linear: bool


METHODS: dict[str, Method] = {
    "fedavg": Method(fedavg, "mean by weight", "1602.05629"),
    "task_arithmetic": Method(task_arithmetic, "sum times a gain", "2212.04089"),
    "ties": Method(ties, "trim, elect signs, mean of what agrees", "2306.01708"),
    "dare": Method(dare, "drop at random, rescale, mean", "2311.03099"),
    "dare_ties": Method(dare_ties, "drop and rescale, elect, mean", "2311.03099"),
    "della": Method(della, "sample by magnitude, elect, mean", "2406.11617"),
    "breadcrumbs": Method(breadcrumbs, "drop outliers and dust, mean", "2312.06795"),
    "breadcrumbs_ties": Method(breadcrumbs_ties, "the same, elect, mean", "2312.06795"),
    "min_agree": Method(min_agree, "mean where enough members agree", "2306.01708"),
    "sign_vote": Method(sign_vote, "mean, damped where signs disagree", "2201.11986"),
    "fisher": Method(fisher, "mean by diagonal Fisher information", "2111.09832"),
    "regmean": Method(regmean, "nearest outputs by linear layer", "2212.09849"),
    "localize_and_stitch": Method(localize_and_stitch, "stitched tops", "2408.13656"),
    "median": Method(median, "median by element", "1803.01498"),
    "trimmed_mean": Method(trimmed_mean, "mean without extremes", "1803.01498"),
    "geometric_median": Method(geometric_median, "least distances", "1912.13445"),
    "centered_clipping": Method(centered_clipping, "clipped pulls", "2012.10333"),
    "fltrust": Method(fltrust, "mean by trust from a probe", "2012.13995"),
    "krum": Method(krum, "the member nearest to its neighbours", "1703.02757"),
    "multi_krum": Method(multi_krum, "mean of the best by Krum", "1703.02757"),
    "bulyan": Method(bulyan, "Krum's choice, then a trimmed mean", "1802.07927"),
    "nnm": Method(nnm, "mean of nearest members, then a robust rule", "2302.01772"),
    "bucketing": Method(bucketing, "means of a few, then a robust rule", "2006.09365"),
    "slerp": Method(slerp, "along the arc between two", ""),
    "nuslerp": Method(nuslerp, "the same, placed by two weights", ""),
    "multislerp": Method(multislerp, "on the sphere around the mean", ""),
    "karcher": Method(karcher, "mean on the sphere", ""),
    "model_stock": Method(model_stock, "mean, drawn to the base", "2403.19522"),
    "metagpt": Method(metagpt, "sum by squared norms", "2406.11385"),
    "fromm": Method(fromm, "mean by norms", "2506.02478"),
    "pcb": Method(pcb, "mean by how elements compete", "2410.02396"),
    "fedrpca": Method(
        fedrpca, "mean of the common part, more of the rest", "2506.01194"
    ),
    "magmax": Method(magmax, "the largest magnitude by element", "2407.06322"),
    "emr": Method(emr, "elected sign, largest magnitude", "2405.17461"),
    "sce": Method(sce, "select, calculate, erase", "2408.07990"),
    "cabs": Method(cabs, "n of m in turn, without overlap", "2503.01874"),
    "consensus_ta": Method(consensus_ta, "sum where enough need it", "2405.07813"),
    "tsv": Method(tsv, "decorrelated singular vectors", "2412.00081"),
    "iso_c": Method(iso_c, "sum with equal singular values", "2502.04959"),
    "iso_cts": Method(iso_cts, "the same with each one's own", "2502.04959"),
    "star": Method(star, "truncated spectra, mean", "2502.10339"),
    "knots": Method(knots, "TIES in a common singular space", "2410.19735"),
    "grouped": Method(grouped, "merge within regions, then between them", ""),
}
TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "clip": clip,
    "crumbs": crumbs,
    "drop": drop,
    "lines": lines,
    "sample": sample,
    "scale": scale,
    "trim": trim,
    "trim_vector": trim_vector,
    "truncate": truncate,
}


def recipe(text: str) -> Recipe:
    """Read a recipe's text.

    Raises:
        ConfigError: it does not parse, or names what there is not.

    Example:
        >>> recipe("ties(density=0.3)").reducer.text
        'agreed_mean(mass)'
        >>> recipe("clip(1.0) | fedavg").linear
        True
        >>> recipe("ties(density=(0.1, 0.5))").text
        'ties(density=(0.1, 0.5))'
    """
    known: dict[str, Callable[..., Any]] = {n: m.make for n, m in METHODS.items()}
    ours = {n: varying(one) for n, one in (known | TRANSFORMS).items()}
    ours |= {"chain": chain, "pipe": chain, "named": named}
    call = parse(text)
    alignments.check(call)
    made = bind(call, Known(ours))
    if isinstance(made, Transform | Pipe):
        raise ConfigError(
            f"{text} is a transform: follow it by a recipe, {text} | fedavg"
        )
    if not isinstance(made, Recipe):
        raise ConfigError(f"{text} is no recipe; allowed: {', '.join(sorted(METHODS))}")
    return made


def properties(given: Recipe, space: str) -> Properties:
    """What holds for a recipe in a space.

    Raises:
        ConfigError: no such space, or one where the recipe means nothing.
    """
    if space not in SPACES:
        raise ConfigError(f"space is {space!r}, allowed: {', '.join(SPACES)}")
    for one in (given, given.outer):
        if one is not None and space not in one.spaces:
            allowed = ", ".join(one.spaces)
            raise ConfigError(f"{one.text} merges in {allowed}, not in {space}")
    stacked = space in FORMED and given.stacked
    summed = given.reducer.cohort is None
    maskable = space not in FORMED and given.outer is None and summed
    return Properties(
        family="sum" if summed and not stacked else "cohort",
        tree=True,
        maskable=maskable,
        linear=stacked,
    )


def describe() -> list[dict[str, Any]]:
    """Every recipe with its knobs and what holds in which space, JSON-able."""
    listed = []
    for name, method in METHODS.items():
        sample = grouped(fedavg(), ties()) if name == "grouped" else method.make()
        knobs = inspect.signature(method.make).parameters.values()
        spaces = {}
        for space in sample.spaces:
            held = properties(sample, space)
            spaces[space] = {
                "family": held.family,
                "tree": held.tree,
                "maskable": held.maskable,
                "linear": held.linear,
            }
        listed.append(
            {
                "name": name,
                "summary": method.summary,
                "source": f"arXiv:{method.source}" if method.source else "",
                "knobs": {
                    one.name: None if one.default is one.empty else one.default
                    for one in knobs
                },
                "spaces": spaces,
            }
        )
    return listed
