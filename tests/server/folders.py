"""A run's folder as a run writes it, small and made up, for what reads folders."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedelta.protocols.settings import Config

CLIENTS = tuple(f"client-{place:02d}" for place in range(8))
LOCAL = (0.392, 0.421, 0.437, 0.452, 0.466, 0.489, 0.512, 0.641)
CURVE = (0.481, 0.548, 0.586, 0.607)
HOSTILE = '<script>alert("x")</script>'


def _pairs(scale: float) -> list[list[float]]:
    return [
        [1.0 if i == j else round(scale * math.cos(i * j + i + j), 3) for j in range(8)]
        for i in range(8)
    ]


def record() -> list[dict[str, Any]]:
    """The lines of `record.jsonl`: a refusal in round 2, all else accepted."""
    lines: list[dict[str, Any]] = [
        {"kind": "run", "at": 0.0, "run": "00ff", "clients": list(CLIENTS)}
        | {"name": HOSTILE, "recipe": "fedavg()", "rounds": 3, "seed": 0},
        {"kind": "evaluation", "at": 2.0, "round": 0}
        | {"metrics": {"accuracy": CURVE[0], "loss": 2.4}},
    ]
    for number in (1, 2, 3):
        lines.append(
            {"kind": "asked", "at": 8.0 * number - 6, "round": number}
            | {"clients": list(CLIENTS)}
        )
        for place, name in enumerate(CLIENTS):
            refused = number == 2 and place == 3
            lines.append(
                {"kind": "contribution", "at": 8.0 * number + place, "round": number}
                | {"client": name, "bytes": 12_104 + place, "seconds": 1.5}
                | {"verdict": "refused" if refused else "accepted", "weight": 100}
                | {"reason": "NON_FINITE" if refused else None, "loss": 2.0 / number}
            )
        lines += [
            {"kind": "diagnostics", "at": 8.0 * number + 8, "round": number}
            | {"clients": list(CLIENTS), "cosine": _pairs(0.2)}
            | {"conflict": [[abs(v) for v in row] for row in _pairs(0.5)]}
            | {
                "layers": {
                    f"encoder.layer.{layer}.attention.self.{part}": {
                        "cosine": 0.05 + 0.02 * layer,
                        "conflict": 0.5 - 0.01 * layer,
                    }
                    for layer in range(6)
                    for part in ("query", "value")
                }
            },
            {"kind": "round", "at": 8.0 * number + 8, "round": number, "down": 9}
            | {"phases": {"clients": 6.4, "merge": 0.6, "evaluation": 1.1}},
            {"kind": "evaluation", "at": 8.0 * number + 9, "round": number}
            | {"metrics": {"accuracy": CURVE[number], "loss": 2.4 - number / 5}},
        ]
    return lines


def summary() -> dict[str, Any]:
    """What `summary.json` holds."""
    local = [
        {"client": name, "accuracy": value, "loss": 2.2}
        for name, value in zip(CLIENTS, LOCAL, strict=True)
    ]
    return {
        "recipe": "fedavg()",
        "seed": 0,
        "rounds": 3,
        "clients": 8,
        "metrics": {
            "base": {"accuracy": CURVE[0], "loss": 2.4},
            "final": {"accuracy": CURVE[-1], "loss": 1.8},
            "local": local,
            "central": {"accuracy": 0.715, "loss": 1.1},
        },
        "bytes": {"up": 290_600, "down": 3_300_000, "up_dense_fp32": 7_870_000},
        "seconds": 41.3,
        "model_digest": "ab" * 32,
        "environment": {"python": "3.11.2", "packages": {"numpy": "2.4.6"}},
    }


def made(folder: Path) -> Path:
    """Write the three files that a report is made from."""
    config = asdict(Config())
    config["run"]["name"] = HOSTILE
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "summary.json").write_text(json.dumps(summary()))
    text = "".join(json.dumps(line) + "\n" for line in record())
    (folder / "record.jsonl").write_text(text)
    return folder
