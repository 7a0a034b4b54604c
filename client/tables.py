"""Labelled tables: files and folders into `datasets`, checked column by column."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Data

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

LABEL = "label"
TEXT = "text"
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")


def read(source: str, data: Data, *, keep: str = "") -> "Dataset":
    """Read a file, a `datasets` folder, or a data set of the Hugging Face hub.

    Files are read into memory, past every cache: no second copy of a client's data
    is left on its disk.

    Args:
        source: the path or the hub's name.
        data: says which columns hold text and label.
        keep: one more column to keep.

    Returns:
        A table with columns ``text`` and ``label`` (both text) and `keep`.

    Raises:
        ConfigError: no such file, not a table, a column missing or of another type,
            or a row without text or label.
    """
    table = load(source)
    columns = {
        TEXT: texts(table, data.text, "data.text", source),
        LABEL: classes(table, data, source),
    }
    return of_columns(columns | kept(table, keep, source))


def of_columns(columns: dict[str, list[Any]]) -> "Dataset":
    """A table in memory."""
    from datasets import Dataset

    return Dataset.from_dict(columns)


def cells(table: "Dataset", name: str) -> list[Any]:
    """One column in one go; row by row it takes ten times as long."""
    found: list[Any] = table[name][:]
    return found


def load(source: str) -> "Dataset":
    """A table as it is, with all its columns.

    Raises:
        ConfigError: no such file, or not a table.
    """
    path = Path(source)
    if path.is_file():
        return _file(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in SUFFIXES or path.is_absolute() or source.startswith("."):
        raise ConfigError(f"data file {source!r} is not there")
    return _hub(source)


def _file(path: Path) -> "Dataset":
    import pyarrow as pa  # type: ignore[import-untyped]
    from datasets import Dataset
    from datasets.table import InMemoryTable  # type: ignore[import-untyped]

    try:
        table = _reader(path)(path)
    except (pa.ArrowException, ValueError) as error:
        raise ConfigError(
            f"{path} is not a {path.suffix[1:]} table: {error}"
        ) from error
    return Dataset(InMemoryTable(table))


def _reader(path: Path) -> Callable[[Path], Any]:
    from pyarrow import parquet

    readers: dict[str, Callable[[Path], Any]] = {
        ".csv": _csv,
        ".json": _json,
        ".jsonl": _json,
        ".parquet": parquet.read_table,
    }
    if path.suffix.lower() not in readers:
        raise ConfigError(
            f"{path}: read are {', '.join(SUFFIXES)} and `datasets` folders"
        )
    return readers[path.suffix.lower()]


def _csv(path: Path) -> Any:
    """Columns apart by commas; by semicolons or tabs where the header has no comma."""
    from pyarrow import csv, types

    with path.open("rb") as file:
        header = file.readline()
    marks = [mark for mark in (b",", b";", b"\t") if mark in header] or [b","]
    apart = csv.ParseOptions(delimiter=marks[0].decode())
    table = csv.read_csv(path, parse_options=apart)
    if any(types.is_binary(one) for one in table.schema.types):
        raise ValueError("it is not UTF-8; save it as UTF-8")
    return table


def _json(path: Path) -> Any:
    """An object a line, or one list of objects."""
    from pyarrow import Table
    from pyarrow import json as lines

    with path.open("rb") as file:
        if file.read(256).lstrip()[:1] != b"[":
            return lines.read_json(path)
    rows = json.loads(path.read_bytes())
    if not all(isinstance(one, dict) for one in rows):
        raise ValueError("a list must hold objects")
    return Table.from_pylist(rows)


def _folder(path: Path) -> "Dataset":
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(
            f"{path} is a folder that `datasets.load_from_disk` cannot read; "
            "save it with `save_to_disk`, or name a file"
        ) from error
    if isinstance(found, DatasetDict):
        if "train" not in found:
            raise ConfigError(f"{path} has no split named train: {', '.join(found)}")
        return found["train"]
    return found


def _hub(name: str) -> "Dataset":
    from datasets import load_dataset

    try:
        return load_dataset(name, split="train")
    except Exception as error:
        raise ConfigError(
            f"data.source = {name!r} is neither a file nor a built-in set, and the hub "
            f"did not give it ({type(error).__name__}); built in: icd10"
        ) from error


def require(table: "Dataset", column: str, key: str, source: str) -> None:
    """Hold a table to having a column.

    Raises:
        ConfigError: it has none; the message names the key that asked for it.
    """
    if column not in table.column_names:
        raise ConfigError(
            f"{source} has no column {column!r} ({key}); it has: "
            + ", ".join(table.column_names)
        )


def texts(table: "Dataset", column: str, key: str, source: str) -> list[str]:
    """A column of text.

    Raises:
        ConfigError: there is none, or it holds something else.
    """
    require(table, column, key, source)
    found = cells(table, column)
    wrong = next((i for i, one in enumerate(found) if not isinstance(one, str)), None)
    if wrong is not None:
        raise ConfigError(
            f"{source}: column {column!r} ({key}) must be text, "
            f"row {wrong + 1} holds {type(found[wrong]).__name__}"
        )
    return found


def kept(table: "Dataset", column: str, source: str) -> dict[str, list[str]]:
    """The column that a partition goes by, as text; nothing where it has no name.

    Raises:
        ConfigError: there is no such column.
    """
    if not column:
        return {}
    require(table, column, "data.partition", source)
    return {column: [str(value) for value in cells(table, column)]}


def classes(table: "Dataset", data: Data, source: str) -> list[str]:
    """The column of classes, by name.

    Raises:
        ConfigError: there is none, or it holds neither text nor whole numbers.
    """
    from datasets import ClassLabel

    require(table, data.label, "data.label", source)
    values = cells(table, data.label)
    feature = table.features[data.label]
    if isinstance(feature, ClassLabel):
        return [feature.int2str(value) for value in values]
    wrong = next(
        (i for i, v in enumerate(values) if not isinstance(v, str | int)), None
    )
    if wrong is not None:
        raise ConfigError(
            f"{source}: column {data.label!r} (data.label) must be text or whole "
            f"numbers, row {wrong + 1} holds {type(values[wrong]).__name__}"
        )
    return [str(value) for value in values]
