"""`fedelta merge` on mergekit's YAML, and on its own receipt."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from fedelta.server.cli import app


def test_a_sheet_and_its_receipt(tmp_path: Path) -> None:
    for name, value in {"base": 0.0, "a": 1.0, "b": 3.0}.items():
        tensors = {"w": np.full(4, value, np.float32)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    sheet, out = tmp_path / "merge.yaml", tmp_path / "out.safetensors"
    sheet.write_text(
        "merge_method: ties\n"
        "base_model: base.safetensors\n"
        "parameters: {density: 1.0, weight: 1}\n"
        "models: [a.safetensors, b.safetensors]\n"
    )
    run = CliRunner().invoke
    made = run(app, ["merge", "--recipe", str(sheet), "--out", str(out)])
    assert made.exit_code == 0, made.output
    assert load_file(out)["w"].tolist() == [2.0] * 4
    again, receipt = tmp_path / "again.safetensors", f"{out}.fedelta-merge.json"
    made = run(app, ["merge", "--recipe", receipt, "--out", str(again)])
    assert made.exit_code == 0, made.output
    assert again.read_bytes() == out.read_bytes()
