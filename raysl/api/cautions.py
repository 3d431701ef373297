"""Cautions of a search: settings whose results mean little, and precisions that this processor imitates."""

from collections.abc import Sequence
from pathlib import Path

from raysl.api.launching import Launch
from raysl.launch.cluster.connected import has_other_nodes
from raysl.search import preflight
from raysl.search.experiment import Experiment
from raysl.search.trials import Datas

WITH_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of processors that multiply bf16; the last one is ARM's
CPU_INFO = Path("/proc/cpuinfo")


def cautions(resolved: Sequence[tuple[Experiment, Datas]], launch: Launch) -> list[str]:
    """Return cautions about experiments, each once and with its place."""
    is_here = launch.address is None and not has_other_nodes()
    slow = _imitated([one for one, _ in resolved]) if is_here and imitates_bf16() else []
    return list(dict.fromkeys([*slow, *(text for one in resolved for text in preflight.cautions(*one))]))


def imitates_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether this machine's processor has no instructions for bf16; False where /proc/cpuinfo does not say."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}
    return bool(flags) and not flags & WITH_BF16


def _imitated(experiments: Sequence[Experiment]) -> list[str]:
    """Return a caution for each stage that trains in bf16 on a CPU."""
    keys = (
        (one, f"stages.{stage.name}.precision")
        for one in experiments
        for stage in one.stages
        if stage.settings.precision == "bf16" and not one.resources.gpus
    )
    return [
        f"{one.place(key)}: {key}: 'bf16': this processor has no instructions for it, and fp32 is several times as fast"
        for one, key in keys
    ]
