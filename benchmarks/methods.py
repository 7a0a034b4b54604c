"""Which merges `merge.py` measures: recipes by the names of its table."""

METHODS = {
    "dense": {
        "mean": "fedavg",
        "ties": "ties(1.0)",
        "ties 0.2": "ties(0.2)",
        "dare 0.1": "dare(0.1)",
        "dare_ties 0.1": "dare_ties(0.1)",
    },
    "sparse": {"mean": "fedavg", "ties": "ties(1.0)"},
}
MORE = (
    "task_arithmetic",
    "della",
    "breadcrumbs",
    "breadcrumbs_ties",
    "min_agree",
    "sign_vote",
    "localize_and_stitch",
    "median",
    "trimmed_mean",
    "geometric_median",
    "centered_clipping",
    "model_stock",
    "karcher",
    "magmax",
    "sce",
    "pcb",
)
"""Recipes that are merged with their own knobs, by us alone, where asked for."""

PEERS = {
    "mean": ("mean", 1.0),
    "ties": ("ties", 1.0),
    "ties 0.2": ("ties", 0.2),
    "dare 0.1": ("dare", 0.1),
    "dare_ties 0.1": ("dare_ties", 0.1),
}
"""What others are asked for: their method and its density."""
