"""The run's record: one JSON object a line, handed to whoever listens as well.

Lines are appended and flushed; a commit makes them last and returns the file's
length, which the round's manifest keeps. After a crash the file is cut back to the
last committed length, so that a line is there exactly where its round is.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

Line = dict[str, Any]
Listener = Callable[[Line], None]


class Record:
    """`record.jsonl` of a run's folder.

    Args:
        path: the file.
        keep: bytes that are committed: what follows them is cut off.
        before: seconds that the run took before it was interrupted.
        listeners: called with each line as it is written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> record = Record(folder / "record.jsonl")
        >>> record.add("round", round=1)
        >>> kept = record.commit()
        >>> record.add("round", round=2)
        >>> record.close()
        >>> Record(folder / "record.jsonl", keep=kept).close()
        >>> [line["round"] for line in read(folder / "record.jsonl")]
        [1]
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: int = 0,
        before: float = 0.0,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._listeners = tuple(listeners)
        self._started = time.monotonic() - before
        path.touch()
        os.truncate(path, min(keep, path.stat().st_size))
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8")

    @property
    def seconds(self) -> float:
        """Seconds since the run's start, time between crash and resume left out."""
        return time.monotonic() - self._started

    def add(self, kind: str, **values: Any) -> None:
        """Write one line and tell the listeners."""
        line = {"kind": kind, "at": round(self.seconds, 3)} | finite(values)
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()
        self.tell(line)

    def tell(self, line: Line) -> None:
        """Tell the listeners alone: of what passes and is not kept."""
        for listener in self._listeners:
            listener(line)

    def commit(self) -> int:
        """Put all lines on disk for good.

        Returns:
            The file's length in bytes.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()


def read(path: Path) -> list[Line]:
    """All whole lines of a record; one that a crash left unfinished is left out."""
    lines: list[Line] = []
    for text in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def finite(value: Any) -> Any:
    """The value with every number that JSON cannot hold as None.

    Example:
        >>> finite({"loss": float("nan"), "cosine": [1.0, float("inf")]})
        {'loss': None, 'cosine': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
