"""The tutorial, copied line by line."""

from pathlib import Path

import pytest
from documents import walk

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


@pytest.mark.slow
@pytest.mark.usefixtures("tracked")
def test_every_block_runs_and_prints_what_the_tutorial_shows(tmp_path: Path) -> None:
    walk(TUTORIAL, tmp_path)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 700
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "first" in page
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "encoder.safetensors").is_file()
