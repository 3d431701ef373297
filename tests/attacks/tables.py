"""Table files that were tampered with, beside an experiment that was not."""

import random
from collections.abc import Iterator
from pathlib import Path

from attacks.outcomes import outcome
from attacks.yaml_structure import PRETRAINED, dry_run, tampered, text_of

from raysl.plain_yaml import read_one

TABLE = """\
name: example
source: Somebody 2020
profiles:
  small:
    digits: {profile: short, set: {data.labels: 50, stages.semi.epochs: 2}}
    half: {set: {data.unlabelled: 64}}
  large:
    digits: {}
tables:
  first:
    title: A table
    columns:
      clean: {title: Clean, data: digits}
      attacked: {title: Attacked, data: digits, set: {data.attack: {name: one_pixel}}}
      half: {title: Half, data: half}
    rows:
      semi: {title: Semi, experiment: experiment.yaml, stage: semi}
      linear: {title: Linear, experiment: experiment.yaml, stage: linear, set: {seeds: 1}}
    published:
      semi: {clean: [10.0, 0.5], half: [9]}
      linear: {clean: [20.0, 0.5], attacked: null}
  second:
    title: Another
    experiment: experiment.yaml
    stage: semi
    data: digits
    columns: {one: {title: One}, two: {title: Two, set: {'stages."semi".epochs': 4}}}
    rows: {one: {title: One}}
"""


def cases(seed: int, count: int) -> Iterator[str]:
    """Yield table files, each of one seed and number alone."""
    base = read_one(TABLE).value
    for number in range(count):
        yield text_of(tampered(base, random.Random(f"{seed}/{number}")))


def run(case: str, folder: Path) -> str:
    """Return what becomes of a table file: `accepted`, `refused`, or a fault."""
    (folder / "experiment.yaml").write_text(PRETRAINED)
    file = folder / "table.yaml"
    file.write_text(case)
    return outcome(lambda: dry_run(file))
