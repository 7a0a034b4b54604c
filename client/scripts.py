"""The text columns of a table as scripts that a causal LM learns from."""

from typing import TYPE_CHECKING, Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Data
from . import tables, texts

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]


def read(source: str, data: Data, *, keep: str = "", domain: str = "") -> "Dataset":
    """Read a file, a `datasets` folder, or a data set of the hub.

    Args:
        source: the path or the hub's name.
        data: says which columns hold what.
        keep: one more column to keep.
        domain: what every text belongs to where no column says it.

    Returns:
        A table with columns ``text`` (scripts), ``label`` (domains) and `keep`.

    Raises:
        ConfigError: as `fedelta.client.tables.read`.
    """
    table = tables.load(source)
    told = data.label in table.column_names or data.label != tables.LABEL
    columns = {
        tables.TEXT: scripts(table, data, source),
        tables.LABEL: (
            tables.classes(table, data, source) if told else [domain] * len(table)
        ),
    }
    return tables.of_columns(columns | tables.kept(table, keep, source))


def scripts(table: "Dataset", data: Data, source: str) -> list[str]:
    """One script a row: of messages, of prompt and completion, or of plain text.

    Args:
        table: the rows.
        data: names the columns.
        source: where the table came from, for errors.

    Raises:
        ConfigError: a column is missing or holds something else, or more than one
            shape is asked for.
    """
    if data.messages and (data.prompt or data.completion):
        raise ConfigError(
            "data.messages and data.prompt are two shapes of a text: name one of them"
        )
    if bool(data.prompt) != bool(data.completion):
        raise ConfigError("data.prompt and data.completion go together")
    if data.messages:
        return _chats(table, data.messages, source)
    if data.prompt:
        prompts = tables.texts(table, data.prompt, "data.prompt", source)
        ends = tables.texts(table, data.completion, "data.completion", source)
        return [texts.pair(*both) for both in zip(prompts, ends, strict=True)]
    return [
        texts.plain(text)
        for text in tables.texts(table, data.text, "data.text", source)
    ]


def _chats(table: "Dataset", name: str, source: str) -> list[str]:
    tables.require(table, name, "data.messages", source)
    found: list[str] = []
    for place, turns in enumerate(table[name], 1):
        said: Any = turns
        if not isinstance(said, list) or not all(isinstance(t, dict) for t in said):
            raise ConfigError(
                f"{source}: column {name!r} (data.messages) must hold lists of "
                f"messages, row {place} does not"
            )
        try:
            found.append(texts.chat(said))
        except ConfigError as error:
            raise ConfigError(f"{source}, row {place}: {error}") from error
    return found
