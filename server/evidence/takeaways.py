"""Taking a finished run home: an adapter, a whole model, or models to be merged."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...aggregators.receipts import Job
from ...aggregators.receipts import run as merge
from ...client.outlines import CAUSAL
from ...client.trials import trial
from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from ...protocols.vectors import Floats
from .. import exports, files, protections
from .dossiers import card, licence
from .keepers import model
from .revisits import Revisit, revisited
from .translations import BASE, CLIENTS, DRAWN, SHEET, sheet

PEFT, TRANSFORMERS, MERGEKIT = "peft", "transformers", "mergekit"
KINDS = (PEFT, TRANSFORMERS, MERGEKIT)


def take(folder: Path, kind: str, out: Path) -> dict[str, Any]:
    """Write a finished run's model in others' form.

    Args:
        folder: the run's.
        kind: "peft": one adapter; "transformers": the whole model; "mergekit": the
            last round's models of the clients that hand theirs on, the model before
            it, and `merge.yaml`, which merges them again.
        out: a folder that is not there yet.

    Returns:
        What was written; of an adapter its rank and error, of models for mergekit
        "clients" and "apart", how far the sheet's merge is from the round's own
        (relative L2 distance of the updates).

    Raises:
        ConfigError: the folder is there, the run has no such form, or nobody hands
            task vectors on.
    """
    if kind not in KINDS:
        raise ConfigError(f"--to {kind}: it is one of {', '.join(KINDS)}")
    files.unused(out)
    with revisited(folder) as visit, files.whole(out) as part:
        said = _WRITERS[kind](visit, part)
        for text in licence(visit.tape.config)[1]:
            shutil.copyfile(text, part / text.name)
    return {"kind": kind, "out": str(out)} | said


def _adapter(visit: Revisit, out: Path) -> dict[str, Any]:
    config = visit.tape.config
    if not exports.has_factors(config):
        raise ConfigError(
            "--to peft: the run's updates are no factors; take --to transformers"
        )
    session = visit.kept()
    session.config = _exported(config, exports.ADAPTER)
    said = exports.export(session, out)
    rank, error = said["rank"], said["error"]
    cut = f"Rank {rank}; {f'{error:.2g}' if error else 'nothing'} of the updates' norm"
    lines = [*_loading(out), f"{cut} was cut off."]
    if config.model.task == CAUSAL:
        vllm = f"`--lora-modules NAME=FOLDER --max-lora-rank {rank}`"
        lines.append(f"vLLM takes the folder as it is: {vllm}.")
    files.write(out / "README.md", card(visit, PEFT, lines).encode())
    return said


def _whole(visit: Revisit, out: Path) -> dict[str, Any]:
    session = visit.kept()
    session.config = _exported(visit.tape.config, exports.FOLDED)
    exports.check(session.config)
    said = exports.export(session, out)
    files.write(out / "README.md", card(visit, TRANSFORMERS, _loading(out)).encode())
    return said


def _exported(config: Config, what: Any) -> Config:
    from dataclasses import replace

    return replace(config, run=replace(config.run, export=what))


def _loading(out: Path) -> list[str]:
    """What the plain export's page says below its heading: how it is loaded."""
    text = (out / "README.md").read_text("utf-8")
    return [text.partition("\n# ")[2].partition("\n")[2].strip(), ""]


def allowed(config: Config, client: str) -> bool:
    """Whether a client's task vector may be handed on."""
    own = next((one for one in config.clients if one.name == client), None)
    return own.hand_on if own is not None else config.data.hand_on


def _models(visit: Revisit, out: Path) -> dict[str, Any]:
    tape, config = visit.tape, visit.tape.config
    protections.once(config, tape.folder)
    number = tape.complete()[-1]
    with visit.round(number) as played:
        given = {one.name: one for one in played.arrivals}
        names = [name for name in given if allowed(config, name)]
        if not names:
            raise ConfigError(
                "no client hands its task vectors on: clients.hand_on (or "
                f"data.hand_on) in {tape.folder / 'config.json'} says who does, and "
                "is their owners' to set"
            )
        text = sheet(config.merge.recipe, {n: given[n].share for n in names})
        base = model(visit.session)
        _saved(visit, {}, out / BASE)
        for name in names:
            _saved(visit, played.solo(name), out / CLIENTS / name)
        files.write(out / SHEET, text.encode())
        merge(Job(text, [out], sheet=True), out / "merged")
        wanted = _moved(visit, played.merged(names).update)
        apart = _apart(out, wanted, set(base.network.head))
        shutil.rmtree(out / "merged")
    whose = f"The models of {len(names)} of {len(given)} clients after round {number}"
    lines = [f"{whose}, the model before it in `{BASE}`, and `{SHEET}`:", "", "```sh"]
    # its own card asks a hub about the folders' names, and fails without network
    lines += [f"mergekit-yaml {SHEET} merged --no-write-model-card"]
    lines += [f"fedelta merge --recipe {SHEET} --out merged", "```", ""]
    if config.model.task != CAUSAL:
        lines += ["mergekit 0.1.5 stops at BERT's layers; the second command does not."]
    lines += [
        f"What that merges is {apart:.2e} away from the round's own merge of them",
        "(relative L2 distance of the updates).",
    ]
    if exports.has_factors(config) and config.lora.rank_down:
        cut = f"The round's own keeps rank {config.lora.rank_down}"
        lines += [f"{cut} (`lora.rank_down`); the sheet's is whole."]
    if config.merge.recipe.startswith(DRAWN):
        lines += ["Draws are mergekit's own."]
    files.write(out / "README.md", card(visit, MERGEKIT, lines).encode())
    return {"clients": names, "round": number, "apart": apart}


def _saved(visit: Revisit, update: Mapping[str, Floats], out: Path) -> None:
    """A whole model on disk, with an update folded in; its own head beside it."""
    from ...client.folders import save

    base = model(visit.session)
    with trial(base, update):
        save(base, out, visit.tape.task.labels)
        weights = base.weights()
        head = {name: weights[name].copy() for name in base.network.head}
    if head:
        files.write_arrays(out / "head.safetensors", head)


def _moved(visit: Revisit, update: Mapping[str, Floats]) -> dict[str, Floats]:
    """What an update changes, by name."""
    base = model(visit.session)
    before = {name: one.copy() for name, one in base.weights().items()}
    with trial(base, update):
        return {name: one - before[name] for name, one in base.weights().items()}


def _apart(out: Path, wanted: Mapping[str, Floats], own: set[str]) -> float:
    """How far a sheet's merge is from another one, relative to what that changes."""
    from ...aggregators.checkpoints import opened

    merged, base = opened(out / "merged").tensors, opened(out / BASE).tensors
    gap = whole = 0.0
    for name, change in wanted.items():
        found = next((n for n in merged if n == name or n.endswith(f".{name}")), "")
        if name in own and not found:
            continue
        made = _array(merged[found]) - _array(base[found])
        gap += float(np.square(made - change, dtype=np.float64).sum())
        whole += float(np.square(change, dtype=np.float64).sum())
    return (gap / whole) ** 0.5 if whole else 0.0


def _array(tensor: Any) -> Floats:
    return np.asarray(tensor.raw, np.float32)


_WRITERS = {PEFT: _adapter, TRANSFORMERS: _whole, MERGEKIT: _models}
