"""The scripts in `cluster/` fit the programs that they call, and slips in them are found."""

import os
import subprocess
from pathlib import Path

import pytest
from cluster_files import CLUSTER, documents
from cluster_scripts import SCRIPTS, script_faults


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_right(name: str) -> None:
    assert script_faults(name, (CLUSTER / name).read_text()) == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("slurm/raysl.sbatch", '--address "$address" --min', "--address $address --min"),
        ("slurm/raysl.sbatch", "USR1\n\n", "'\n\n"),
        ("slurm/raysl.sbatch", "#SBATCH --requeue", "#SBATCH --requeued"),
        ("slurm/raysl.sbatch", "--cpus-per-task", "--cpu-per-task"),
        ("slurm/raysl.sbatch", "--min-nodes", "--nodes"),
        ("slurm/raysl.sbatch", "--num-cpus", "--num-cpu"),
        ("slurm/raysl.sbatch", '"$@" --address', '"$@" --adress'),
        ("slurm/raysl.sbatch", "$SLURM_JOB_NUM_NODES", "$SLURM_NUM_NODES"),
        ("slurm/raysl.sbatch", "RAY_AUTH_MODE=", "RAY_AUTH_MODUS="),
        ("slurm/raysl.sbatch", "CLUSTER_WAIT_TIMEOUT=", "CLUSTER_WAIT_TIMOUT="),
        ("slurm/raysl.sbatch", "raysl tune", "raysl tun"),
        ("drain_before_preemption.sh", "--deadline-remaining-seconds", "--deadline-seconds"),
        ("drain_before_preemption.sh", '--address "$head"', "--address $head"),
        ("kuberay/Dockerfile", "WORKDIR", "WORKDIRE"),
        ("kuberay/Dockerfile", "--chown=ray pyproject", "--chwon=ray pyproject"),
        ("kuberay/Dockerfile", "search_spaces search_spaces", "search_space search_spaces"),
        ("kuberay/Dockerfile", "kuberay/raycluster.yaml", "kuberay/cluster.yaml"),
        ("kuberay/Dockerfile", "kuberay/search.sh", "kuberay/serach.sh"),
        ("kuberay/search.sh", 'tune "$@"', "tune $@"),
        ("kuberay/search.sh", "\nraysl tune", "\nraysl tun"),
        ("kuberay/search.sh", "ray status", "ray stats"),
    ],
)
def test_slip_in_a_script_is_found(name: str, right: str, wrong: str) -> None:
    text = (CLUSTER / name).read_text()
    assert right in text
    assert script_faults(name, text.replace(right, wrong, 1)) != []


def test_slurm_job_comes_back_after_preemption_and_time_limit() -> None:
    text = (CLUSTER / "slurm/raysl.sbatch").read_text()
    assert "\n#SBATCH --requeue\n" in text
    assert "\n#SBATCH --open-mode=append\n" in text  # or the second start would empty the log of the first
    assert "\n#SBATCH --signal=B:USR1@" in text
    assert text.rstrip().endswith("&\nwait $!")  # in the foreground, srun would keep the trap from being run


@pytest.mark.parametrize(
    ("code", "lives", "ends"),
    [(0, True, 0), (1, True, 0), (1, False, 1), (2, False, 0), (3, False, 0), (137, True, 137), (143, True, 143)],
)
def test_only_a_lost_cluster_is_retried(code: int, lives: bool, ends: int, tmp_path: Path) -> None:
    """The programs are stood in for: what they end with is what the entry point is about."""
    for name, exits in (("raysl", code), ("ray", 0 if lives else 1)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*"\nexit {exits}\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", CLUSTER / "kuberay/search.sh", "a b.yaml", "--max-cost", "3"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == ends
    assert done.stdout.startswith("raysl tune a b.yaml --max-cost 3\n")
    assert ("exit code" in done.stdout) == (ends != code)


def test_the_ray_job_bounds_all_of_its_attempts_together() -> None:
    (job,) = documents((CLUSTER / "kuberay/rayjob.yaml").read_text())
    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["bash", "/home/ray/raysl/cluster/kuberay/search.sh"]
    assert "--max-cost" in words
    assert float(words[words.index("--max-hours") + 1]) * 3600 < job["spec"]["activeDeadlineSeconds"]
