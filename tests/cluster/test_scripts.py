"""The scripts in `cluster/` fit the programs that they call, and slips in them are found."""

import pytest
from cluster_files import CLUSTER
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
        ("kuberay/Dockerfile", "WORKDIR", "WORKDIRE"),
        ("kuberay/Dockerfile", "--chown=ray pyproject", "--chwon=ray pyproject"),
        ("kuberay/Dockerfile", "search_spaces search_spaces", "search_space search_spaces"),
        ("kuberay/Dockerfile", "kuberay/raycluster.yaml", "kuberay/cluster.yaml"),
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
