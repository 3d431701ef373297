"""`raysl show TARGET --attack`: the picture, the table and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tiny import of_stages, write

from raysl.cli import main
from raysl.config import load
from raysl.console import attack as picture
from raysl.data.augment.attack import attack_of
from raysl.data.sampling.subsets import labelled_subset
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import load as load_arrays
from raysl.data.storage.scan import inspect, resolve
from raysl.results.records.stages import write_stage
from raysl.results.storage.store import Store
from raysl.results.tables.build import publish
from raysl.search.summary import summarise_store
from raysl.search.trials import stage_record

ATTACK = "data.attack={name: one_pixel}"
PRETRAINED = "stages.semi.method={name: rotation}"


def shows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: int, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["raysl", "show", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == code, printed.out + printed.err
    assert "Traceback" not in printed.err
    return printed.err if code else printed.out


def data_of(file: Path, *overrides: str) -> TrialData:
    experiment = load(file, overrides=list(overrides))
    return resolve(experiment.data, inspect(experiment.data))


def record(folder: Path, *overrides: str, created_at: float = 1.0, digest: str | None = None) -> None:
    """Write the stages of a search as it begins."""
    experiment = load(write(folder), overrides=list(overrides))
    store, data = Store.open(str(folder / "r"), create=True), data_of(folder / "tiny.yaml", *overrides)
    data = data.model_copy(update={"digest": digest or data.digest})
    for stage in experiment.stages:
        starts = dict.fromkeys(experiment.seeds, "0") if stage.start_from else {}
        write_stage(store, stage_record(experiment, stage, of_stages(experiment, data), starts, created_at))


def cells(printed: str) -> dict[str, list[str]]:
    lines = (line.replace("│", " ").split() for line in printed.splitlines() if "│" in line)
    return {name: values for name, *values in lines}


def test_the_picture_shows_labelled_images_beside_their_attacked_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path)
    override = "data.attack={name: one_pixel, value: per_class, seed: 4}"
    printed = shows(capsys, monkeypatch, 0, file, "--attack", "--set", override)
    assert str(tmp_path / "attack.png") in printed
    data = data_of(file, override)
    arrays = load_arrays(data)
    attack = attack_of(data, arrays)
    assert attack is not None
    table = cells(printed)
    labelled = labelled_subset(arrays.labels, 40, "balanced", 0, 10)
    clean, labels = arrays.images[labelled].astype(int), arrays.labels[labelled]
    changes = np.abs(attack.on(arrays.images[labelled], labels) - clean).max(axis=(1, 2, 3))
    for number in range(10):
        pixel = (*attack.places[number], *attack.colours[number])
        own = changes[labels == number]
        counts = (4, (own > 0).sum(), (own >= 32).sum(), round(float(np.median(own))))
        assert table[str(number)] == [str(value) for value in (*pixel, *counts)]
    counts = (40, (changes > 0).sum(), (changes >= 32).sum(), round(float(np.median(changes))))
    assert table["all"] == [str(value) for value in counts]
    png = np.rint(imread(tmp_path / "attack.png")[..., 0] * 255)
    scale = picture.EDGE // 8
    for number in (0, 9):
        clean = arrays.images[labelled[arrays.labels[labelled] == number]][0]
        top, left = picture.HEAD + number * (8 * scale + picture.BETWEEN), picture.MARGIN + picture.NAMES
        shown, attacked = (
            png[top : top + 8 * scale, start : start + 8 * scale][scale // 2 :: scale, scale // 2 :: scale]
            for start in (left, left + 8 * scale + picture.WITHIN)
        )
        assert np.array_equal(shown, clean[..., 0])
        row, column = attack.places[number]
        assert attacked[row, column] == attack.colours[number, 0]


def test_a_results_folder_shows_each_attack_of_its_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path)
    message = shows(capsys, monkeypatch, 2, tmp_path / "r", "--attack", "--output", tmp_path / "a.png")
    assert "nothing is attacked" in message
    record(tmp_path, ATTACK)
    record(tmp_path, ATTACK, "data.labels=50")
    record(tmp_path, "data.attack={name: one_pixel, seed: 1}")
    printed = shows(capsys, monkeypatch, 0, tmp_path / "r", "--attack", "--output", tmp_path / "a.png")
    assert printed.count("1-pixel attack on digits at 8 x 8: value white, seed 0") == 1
    assert printed.count("seed 1") == 1
    assert (tmp_path / "a-2.png").exists()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "a-2.png").read_bytes()
    assert not (tmp_path / "a-3.png").exists()


def test_attacks_on_training_alone_and_on_probes_too_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    for probe in ("clean", "attacked"):
        override = f"data.attack={{name: one_pixel, probe: {probe}}}"
        record(tmp_path, override)
        monkeypatch.setattr(sys, "argv", ["raysl", "tune", str(tmp_path / "tiny.yaml"), "--set", override, "--dry-run"])
        with pytest.raises(SystemExit):
            main()
        titles.append(capsys.readouterr().out.splitlines()[0])
    whole, alone = "one_pixel white attack", "training-only one_pixel white attack"
    assert [title.rpartition(", ")[2] for title in titles] == [alone, whole]
    publish(
        Store.open(str(tmp_path / "r"), create=False), summarise_store(Store.open(str(tmp_path / "r"), create=False))
    )
    shown = shows(capsys, monkeypatch, 0, tmp_path / "r")
    assert [f"semi, small_resnet, 40 labelled images of digits, {one}" in shown for one in (alone, whole)] == [True] * 2
    printed = shows(capsys, monkeypatch, 0, tmp_path / "r", "--attack", "--output", tmp_path / "a.png")
    assert [f"seed 0, probes on {probe} images" in printed for probe in ("clean", "attacked")] == [True, True]


def test_images_that_have_changed_since_are_not_shown_for_those_that_were_attacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, ATTACK, digest="e" * 32)
    message = shows(capsys, monkeypatch, 2, tmp_path / "r", "--attack", "--output", tmp_path / "a.png")
    assert "digits.parquet: no longer the images" in message
    record(tmp_path, ATTACK, created_at=2.0)  # supersedes
    printed = shows(capsys, monkeypatch, 0, tmp_path / "r", "--attack", "--output", tmp_path / "a.png")
    assert printed.count("picture:") == 1


def test_the_attack_of_one_stage_s_own_data_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, picture_file = write(tmp_path), tmp_path / "a.png"
    own = "stages.finetune.data={attack: {name: one_pixel, seed: 3}}"
    assert "seed 3" in shows(capsys, monkeypatch, 0, file, "--attack", "--set", own, "--output", picture_file)
    more = ("--set", own, "--set", "data.attack={name: one_pixel, seed: 5}")
    both = shows(capsys, monkeypatch, 0, file, "--attack", *more, "--output", picture_file)
    assert both.count("picture:") == 2
    assert both.index("seed 5") < both.index("seed 3")


def test_profiles_are_looked_at_before_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path)
    file.write_text(file.read_text() + "profiles: {attacked: {data: {attack: {name: one_pixel, seed: 7}}}}\n")
    assert "seed 7" in shows(capsys, monkeypatch, 0, file, "--attack", "--profile", "attacked")


# Each: arguments after `raysl show`, and what the message must hold.
REFUSED = {
    "no attack": (["tiny.yaml", "--attack"], ["tiny.yaml", "data.attack", "{name: one_pixel}"]),
    "no labelled images": (
        [
            "tiny.yaml",
            "--attack",
            "--set",
            ATTACK,
            "--set",
            PRETRAINED,
            "--set",
            "stages.finetune.method.name=rotation",
        ],
        [f"--set {ATTACK}", "no stage sees labelled images"],
    ),
    "no YAML": (["missing.yaml", "--attack"], ["missing.yaml", "cannot be read", "tiny.yaml"]),
    "no folder": (["missing", "--attack"], ["missing", "no such folder"]),
    "a folder's profile": ([".", "--attack", "--profile", "x"], ["--profile", "results folder"]),
    "an override of a folder": ([".", "--attack", "--set", "seeds=1"], ["--set", "results folder"]),
    "an override of tables": ([".", "--set", "seeds=1"], ["--set", "--attack"]),
    "a profile of tables": ([".", "--profile", "x"], ["--profile", "--attack"]),
    "an output of tables": ([".", "--output", "x.png"], ["--output", "--attack"]),
    "a format of a picture": (["tiny.yaml", "--attack", "--format", "csv"], ["--format", "picture"]),
    "a picture that is none": (["tiny.yaml", "--attack", "--output", "x.txt"], ["--output x.txt", ".png"]),
    "a picture nowhere": (
        ["tiny.yaml", "--attack", "--set", ATTACK, "--output", "no/x.png"],
        ["--output no/x.png", "No such file"],
    ),
    "an unknown attack": (
        ["tiny.yaml", "--attack", "--set", "data.attack={name: two_pixels}"],
        ["data.attack.name", "'one_pixel', not 'two_pixels'"],
    ),
    "an unknown key": (
        ["tiny.yaml", "--attack", "--set", "data.attack={name: one_pixel, sed: 1}"],
        ["data.attack.sed", "did you mean 'seed'? choices: name, probe, seed, value"],
    ),
    "an unknown value": (
        ["tiny.yaml", "--attack", "--set", "data.attack={name: one_pixel, value: black}"],
        ["data.attack.value", "'white' or 'per_class', not 'black'"],
    ),
    "a word": (["tiny.yaml", "--attack", "--set", "data.attack=one_pixel"], ["data.attack", "must be a mapping"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_show_refuses(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments, expected = REFUSED[kind]
    message = shows(capsys, monkeypatch, 2, *arguments)
    for text in expected:
        assert text in message
    assert not list(tmp_path.rglob("*.png"))
