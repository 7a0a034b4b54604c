"""What a node's logs say that its institution should hear while it is up.

The node and its client are processes of their own, with logs of their own; `fedelta
join up` reads what they add, and says what somebody should do something about.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

CLIENT, NODE = "client.log", "supernode.log"
ANSWERED, STARVED = ": answered", "/pull-task-input]"
"""In the client's log of what it sent; in the node's of who asks for work too late."""
OFTEN = 3
"""So many times in a row, and it is no chance that a task is begun anew."""
_NO = re.compile(r"(?:query|train|evaluate)[.\w]*: no: (.*)")


class Hints:
    """Lines for people from what the logs of a folder add from now on.

    Args:
        logs: the folder.
        tell: gets the lines.
    """

    def __init__(self, logs: Path, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._paths = {name: logs / name for name in (CLIENT, NODE)}
        self._places = {name: _size(path) for name, path in self._paths.items()}
        self._starved = 0

    def look(self) -> None:
        """Say what is new."""
        for text in self._new(CLIENT):
            if ANSWERED in text:
                self._starved = 0
            elif found := _NO.search(text):
                self._tell(f"this node refused: {found[1]}")
        for text in self._new(NODE):
            self._starved += STARVED in text
            if STARVED in text and self._starved % OFTEN == 0:
                self._tell(
                    f"the client was begun anew {self._starved} times: this machine is "
                    "too slow or too busy for it to begin within Flower's half minute; "
                    "free it, or set [compute] nice = 0"
                )

    def _new(self, name: str) -> Iterator[str]:
        """A log's whole new lines; of JSON the message."""
        path, place = self._paths[name], self._places[name]
        if _size(path) <= place:
            self._places[name] = min(place, _size(path))
            return
        with path.open("rb") as file:
            file.seek(place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._places[name] = place + len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            yield _message(line)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _message(line: str) -> str:
    """What a line says, in either form.

    Example:
        >>> _message('{"message": "train: answered", "round": 1}')
        'train: answered'
    """
    try:
        return str(json.loads(line)["message"]) if line.startswith("{") else line
    except (ValueError, KeyError):
        return line
