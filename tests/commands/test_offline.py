"""`--dry-run` and `plan` without any data and any network."""

import re
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tiny import here

from raysl.api.search_request import SearchRequest, read_request
from raysl.api.step_costs import StepCosts
from raysl.data.registry.expected import expected_facts, is_missing, stand_in
from raysl.data.registry.sets import KNOWN
from raysl.data.settings import DataSettings
from raysl.data.storage.decoded_cache import load
from raysl.data.storage.scan import inspect, resolve
from raysl.training.step_benchmark import Cost

SPACES = Path(__file__).parents[2] / "search_spaces"
FILES = sorted([*SPACES.glob("tables/*.yaml"), *SPACES.glob("*.yaml")])
PAPERS = {"paper", *KNOWN} - {"digits"}  # profiles that are a paper's protocol


def profiles_of(file: Path) -> dict[str, object]:
    """Return an experiment's profiles; libyaml reads them in a tenth of the time, and each process collects all."""
    profiles: dict[str, object] = yaml.load(file.read_bytes(), yaml.CSafeLoader).get("profiles", {})
    return profiles


SCALES = [(file, profile) for file in FILES for profile in profiles_of(file) if profile in PAPERS]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of sets, an empty cache, and no network."""

    def unreachable(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing is fetched")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("RAYSL_DATA", str(folder))
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def prints(*arguments: object) -> str:
    done = here(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def num_trials(wanted: SearchRequest) -> Counter[str]:
    """Return how many trials there are in stages of each name."""
    counts: Counter[str] = Counter()
    for experiment in wanted.experiments:
        for stage in experiment.stages:
            configs = stage.settings.search.num_configs if stage.adaptive else len(stage.configs)
            counts[stage.name] += len(experiment.seeds) * configs
    return counts


@pytest.mark.slow
@pytest.mark.alike
@pytest.mark.parametrize(("file", "profile"), SCALES, ids=[f"{file.stem}-{profile}" for file, profile in SCALES])
def test_every_trial_is_listed_and_planned(
    file: Path,
    profile: str,
    empty: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = read_request(file, profile, [], [])
    counts = num_trials(wanted)
    sources = {stage.data.source for experiment in wanted.experiments for stage in experiment.stages} - {"digits"}
    listed = prints("tune", file, "--profile", profile, "--dry-run")
    proposed = re.findall(r"^stage (\S+): (\d+) configs x (\d+) seeds", listed, re.MULTILINE)
    found = Counter(dict.fromkeys(counts, 0))
    for name, count in re.findall(r"^stage (\S+): (\d+) trials", listed, re.MULTILINE):
        found[name] += int(count)
    for name, configs, seeds in proposed:
        found[name] += int(configs) * int(seeds)
    assert found == counts
    assert listed.count(" seed=") == sum(counts.values()) - sum(int(c) * int(s) for _, c, s in proposed)
    assert not re.search(r"^  [0-9a-f]{16}  ", listed, re.MULTILINE) or sources == set()
    assert all(f"{source}: not on this machine" in listed for source in sources)

    monkeypatch.setattr(StepCosts, "_measure", lambda *_: Cost(0.1, 10, 1000))
    planned = prints("plan", file, "--profile", profile, "--results", tmp_path / "r")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in planned.splitlines() if "│" in line]
    assert sum(int(row[1]) for row in rows) == sum(counts.values())
    assert all(f"{source}: not on this machine" in planned for source in sources)
    assert list(empty.iterdir()) == []


def test_a_plan_measures_steps_on_images_of_the_right_size() -> None:
    overrides = ["data.image_size=16", "model={backbone: small_resnet, features: 16}", "data.attack={name: one_pixel}"]
    given = [part for override in overrides for part in ("--set", override)]
    file = SPACES / "rotation_semi_finetune.yaml"
    planned = prints("plan", file, "--profile", "stl10", "--steps", "1", *given)
    rows = [line.split("│") for line in planned.splitlines() if "│" in line]
    assert [(row[1].strip(), row[6].strip()) for row in rows] == [("semi", "3125"), ("finetune", "32")]  # steps
    assert all(float(row[8]) > 0 for row in rows)


def test_a_published_file_is_named_and_left_as_it_is(empty: Path) -> None:
    (empty / "stl10_binary.tar.gz").write_bytes(b"2.6 GB")
    listed = prints("tune", SPACES / "rotation.yaml", "--profile", "stl10", "--dry-run")
    assert f"a search makes it of {empty / 'stl10_binary.tar.gz'}" in listed
    assert [path.name for path in empty.iterdir()] == ["stl10_binary.tar.gz"]


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "digits"])
@pytest.mark.parametrize("train_fraction", [None, 0.5])
def test_labels_are_counted_as_with_the_images(name: str, train_fraction: float | None) -> None:
    settings = DataSettings(source=name, image_size=32, train_fraction=train_fraction, labels=0.05)
    assert is_missing(name)
    known = KNOWN[name]
    data = resolve(settings, expected_facts(settings))
    pool = known.num_train if train_fraction is None else (known.num_train + known.num_test) // 2
    assert data.unlabelled == (known.num_unlabelled or pool)
    assert data.labels == 5 * (data.unlabelled // 100)
    assert (data.channels, data.num_classes, data.is_missing) == (known.channels, known.num_classes, True)


@pytest.mark.parametrize("train_fraction", [None, 0.5])
def test_what_is_expected_is_what_the_images_hold(train_fraction: float | None) -> None:
    settings = DataSettings(train_fraction=train_fraction, labels=20)
    expected, found = expected_facts(settings), inspect(settings)
    for fact in ("num_train", "num_unlabelled", "num_test", "image_size", "channels", "altered"):
        assert getattr(expected, fact) == getattr(found, fact)
    stood, real = stand_in(resolve(settings, expected)), load(resolve(settings, found))
    assert (stood.unlabelled.shape, stood.unlabelled.dtype) == (real.unlabelled.shape, real.unlabelled.dtype)
    assert (stood.mean.shape, stood.std.dtype) == (real.mean.shape, real.std.dtype)


def test_labels_that_no_set_has_are_refused_without_it() -> None:
    refused = here("tune", SPACES / "rotation.yaml", "--profile", "stl10", "--dry-run", "--set", "data.labels=5001")
    assert refused.returncode == 2
    assert "5001 is more than the 5000 labelled training images of stl10" in refused.stderr
