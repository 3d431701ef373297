"""`raysl show TARGET --mixing`: its numbers, the picture, and what is refused."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from tiny import of_stages, write

from raysl import methods
from raysl.cli import main
from raysl.config import load
from raysl.console import diagnostic as picture
from raysl.data.storage.scan import inspect, resolve
from raysl.methods import describe, trimix
from raysl.methods._facts import read_facts
from raysl.methods._method import Diagnostic, Matrix, View
from raysl.results.records.rows import read_rows, write_row
from raysl.results.records.stages import write_selection, write_stage
from raysl.results.storage.store import Store
from raysl.search.selection import select
from raysl.search.trials import expand, stage_record
from raysl.training.building import build_method
from raysl.training.diagnostics import Shown, diagnosed
from raysl.training.input_pipeline import Feed
from raysl.training.model_file import read_model
from raysl.training.paths import model_path
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  pretrain:
    method: {name: trimix, projector: 24, min_crop: 0.5, tau: 0.5}
    epochs: 3
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-2]}}
    select: probe_accuracy
"""
ANOTHER = ["stages.pretrain.method={name: rotation}", "stages.pretrain.batch_size=64", "stages.pretrain.epochs=1"]
SIZE = picture.NUM_IMAGES


class Mixed(NamedTuple):
    """What is shown, by its names: images, and matrices whose rows are images and whose columns are virtual ones."""

    images: np.ndarray
    virtual: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def lambd(self) -> float:
        return float(self.truth[0, 0])


def mixed(spec: TrialSpec, store: Store) -> Mixed:
    shown = diagnosed(spec, store, "mixing", SIZE)
    return Mixed(shown.columns, shown.rows, *(matrix.values.T for matrix in shown.matrices))


def search(folder: Path, *overrides: str, created_at: float = 1.0) -> list[TrialSpec]:
    """Train and select an experiment's only stage, into the folder `r`; return its trials."""
    experiment = load(write(folder, EXPERIMENT), overrides=list(overrides))
    datas = of_stages(experiment, resolve(experiment.data, inspect(experiment.data)))
    [stage], store = experiment.stages, Store.open(str(folder / "r"), create=True)
    specs = [trial.spec for trial in expand(experiment, stage, datas, {})]
    for spec in specs:
        run_trial(spec, store, Execution(), lambda epoch: None)
    record = write_stage(store, stage_record(experiment, stage, datas, {}, created_at))
    write_selection(store, select(record, read_rows(store), 2.0))
    return specs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixing")


@pytest.fixture(scope="module")
def specs(folder: Path) -> list[TrialSpec]:
    """The trials of a search in the folder, which no test changes."""
    return search(folder)


@pytest.fixture(scope="module")
def found(folder: Path, specs: list[TrialSpec]) -> Mixed:
    return mixed(specs[0], Store.open(str(folder / "r"), create=False))


@pytest.fixture(scope="module")
def shown(folder: Path, specs: list[TrialSpec]) -> Shown:
    return diagnosed(specs[0], Store.open(str(folder / "r"), create=False), "mixing", SIZE)


@pytest.fixture
def shows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `raysl show`; return what it printed, or the message with which it ended."""

    def shown(code: int, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["raysl", "show", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == code, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.err if code else printed.out

    return shown


def standardised(rows: np.ndarray, axis: int) -> np.ndarray:
    mean, var = rows.mean(axis, keepdims=True), rows.var(axis, keepdims=True)
    return (rows - mean) / np.sqrt(var + 1e-5)


def test_numbers_are_those_of_the_trained_model_in_eval_mode(
    folder: Path, specs: list[TrialSpec], found: Mixed
) -> None:
    store, spec = Store.open(str(folder / "r"), create=False), specs[0]
    device = prepare_process(spec, Execution())
    method = build_method(spec, 1, store)
    method.load_state_dict(read_model(store, spec.id).tensors)
    method.eval()
    feed = Feed(spec.model_copy(update={"batch_size": SIZE}), method.views(), device)
    every = [feed.make_views(batch, 0)["first"] for batch in feed.batches(0, 0, 1)]
    factors = [float(view.aug_params[0]) for view in every if view.aug_params is not None]
    place = int(np.argmin(np.abs(np.array(factors) - 0.5)))
    images, lambd = every[place].images, factors[place]
    virtual = lambd * images + (1 - lambd) * images.flip(0)
    with torch.no_grad():
        z, z_vrt = (method.projector(method.encoder(one)).double().numpy() for one in (images, virtual))  # type: ignore[operator]
    before = standardised(z, 0) @ standardised(standardised(z_vrt, 0), 1).T / 24
    np.testing.assert_allclose(found.before, before, atol=1e-4)
    exponents = np.exp(before / 0.5)
    np.testing.assert_allclose(found.after, exponents / exponents.sum(1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(found.truth, lambd * np.eye(SIZE) + (1 - lambd) * np.eye(SIZE)[::-1], atol=1e-6)
    assert abs(found.lambd - 0.5) == min(abs(np.float32(factor) - 0.5) for factor in factors)


def test_images_are_the_views_and_virtual_ones_their_mixture(found: Mixed) -> None:
    assert found.images.shape == found.virtual.shape == (SIZE, 8, 8, 1)
    assert found.images.dtype == np.uint8
    assert found.images.max() > 200  # as bright as digits are, and not normalised
    lambd = found.lambd
    expected = lambd * found.images + (1 - lambd) * found.images[::-1].astype(float)
    assert np.abs(found.virtual - expected).max() <= 1


def test_the_same_trial_gives_the_same_and_another_seed_another(
    folder: Path, specs: list[TrialSpec], found: Mixed
) -> None:
    store = Store.open(str(folder / "r"), create=False)
    again, other = (mixed(spec, store) for spec in specs)
    assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))
    assert not np.array_equal(found.images, other.images)


def test_the_picture_has_a_row_for_each_virtual_image_and_a_column_for_each_image(
    folder: Path, specs: list[TrialSpec], found: Mixed, tmp_path: Path, shows: Callable[..., str]
) -> None:
    printed = shows(0, folder / "r", "--mixing", "--output", tmp_path / "m.png")
    assert f"tiny/pretrain, trial {specs[0].id} of seed 0" in printed
    assert str(tmp_path / "m.png") in printed
    png = np.rint(imread(tmp_path / "m.png")[..., :3] * 255)
    scale, inset = picture.IMAGE // 8, (picture.CELL - picture.IMAGE) // 2
    above = picture.HEAD + picture.NAME
    top, first = above + picture.CELL + picture.NUMBER, picture.MARGIN + picture.CELL + picture.NUMBER
    edge = SIZE * picture.CELL

    def image_at(left: int, upper: int) -> np.ndarray:
        whole: np.ndarray = png[upper : upper + picture.IMAGE, left : left + picture.IMAGE, 0]
        return whole[scale // 2 :: scale, scale // 2 :: scale]

    for number in (0, 3, SIZE - 1):
        beside = top + number * picture.CELL + inset
        assert np.abs(image_at(picture.MARGIN, beside) - found.virtual[number, ..., 0]).max() <= 1
        for place in range(3):
            left = first + place * (edge + picture.BETWEEN) + number * picture.CELL + inset
            assert np.abs(image_at(left, above) - found.images[number, ..., 0]).max() <= 1
    scales = [(found.truth, "RdBu", -1, 1), (found.before, "RdBu", -1, 1), (found.after, "Blues", 0, found.after.max())]
    for place, (matrix, colours, low, high) in enumerate(scales):
        for original, virtual in ((0, 0), (2, 7), (7, 2), (4, 9), (SIZE - 1, 0)):
            row = top + virtual * picture.CELL + 5  # a corner of the cell, where no number is
            column = first + place * (edge + picture.BETWEEN) + original * picture.CELL + 5
            share = np.clip((matrix[original, virtual] - low) / (high - low), 0, 1)
            expected = np.array(matplotlib.colormaps[colours](float(share))[:3]) * 255
            assert np.abs(png[row, column] - expected).max() <= 3, (place, original, virtual)


def test_each_cell_has_its_number(shown: Shown, found: Mixed) -> None:
    canvas = picture.composed("title", shown)
    written = {}
    for text in canvas.figure.texts:
        x, y = text.get_position()
        written[round(x * canvas.width), round((1 - y) * canvas.height)] = text.get_text()
    top = picture.HEAD + picture.NAME + picture.CELL + picture.NUMBER
    first = picture.MARGIN + picture.CELL + picture.NUMBER
    for place, matrix in enumerate((found.truth, found.before, found.after)):
        left = first + place * (SIZE * picture.CELL + picture.BETWEEN)
        for original, virtual in ((0, 0), (2, 7), (7, 2), (4, 9)):
            middle = (int((number + 0.5) * picture.CELL) for number in (original, virtual))
            x, y = (start + more for start, more in zip((left, top), middle, strict=True))
            assert written[x, y] == f"{matrix[original, virtual]:.2f}"
    assert f"λ = {found.lambd:.2f};" in " ".join(written.values())


def test_what_is_shown_says_that_columns_sum_to_one(shown: Shown, found: Mixed) -> None:
    truth, before, after = (matrix.values for matrix in shown.matrices)
    assert shown.matrices[2].title.endswith("(columns sum to 1)")
    np.testing.assert_allclose(after.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(before, found.before.T)
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-6)


def test_each_stage_of_trimix_has_a_picture(tmp_path: Path, shows: Callable[..., str]) -> None:
    short = ["seeds=1", "stages.pretrain.epochs=1"]
    search(tmp_path, *short, "stages.pretrain.method.tau=1.0", created_at=0.0)  # the next supersedes it
    search(tmp_path, *short)
    search(tmp_path, *short, "name=other", created_at=2.0)  # the same trials
    search(tmp_path, *short, "name=wide", "data.unlabelled=100", created_at=3.0)
    search(tmp_path, *ANOTHER, "seeds=1", "name=rotated", created_at=4.0)
    printed = shows(0, tmp_path / "r", "--mixing", "--output", tmp_path / "m.png")
    assert printed.count("picture:") == 2
    assert {path.name for path in tmp_path.glob("*.png")} == {"m.png", "m-2.png"}
    assert "wide/pretrain" in printed
    assert "rotated" not in printed


def test_another_method_is_refused_by_name(tmp_path: Path, shows: Callable[..., str]) -> None:
    search(tmp_path, *ANOTHER, "seeds=1")
    message = shows(2, tmp_path / "r", "--mixing")
    assert "no stage of trimix is selected here, but tiny/pretrain (rotation)" in message
    Store.open(str(tmp_path / "empty"), create=True)
    assert "no stage of trimix is selected here, but nothing" in shows(2, tmp_path / "empty", "--mixing")


def test_a_model_that_is_gone_or_damaged_and_images_that_have_changed(
    tmp_path: Path, shows: Callable[..., str]
) -> None:
    [spec] = search(tmp_path, "seeds=1", "stages.pretrain.epochs=1")
    model = tmp_path / "r" / model_path(spec.id)
    content = model.read_bytes()
    model.write_bytes(content[:-100])
    assert f"{spec.id}.safetensors" in shows(2, tmp_path / "r", "--mixing")
    model.unlink()
    message = shows(2, tmp_path / "r", "--mixing")
    assert f"{spec.id}.safetensors: not there; the search's command trains it anew" in message
    store = Store.open(str(tmp_path / "r"), create=False)
    row = read_rows(store)[spec.id]
    write_row(store, replace(row, spec=row.spec.replace(spec.data.digest, "e" * 32)))
    assert "digits.parquet: no longer the images and labels that were trained on" in shows(
        2, tmp_path / "r", "--mixing"
    )
    assert not list(tmp_path.glob("**/*.png"))


# Each: arguments after `raysl show`, and what the message must hold.
REFUSED = {
    "no folder": (["missing", "--mixing"], ["missing", "no such folder"]),
    "an experiment": (["tiny.yaml", "--mixing"], ["tiny.yaml"]),
    "an attack too": ([".", "--mixing", "--attack"], ["--mixing: not with --attack"]),
    "an override": ([".", "--mixing", "--set", "seeds=1"], ["--set", "--mixing takes a results folder"]),
    "a profile": ([".", "--mixing", "--profile", "x"], ["--profile", "--mixing takes a results folder"]),
    "a format": ([".", "--mixing", "--format", "csv"], ["--format", "picture"]),
    "a picture that is none": ([".", "--mixing", "--output", "x.txt"], ["--output x.txt", ".png"]),
    "another diagnostic": ([".", "--diagnostic", "mixin"], ["--diagnostic mixin", "did you mean 'mixing'?"]),
    "no diagnostic": ([".", "--diagnostic", ""], ["--diagnostic", "mixing"]),
    "two diagnostics": ([".", "--diagnostic", "x", "--mixing"], ["--diagnostic x: not with --mixing"]),
    "a diagnostic and an attack": ([".", "--attack", "--diagnostic", "x"], ["--diagnostic: not with --attack"]),
    "an output of tables": ([".", "--output", "x.png"], ["--output", "--mixing"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_show_refuses(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: Callable[..., str]) -> None:
    write(tmp_path, EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    arguments, expected = REFUSED[kind]
    message = shows(2, *arguments)
    for text in expected:
        assert text in message
    assert not list(tmp_path.rglob("*.png"))


def test_a_picture_nowhere_is_one_message(folder: Path, specs: list[TrialSpec], shows: Callable[..., str]) -> None:
    assert "--output no/x.png: No such file" in shows(2, folder / "r", "--mixing", "--output", "no/x.png")


def test_any_method_that_names_a_diagnostic_is_asked_for_it(
    folder: Path,
    specs: list[TrialSpec],
    found: Mixed,
    tmp_path: Path,
    shows: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The catalogue knows who has one, and the method what it is."""
    file = tmp_path / "trimix.py"
    text = Path(trimix.__file__).read_text()
    file.write_text(text.replace('diagnostics = ("mixing",)', 'diagnostics = ("mixing", "turned")'))
    facts = read_facts(file)
    monkeypatch.setattr(methods, "describe", lambda name: facts if name == "trimix" else describe(name))

    def turned(self: trimix.Trimix, name: str, batches: Iterable[Mapping[str, View]]) -> Diagnostic:
        first = next(iter(batches))["first"].images
        few = Matrix("halves", torch.full((2, 3), 0.5), 0.0, 1.0)
        return Diagnostic(f"{name} images", "a caption", first[:2], first[:3].flip(3), (few, few))

    diagnose = trimix.Trimix.diagnose
    monkeypatch.setattr(
        trimix.Trimix,
        "diagnose",
        lambda self, name, batches: (turned if name == "turned" else diagnose)(self, name, batches),
    )
    printed = shows(0, folder / "r", "--diagnostic", "turned", "--output", tmp_path / "t.png")
    assert f"trial {specs[0].id} of seed 0: turned images" in printed
    png = imread(tmp_path / "t.png")
    first = picture.MARGIN + picture.CELL + picture.NUMBER
    height = picture.HEAD + picture.NAME + first - picture.MARGIN + 2 * picture.CELL + picture.MARGIN
    assert png.shape[:2] == (height, first + 2 * (3 * picture.CELL + picture.BETWEEN))
    blues = np.array(matplotlib.colormaps["Blues"](0.5)[:3])
    corner = (
        picture.HEAD + picture.NAME + picture.CELL + picture.NUMBER + picture.CELL + 5,
        first + 2 * picture.CELL + 5,
    )
    assert np.abs(png[corner][:3] - blues).max() < 0.02
    shows(0, folder / "r", "--diagnostic", "mixing", "--output", tmp_path / "d.png")
    shows(0, folder / "r", "--mixing", "--output", tmp_path / "m.png")
    assert (tmp_path / "d.png").read_bytes() == (tmp_path / "m.png").read_bytes()
