"""Who works in a run's folder, and how much memory it takes: asked of the kernel."""

from pathlib import Path


def holder(folder: Path) -> int:
    """The process that holds a run's folder (see `Journal.hold`); 0: none does."""
    try:
        lock = (folder / "lock").stat()
        locks = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return 0
    for line in locks:
        words = line.split()
        if "->" not in words and words[5].endswith(f":{lock.st_ino}"):
            return max(int(words[4]), 0)
    return 0


def memory(pid: int) -> dict[str, int]:
    """A process's memory in bytes; {}: it is gone.

    "resident" now, and at its "peak"; "own": of what is resident, what the kernel could
    not drop and read again from files.

    Example:
        >>> import os
        >>> now = memory(os.getpid())
        >>> 0 < now["resident"] <= now["peak"]
        True
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return {}
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    names = {"resident": "VmRSS", "peak": "VmHWM", "own": "RssAnon"}
    return {
        name: int(found[key].split()[0]) << 10
        for name, key in names.items()
        if key in found
    }
