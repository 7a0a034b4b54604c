"""Splitting one table among clients, by the partitioners of `flwr_datasets`."""

import re
import warnings
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.settings import Config
from .tables import LABEL

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]
    from flwr_datasets.partitioner import Partitioner  # type: ignore[import-untyped]

NAMED = "column:"
LEAST = 10
"""Dirichlet draws are repeated until every client has this many, where data allows."""


def column(config: Config) -> str:
    """The column that the partition goes by, beside text and label; "" if none."""
    part = config.data.partition
    return part.removeprefix(NAMED) if part.startswith(NAMED) else ""


def split(table: "Dataset", config: Config) -> "dict[str, Dataset]":
    """Deal the rows to clients, the same way for the same seed.

    Args:
        table: rows in an order that is already shuffled.
        config: says how (``data.partition``) and among how many or among whom.

    Returns:
        Each client's rows by its name: from ``[[clients]]`` (by the column's values
        where those are the names), else the column's values, else ``client-00``,
        ``client-01``...

    Raises:
        ConfigError: an unknown partition, or one that cannot be made.
    """
    partitioner = _partitioner(table, config)
    partitioner.dataset = table
    with warnings.catch_warnings(), redirect_stderr(StringIO()):  # a bar of its own
        warnings.simplefilter("ignore", UserWarning)  # tried again; at last it raises
        try:
            count = partitioner.num_partitions
            parts = [partitioner.load_partition(place) for place in range(count)]
        except ValueError as error:
            raise ConfigError(
                f"{len(table)} examples cannot be split among {config.data.clients} "
                f"clients by data.partition = {config.data.partition!r}, data.alpha = "
                f"{config.data.alpha}: raise alpha or lower data.clients"
            ) from error
    return dict(zip(_names(parts, config), parts, strict=True))


def _partitioner(table: "Dataset", config: Config) -> "Partitioner":
    from flwr_datasets.partitioner import (
        DirichletPartitioner,
        IidPartitioner,
        NaturalIdPartitioner,
    )

    data, count = config.data, len(config.clients) or config.data.clients
    if count < 1 or count > len(table):
        raise ConfigError(f"data.clients = {count} for {len(table)} examples")
    if data.partition == "iid":
        return IidPartitioner(count)
    if data.partition == "dirichlet":
        return DirichletPartitioner(
            count,
            LABEL,
            data.alpha,
            min_partition_size=max(1, min(LEAST, len(table) // (4 * count))),
            seed=seeds.key("partition", config.run.seed),
        )
    if column(config):
        return NaturalIdPartitioner(column(config))
    raise ConfigError(
        f"data.partition = {data.partition!r}: "
        'there are "dirichlet", "iid" and "column:NAME"'
    )


def _names(parts: "list[Dataset]", config: Config) -> list[str]:
    numbered = [f"client-{place:02d}" for place in range(len(parts))]
    name = column(config)
    values = [
        re.sub(r"[^A-Za-z0-9._-]+", "-", str(part[0][name])) for part in parts if name
    ]
    if config.clients:
        if {client.name for client in config.clients} == set(values):
            return values
        if len(parts) != len(config.clients):
            raise ConfigError(
                f"data.partition makes {len(parts)} parts, [[clients]] has "
                f"{len(config.clients)} names"
            )
        return [client.name for client in config.clients]
    distinct = name and len(set(values)) == len(values)
    return values if distinct else numbered
