"""The forms of `cluster/` may stay unfilled: a blank variable counts as one that is not set."""

import re
from pathlib import Path

import pytest
from cluster_files import CLUSTER
from tiny import EXPERIMENT, inline, write

ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")]
ONE_TRIAL = ONE_STAGE.replace("{grid: [1e-2, 1e-3]}", "1e-3").replace("seeds: 2", "seeds: 1")


@pytest.mark.slow
def test_a_search_with_the_unfilled_form_is_one_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = re.findall(r"^(\w+)=$", (CLUSTER / "kuberay/.env.example").read_text(), re.MULTILINE)
    assert "MLFLOW_TRACKING_URI" in names
    for name in names:
        monkeypatch.setenv(name, "")
    done = inline("tune", write(tmp_path, ONE_TRIAL), "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results" / "mlflow.db").is_file()
    assert "not synced" not in done.stdout + done.stderr
