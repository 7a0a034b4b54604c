"""Look into a built wheel: ``python tests/wheels.py dist/fedelta-*.whl``."""

import sys
import zipfile
from pathlib import Path

NEEDED = tuple(
    f"fedelta/{part}"
    for part in (
        "py.typed",
        "server/presets/icd10.toml",
        "server/presets/smollm2-domains.toml",
        "server/presets/smollm2-languages.toml",
        "server/templates/report.html.j2",
        "server/templates/report.css.j2",
        "server/templates/live.js",
        "server/evidence/tasks/fedelta_logic.yaml",
        "server/evidence/tasks/logic.jsonl",
        "protocols/errors.py",
        "aggregators/__init__.py",
        "client/__init__.py",
    )
)


def faults(wheel: Path) -> list[str]:
    """What is wrong with the wheel: nothing, where it is right."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    code = {top for top in tops if not top.endswith(".dist-info")}
    wrong = [] if code == {"fedelta"} else [f"top-level names are {sorted(code)}"]
    wrong += [f"{name} is not in it" for name in NEEDED if name not in names]
    strays = ("fedelta/tests/", "fedelta/docs/", "fedelta/benchmarks/")
    wrong += [f"{name} is in it" for name in names if name.startswith(strays)]
    return wrong


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]))
    sys.exit("\n".join(found) if found else 0)
