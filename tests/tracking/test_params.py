import json

import yaml

from raysl.outgoing import learn
from raysl.tracking.params import common, settings_text, trial_params, without_trial

SPEC = {
    "data": {"source": "digits", "labels": 40, "attack": None, "digest": "2252c3"},
    "optimizer": {"name": "sgd", "lr": 0.01, "betas": [0.9, 0.99]},
    "epochs": 3,
    "start": "e55e9963",
    "seed": 1,
}


def row(**changes: object) -> dict[str, object]:
    return {"spec": json.dumps(SPEC | changes), "seed": 1, "params.optimizer.lr": 0.01, "params.epochs": None}


def test_a_trial_has_everything_that_decides_its_numbers() -> None:
    assert trial_params(row()) == {
        "data.source": "digits",
        "data.labels": 40,
        "data.digest": "2252c3",
        "optimizer.name": "sgd",
        "optimizer.lr": 0.01,
        "optimizer.betas": [0.9, 0.99],
        "epochs": 3,
        "start": "e55e9963",
        "seed": 1,
    }


def test_a_config_has_what_its_trials_share() -> None:
    params = without_trial(trial_params(row()))
    assert set(trial_params(row())) - set(params) == {"start", "seed"}


def test_what_is_common_to_all() -> None:
    assert common([]) == {}
    assert common([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}]) == {"a": 1}


def test_a_spec_that_is_none_and_names_that_mlflow_refuses_are_left_out() -> None:
    hostile = {"a": {"/../b": 1, "ok": 2, "new\nline": 3, "x" * 300: 4}, "": 5}
    assert trial_params({"spec": json.dumps(hostile), "seed": 1}) == {"a.ok": 2, "seed": 1}
    deep = '{"a":' * 900 + "1" + "}" * 900
    for text in (None, "", "[1]", "nonsense", deep):
        assert trial_params({"spec": text, "seed": 1}) == {"seed": 1}


def test_the_settings_are_yaml_without_secrets() -> None:
    learn("s3cretword")
    text = settings_text({"stage": "semi"}, {"data.source": "s3://s3cretword@host/x", "epochs": 3})
    assert "s3cretword" not in text
    assert yaml.safe_load(text)["settings"]["epochs"] == 3
