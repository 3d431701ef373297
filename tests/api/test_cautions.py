from pathlib import Path

import pytest
from tiny import EXPERIMENT, here, write

from raysl.api import cautions
from raysl.api.cautions import imitates_bf16

BF16 = "stages.semi.precision=bf16"


@pytest.mark.parametrize(
    ("text", "imitates"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n", False),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 amx_tile\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),
        ("processor\t: 0\n", False),
        (None, False),
    ],
)
def test_what_a_processor_imitates(tmp_path: Path, text: str | None, imitates: bool) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert imitates_bf16(tmp_path / "cpuinfo") is imitates


@pytest.mark.parametrize("imitates", [True, False])
def test_a_search_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imitates: bool) -> None:
    monkeypatch.setattr(cautions, "imitates_bf16", lambda: imitates)
    file = write(tmp_path, EXPERIMENT)
    said = f"--set {BF16}: stages.semi.precision: 'bf16': this processor has no instructions for it"
    assert (said in here("tune", file, "--dry-run", "--set", BF16).stdout) is imitates
    for others in (["--set", "resources.gpus=1", "--set", BF16], []):
        assert "no instructions" not in here("tune", file, "--dry-run", *others).stdout
