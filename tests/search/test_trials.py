"""What a trial is named by."""

import json
from pathlib import Path

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData, TrialOnePixel
from raysl.results.records.stages import (
    SelectionRecord,
    StageRecord,
    current_ids,
    read_stages,
    write_selection,
    write_stage,
)
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment
from raysl.search.stage_starts import selected_starts
from raysl.search.trials import Trial, expand, stage_record
from raysl.training.spec import TrialSpec, identity_of

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
ONE_PIXEL = TrialOnePixel(name="one_pixel")
ATTACKED = DATA.model_copy(update={"attack": ONE_PIXEL})
PRETRAINED = "stages.semi.method={name: rotation}"


def trials(folder: Path, *overrides: str, data: TrialData = DATA, stage: int = 0) -> tuple[Trial, ...]:
    experiment = load(write(folder), overrides=list(overrides))
    starts = {0: "first", 1: "second"} if stage else {}
    return expand(experiment, experiment.stages[stage], of_stages(experiment, data), starts)


def design_trials(folder: Path, *overrides: str) -> dict[str, tuple[int, dict[str, int]]]:
    """Return seed and streams by the ids of the trials of a design."""
    overrides = ("stages.semi.optimizer.lr=1e-3", *overrides)
    return {one.spec.id: (one.spec.seed, dict(one.spec.streams)) for one in trials(folder, *overrides)}


def test_the_cells_of_a_design_are_trials_whose_streams_have_the_levels(tmp_path: Path) -> None:
    crossed = design_trials(tmp_path, "seeds={labels: 3, init: 2}", "streams={order: 9}")
    assert sorted(seed for seed, _ in crossed.values()) == [0, 1, 2, 3, 7, 8]
    assert {tuple(streams.values()) for _, streams in crossed.values()} == {
        (9, label, init) for label in range(3) for init in range(2)
    }
    nested = [streams for _, streams in design_trials(tmp_path, "seeds={labels: 3, init: 2}", "design=nested").values()]
    assert sorted(streams["labels"] for streams in nested) == [0, 0, 1, 1, 2, 2]
    assert len({streams["init"] for streams in nested}) == 6


@pytest.mark.parametrize("kind", ["crossed", "nested"])
def test_more_levels_leave_the_trials_of_a_design_as_they_are(tmp_path: Path, kind: str) -> None:
    small = design_trials(tmp_path, "seeds={labels: 3, init: 2, order: 2}", f"design={kind}")
    for more in ("{labels: 5, init: 2, order: 2}", "{labels: 3, init: 4, order: 3}"):
        assert small.items() < design_trials(tmp_path, f"seeds={more}", f"design={kind}").items()


def test_independent_seeds_have_the_ids_of_before_there_were_designs(tmp_path: Path) -> None:
    found = trials(tmp_path, "stages.semi.optimizer.lr=1e-3", "streams={split: 3}")
    assert [trial.spec.id for trial in found] == ["4354d814d100f7b4", "5c83487802255477"]
    assert {trial.config_id for trial in found} == {"40a9be59"}


def test_weights_without_labelled_images_do_not_depend_on_which_are_drawn(tmp_path: Path) -> None:
    drawn = [
        {one.spec.weights_id(None) for one in trials(tmp_path, f"streams={{labels: {seed}}}", *more)}
        for more in ((PRETRAINED,), ())
        for seed in (0, 1)
    ]
    assert drawn[0] == drawn[1]
    assert not drawn[2] & drawn[3]


def record_of(experiment: Experiment, created_at: float) -> StageRecord:
    return stage_record(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, created_at)


def ids(found: tuple[Trial, ...]) -> list[str]:
    return [trial.spec.id for trial in found]


def test_configs_times_seeds_config_by_config(tmp_path: Path) -> None:
    found = trials(tmp_path)
    assert [(trial.params["optimizer.lr"], trial.spec.seed) for trial in found] == [
        (0.01, 0), (0.01, 1), (0.001, 0), (0.001, 1),
    ]  # fmt: skip
    assert len(set(ids(found))) == 4
    assert found[0].config_id == found[1].config_id != found[2].config_id


CHANGES = [
    "data.draw=uniform", "model.features=32", "stages.semi.epochs=5", "stages.semi.batch_size=16", "streams={split: 0}",
    "stages.semi.method.lambda_u=0.5", "stages.semi.method.pretext.copies=4", "stages.semi.optimizer.beta1=0.8",
    "stages.semi.schedule.rate=0.02", "stages.semi.precision=bf16", "probes.linear_svm.C=2.0",
    "probes.linear_svm.scale=none",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_everything_that_decides_a_number_changes_the_name(tmp_path: Path, change: str) -> None:
    data = DATA.model_copy(update={"draw": "uniform"}) if change.startswith("data") else DATA
    assert not set(ids(trials(tmp_path))) & set(ids(trials(tmp_path, change, data=data)))


def test_the_content_decides_and_not_where_it_lies(tmp_path: Path) -> None:
    moved = DATA.model_copy(update={"source": "parquet:/elsewhere/digits.parquet"})
    other = DATA.model_copy(update={"digest": "e" * 32})
    assert ids(trials(tmp_path)) == ids(trials(tmp_path, data=moved))
    assert not set(ids(trials(tmp_path))) & set(ids(trials(tmp_path, data=other)))


NO_CHANGES = [
    "name=other",
    "resources.workers=2",
    "stages.semi.select=probe_accuracy",
    "probes.linear_svm.scale=standard",
    "stages.semi.unlabelled_ratio=1",
    "stages.semi.steps_per_epoch=null",
]


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_decides_no_number_does_not_change_the_name(tmp_path: Path, change: str) -> None:
    assert ids(trials(tmp_path)) == ids(trials(tmp_path, change))


@pytest.mark.parametrize("change", ["stages.semi.unlabelled_ratio=2", "stages.semi.steps_per_epoch=4"])
def test_other_epochs_and_batches_change_the_names(tmp_path: Path, change: str) -> None:
    plain, changed = trials(tmp_path), trials(tmp_path, change)
    assert not set(ids(plain)) & set(ids(changed))
    assert not {trial.config_id for trial in plain} & {trial.config_id for trial in changed}


def test_a_copy_with_other_values_has_a_name_of_its_own(tmp_path: Path) -> None:
    spec = trials(tmp_path)[0].spec
    first = spec.id
    other = spec.model_copy(update={"seed": spec.seed + 1})
    assert other.id == TrialSpec.model_validate(other.model_dump()).id != first
    assert other.model_copy(update={"seed": spec.seed}).id == spec.model_copy().id == spec.id == first
    assert spec == TrialSpec.model_validate(spec.model_dump())


def test_a_wider_grid_keeps_the_names_of_the_old_trials(tmp_path: Path) -> None:
    wider = trials(tmp_path, "stages.semi.optimizer.lr={grid: [1e-1, 1e-2, 1e-3]}")
    assert ids(wider)[2:] == ids(trials(tmp_path))


def test_a_later_stage_is_named_by_what_it_starts_from(tmp_path: Path) -> None:
    found = trials(tmp_path, stage=1)
    assert [trial.spec.start for trial in found] == ["first", "second"]
    restarted = found[0].spec.model_copy(update={"start": "third"})
    assert restarted.id != found[0].spec.id
    assert found[0].spec.model_copy(update={"freeze": "backbone"}).id != found[0].spec.id


def test_the_name_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Where this changes, every result table out there loses its trials: raise IDENTITY_VERSION knowingly."""
    assert ids(trials(tmp_path))[0] == "c27c47fc6f92d549"


def test_a_stage_is_named_by_its_trials_and_its_rule(tmp_path: Path) -> None:
    experiment = load(write(tmp_path))
    fewer = load(write(tmp_path), overrides=["stages.semi.optimizer.lr={grid: [1e-2]}"])
    other_rule = load(write(tmp_path), overrides=["stages.semi.select=probe_accuracy"])
    first = record_of(experiment, 1.0)
    assert record_of(experiment, 2.0).stage_id == first.stage_id
    assert len({first.stage_id, record_of(fewer, 1.0).stage_id, record_of(other_rule, 1.0).stage_id}) == 3


def test_an_attack_changes_the_name_and_none_does_not(tmp_path: Path) -> None:
    attacks = [
        TrialOnePixel(name="one_pixel", value=value, seed=seed) for value in ("white", "per_class") for seed in (0, 1)
    ]
    names = [ids(trials(tmp_path, data=DATA.model_copy(update={"attack": attack}))) for attack in (None, *attacks)]
    assert len({name for found in names for name in found}) == 5 * 4
    assert names[0] == ids(trials(tmp_path))


def test_a_probe_of_attacked_images_has_the_trials_from_before_it_could_be_chosen(tmp_path: Path) -> None:
    clean = ONE_PIXEL.model_copy(update={"probe": "clean"})
    first, *_ = trials(tmp_path, data=DATA.model_copy(update={"attack": clean}))
    earlier = first.spec.model_dump(mode="json")
    del earlier["data"]["attack"]["probe"]
    then = TrialSpec.model_validate(earlier)
    assert then.data.attack is not None
    assert then.data.attack.probe == "attacked"
    assert then.id == "cfe1a12db5da3a10"
    assert then.id != first.spec.id
    assert then.weights_id(None) == first.spec.weights_id(None)


def test_training_without_labelled_images_is_shared_with_the_clean_search(tmp_path: Path) -> None:
    clean, attacked = trials(tmp_path, PRETRAINED), trials(tmp_path, PRETRAINED, data=ATTACKED)
    assert ids(attacked) == ids(clean)
    assert attacked[0].spec.data.attack is None
    later = trials(tmp_path, PRETRAINED, data=ATTACKED, stage=1)
    assert later[0].spec.data.attack == ATTACKED.attack
    assert not set(ids(later)) & set(ids(trials(tmp_path, PRETRAINED, stage=1)))


@pytest.mark.parametrize("shared", [True, False])
def test_an_attacked_stage_starts_from_its_own_search_s_or_the_shared_pre_training(
    tmp_path: Path, shared: bool
) -> None:
    experiment = load(write(tmp_path), overrides=[PRETRAINED] if shared else [])
    store = Store.open(str(tmp_path / "r"), create=True)
    first, second = experiment.stages
    for data in (DATA, ATTACKED):
        found = expand(experiment, first, of_stages(experiment, data), {})
        record = write_stage(store, stage_record(experiment, first, of_stages(experiment, data), {}, created_at=1.0))
        chosen = tuple(trial.spec.id for trial in found[:2])
        write_selection(
            store, SelectionRecord(record.stage_id, "train_loss", found[0].config_id, {}, chosen, "", (), (), 1.0)
        )
    assert len(read_stages(store)) == len(current_ids(read_stages(store))) == (1 if shared else 2)
    starts = [selected_starts(experiment, second, of_stages(experiment, data), store) for data in (DATA, ATTACKED)]
    assert starts[1] == {0: chosen[0], 1: chosen[1]}
    assert (starts[0] == starts[1]) is shared


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("{name: supervised}", {"views": ["none", "crop_flip", "distorted"]}),
        ("{name: semi, pretext: {name: simsiam}}", {"views": ["none", "crop_flip"]}),
        ("{name: semi, pretext: {name: simsiam}}", {"pretext.interpolation": ["bicubic", "bilinear"]}),
        ("{name: trimix}", {"hidden": ["null", "1024", "512"], "interpolation": ["bicubic", "bilinear"]}),
    ],
)
def test_a_later_hyperparameter_is_no_part_of_a_name_until_it_is_used(
    tmp_path: Path, method: str, given: dict[str, list[str]]
) -> None:
    plain = f"stages.semi.method={method}"
    first = trials(tmp_path, plain)
    named = json.dumps(identity_of(first[0].spec.method))
    assert not any(f'"{key.split(".")[-1]}"' in named for key in given)
    for key, (unused, *used) in given.items():
        same = trials(tmp_path, plain, f"stages.semi.method.{key}={unused}")
        others = [trials(tmp_path, plain, f"stages.semi.method.{key}={value}") for value in used]
        assert ids(same) == ids(first)
        assert same[0].config_id == first[0].config_id
        assert len({name for found in (first, *others) for name in ids(found)}) == (1 + len(used)) * len(first)
        assert len({found[0].config_id for found in (first, *others)}) == 1 + len(used)


def test_what_is_taken_of_a_tie_set_names_a_stage_and_no_trial(tmp_path: Path) -> None:
    first, cheap = (load(write(tmp_path), overrides=given) for given in ([], ["stages.semi.ties=cheapest"]))
    names, records = [], []
    for experiment in (first, cheap):
        data = of_stages(experiment, DATA)
        stage = experiment.stages[0]
        names.append([(trial.spec.id, trial.config_id) for trial in expand(experiment, stage, data, {})])
        records.append(stage_record(experiment, stage, data, {}, created_at=1.0))
    assert names[0] == names[1]
    assert [record.ties for record in records] == ["first", "cheapest"]
    assert records[0].stage_id != records[1].stage_id
