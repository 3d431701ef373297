"""What is wrong with the scripts of `cluster/`: the Slurm job, the image's Dockerfile and the RayJob's entry point."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster_files import ROOT
from cluster_schemas import option_faults, options

# Of slurm.schedmd.com/sbatch.html and srun.html; no package carries them.
SBATCH = {
    *("job-name", "nodes", "ntasks-per-node", "exclusive", "gpus-per-node", "time", "requeue", "open-mode", "output"),
    *("signal", "partition", "account", "mem", "constraint", "exclude", "array", "cpus-per-task", "error"),
}
SRUN = {"cpus-per-task", "nodes", "ntasks", "ntasks-per-node", "kill-on-bad-exit", "export"}
SLURM_VARIABLES = {"SLURM_SUBMIT_DIR", "SLURM_JOB_ID", "SLURM_CPUS_ON_NODE", "SLURM_JOB_NUM_NODES"}
OTHER_VARIABLES = {"PATH", "PWD", "RAYSL_HOME", "RAYSL_HEAD_IP", "RAY_AUTH_MODE"}
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER"}

Faults = Iterator[str]


def given_at_start(config: Mapping[str, Any], script: str) -> list[str]:
    """Return the arguments of a script that workers of a launcher's file start; it is there, and started before Ray."""
    commands = config["worker_start_ray_commands"]
    watching = next(number for number, command in enumerate(commands) if script in command)
    assert watching < next(number for number, command in enumerate(commands) if "ray start" in command)
    assert f"~/raysl/cluster/{script}" in config["file_mounts"]
    words = commands[watching].split()
    return list(words[words.index(f"~/raysl/cluster/{script}") + 1 : words.index("<")])


def script_faults(name: str, text: str) -> list[str]:
    """Return what is wrong with a script of `cluster/`, were this its text."""
    return list(SCRIPTS[name](text))


def _slurm(text: str) -> Faults:
    yield from _shell_faults(text)
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith("#SBATCH"):
            yield from (f"sbatch: no option --{option}" for option in options(line) if option not in SBATCH)
    for line in re.findall(r"^srun .*", joined, re.MULTILINE):
        srun, _, rest = line.partition("ray symmetric-run")
        start, _, tune = rest.partition(" -- ")
        yield from (f"srun: no option --{option}" for option in options(srun) if option not in SRUN)
        yield from option_faults("ray symmetric-run", options(start))
        yield from option_faults("raysl tune", options(tune))
        if not tune.startswith("raysl tune "):
            yield f"srun runs {tune!r}"
    used = set(re.findall(r"\$\{?([A-Z_]{3,})", text)) | set(re.findall(r"\b(RAY[A-Z_]+)=", text))
    known = SLURM_VARIABLES | OTHER_VARIABLES | {"RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT"}
    yield from (f"no variable {name}" for name in used - known)


def _dockerfile(text: str) -> Faults:
    for line in text.splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction.startswith("#"):
            continue
        if instruction not in INSTRUCTIONS:
            yield f"no instruction {instruction}"
        if instruction == "COPY":
            yield from (f"COPY {w}" for w in rest.split() if w.startswith("--") and w != "--chown=ray")
            sources = [word for word in rest.split() if not word.startswith("--")][:-1]
            yield from (f"no {source} to copy" for source in sources if not (ROOT / source).exists())


def _rayjob(text: str) -> Faults:
    yield from _shell_faults(text)
    for command in re.findall(r"^raysl .*|\bray [a-z].*", text.partition("set -")[2], re.MULTILINE):
        if not command.startswith(("raysl tune ", "ray status ")):
            yield f"it runs {command!r}"


def _drain(text: str) -> Faults:
    yield from _shell_faults(text)
    for command in re.findall(r"\bray drain-node .*", text.replace("\\\n", " ")):
        yield from option_faults("ray drain-node", options(command))


def _shell_faults(text: str) -> Faults:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run(
        [shellcheck, "--severity=style", "--format=gcc", "-"], input=text, text=True, capture_output=True, check=False
    )
    yield from (checked.stdout + checked.stderr).splitlines()


SCRIPTS: Mapping[str, Callable[[str], Faults]] = {
    "slurm/raysl.sbatch": _slurm,
    "stop_without_head.sh": _shell_faults,
    "drain_before_preemption.sh": _drain,
    "kuberay/Dockerfile": _dockerfile,
    "kuberay/search.sh": _rayjob,
}
