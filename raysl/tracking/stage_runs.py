"""The MLflow runs of the result tables."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from raysl.outgoing import mask
from raysl.results.attack_text import attack_text
from raysl.results.criteria import CRITERION_NAMES, measured_criteria
from raysl.results.metrics import METRIC_COLUMNS
from raysl.results.records.fold_rows import ONLY_FOLDS
from raysl.results.tables.build import Tables
from raysl.results.tie_text import tie_text
from raysl.tracking.facts import LABEL, Dataset, Kind, RunFacts
from raysl.tracking.intervals import are_independent, interval_tags
from raysl.tracking.names import config_names, trial_name
from raysl.tracking.notes import stage_note
from raysl.tracking.params import common, searched, settings_text, trial_params, without_trial
from raysl.tracking.values import finite, text

Record = dict[str, Any]

_STATUSES = {"finished": "FINISHED", ONLY_FOLDS: "FINISHED", "stopped": "KILLED"}  # any other is FAILED
_MAX_NAME, _MAX_PARAM, _MAX_TAG, _MAX_DIGEST = 250, 6000, 8000, 36  # characters that MLflow takes
_NOTE = "mlflow.note.content"
_TELLING = ("raysl.source", "raysl.labels", "raysl.backbone", "raysl.attack", "raysl.variant")


def run_facts(tables: Tables, folder: str = "") -> list[RunFacts]:
    """Return the runs of the current stages, each after its parent.

    A trial has a run once it has ended, a config and a stage once one of their trials has.
    folder: the results folder, for the notes of stages.
    """
    tables = tables.current()
    selections = {record["stage_id"]: record for record in tables.selections.to_pylist()}
    configs = {(record["stage_id"], record["config_id"]): record for record in tables.configs.to_pylist()}
    facts: list[RunFacts] = []
    for stage_id, trials in _groups(tables.trials.to_pylist(), "stage_id"):
        if _ended(trials):
            facts += _Stage(trials, selections.get(stage_id), configs, folder).facts()
    labels = _labels([run for run in facts if run.kind == "stage"])
    return [replace(run, tags={**run.tags, LABEL: labels[run.stage_id]}) for run in facts]


def _labels(stages: list[RunFacts]) -> dict[str, str]:
    """Return each stage's name by id, with what tells it from others of that name in its experiment."""
    labels = {}
    for stage in stages:
        same = [one for one in stages if (one.experiment, one.name) == (stage.experiment, stage.name)]
        apart = [key for key in _TELLING if len({one.tags.get(key) for one in same}) > 1]
        labels[stage.id] = " ".join([stage.name, *(stage.tags[key] for key in apart if key in stage.tags)])
    return labels


def superseded(tables: Tables) -> dict[str, set[str]]:
    """Return the ids of the stages that a later search has superseded, by the name of their experiment in MLflow."""
    current = set(tables.current().configs["stage_id"].to_pylist())
    found: dict[str, set[str]] = {}
    for record in tables.configs.select(["experiment", "profile", "stage_id"]).to_pylist():
        if record["stage_id"] not in current:
            found.setdefault(_experiment(record), set()).add(record["stage_id"])
    return found


def _groups(records: Iterable[Record], key: str) -> Iterator[tuple[str, list[Record]]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    yield from groups.items()


def _ended(trials: Iterable[Record]) -> list[Record]:
    return [trial for trial in trials if trial["status"] != "pending"]


def _experiment(record: Record) -> str:
    return "/".join(filter(None, (record["experiment"], record["profile"])))


class _Stage:
    """Makes the runs of one stage.

    trials: its rows of the table of trials.  configs: rows of the table of configs by stage id and config id.
    """

    def __init__(
        self, trials: list[Record], selection: Record | None, configs: Mapping[tuple[str, str], Record], folder: str
    ) -> None:
        self._trials, self._selection, self._folder = trials, selection, folder
        self._id, self._stage = trials[0]["stage_id"], trials[0]["stage"]
        self._params = {trial["trial_id"]: trial_params(trial) for trial in _ended(trials)}
        self._texts: dict[tuple[type, Any], str] = {}  # masking is slow, and the trials of a stage have much in common
        self._configs = {trial["config_id"]: configs[self._id, trial["config_id"]] for trial in trials}
        self._names = config_names({name: searched(row) for name, row in self._configs.items()}, self._stage)
        self._keys = list(dict.fromkeys(key for row in self._configs.values() for key in searched(row)))
        self._shared = _about(trials, self._configs[trials[0]["config_id"]])
        self._shared |= {"stage": self._stage, "searched": ", ".join(self._keys), "current": True}

    def facts(self) -> Iterator[RunFacts]:
        yield self._whole()
        for config_id, trials in _groups(self._trials, "config_id"):
            if _ended(trials):
                yield self._config(trials, self._configs[config_id])
                yield from (self._trial(trial) for trial in _ended(trials))

    def _whole(self) -> RunFacts:
        status, note, settings, shared = "RUNNING", "", "", {}
        tags: Record = {"num_trials": len(self._trials), "num_configs": len(self._configs)}
        if selection := self._selection:
            chosen = self._names.get(selection["config_id"], "")
            tags |= {"rule": selection["rule"], "reason": selection["reason"], "selected": chosen or "none"}
            tags |= {"selected_config_id": selection["config_id"]}
            status = "FINISHED" if selection["config_id"] else "FAILED"
            shared = without_trial(common(self._params.values()))
            shared = {key: value for key, value in shared.items() if key not in self._keys}
            about = {key: self._trials[0][key] for key in ("experiment", "profile", "stage", "stage_id")}
            settings = settings_text(about | {"rule": selection["rule"]}, shared)
            config = self._configs.get(selection["config_id"], {})
            ties = tie_text(list(self._configs.values()), self._names)
            note = stage_note(self._shared, selection, chosen, config, self._folder, _ended(self._trials), ties)
        run = self._facts("stage", self._trials, self._id, None, self._stage, status, tags, {}, shared, note)
        return replace(run, settings=settings)

    def _config(self, trials: list[Record], config: Record) -> RunFacts:
        name = self._names[config["config_id"]]
        tags: Record = {"config_id": config["config_id"], "config": name, "num_trials": len(trials)}
        tags |= {"selected": config["selected"], "num_finished": config["num_finished"], "method": _methods(trials)}
        status, metrics = "RUNNING", {}
        is_well = config["eligible"] or config["dropped_in_round"] is not None
        awaits_seeds = not is_well and config["num_finished"] == config["num_seeds"]  # in a race of proposed configs
        if len(_ended(trials)) == len(trials) and not awaits_seeds:  # until then its means change with every trial
            status = "FINISHED" if is_well else "FAILED"
            last = max(trial["finished_at"] for trial in trials)
            tags |= {"eligible": config["eligible"], "reason": config["reason"], "attempt": last.isoformat()}
            metrics = _statistics(config)
            tags |= interval_tags(config) if are_independent(trials) else {}
        if self._selection:  # until then it changes with every config
            tags |= {"in_tie_set": config["in_tie_set"]}
        run_id = f"{self._id}:{config['config_id']}"
        params = without_trial(self._params[_ended(trials)[0]["trial_id"]])
        return self._facts("config", trials, run_id, self._id, name, status, tags, metrics, params)

    def _trial(self, trial: Record) -> RunFacts:
        columns = ("trial_id", "config_id", "status", "reason", "method", "selected", "epochs", "num_parameters")
        tags = {name: trial[name] for name in (*columns, "seconds", "workers", "device", "torch_version", "code")}
        config = self._names[trial["config_id"]]
        tags |= {"version": trial["raysl_version"], "attempt": trial["finished_at"].isoformat(), "config": config}
        metrics = {
            "final/loss": trial["final_loss"],
            **{f"final/{name}": trial[name] for name in METRIC_COLUMNS},
            **{f"criteria/{name}": trial[name] for name in CRITERION_NAMES},
            "seconds": trial["seconds"],
        }
        status = _STATUSES.get(trial["status"], "FAILED")
        parent, run_id = f"{self._id}:{trial['config_id']}", f"{self._id}:{trial['trial_id']}"
        name, params = trial_name(config, trial["seed"]), self._params[trial["trial_id"]]
        note = "" if _STATUSES.get(trial["status"]) == "FINISHED" else f"{trial['status']}: {trial['reason']}"
        return self._facts("trial", [trial], run_id, parent, name, status, tags, metrics, params, note)

    def _facts(
        self,
        kind: Kind,
        trials: list[Record],
        run_id: str,
        parent: str | None,
        name: str,
        status: str,
        tags: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any],
        note: str = "",
    ) -> RunFacts:
        first, ended = trials[0], _ended(trials)
        all_tags = {f"raysl.{key}": value for key, value in {**self._shared, **tags}.items()}
        all_tags |= {_NOTE: note} if note else {}
        return RunFacts(
            experiment=_experiment(first),
            kind=kind,
            id=run_id,
            parent=parent,
            stage_id=self._id,
            name=mask(name)[:_MAX_NAME],
            status=status,
            start=min(_milliseconds(trial["started_at"]) for trial in ended),
            end=max(_milliseconds(trial["finished_at"]) for trial in ended),
            params={key: self._text(value)[:_MAX_PARAM] for key, value in params.items()},
            tags={key: self._text(value)[:_MAX_TAG] for key, value in all_tags.items() if value is not None},
            metrics={key: finite(value) for key, value in metrics.items() if value is not None},
            dataset=_dataset(params),
        )

    def _text(self, value: Any) -> str:
        if isinstance(value, list | dict):
            return text(value)
        key = type(value), value  # True is 1 otherwise
        if key not in self._texts:
            self._texts[key] = text(value)
        return self._texts[key]


def _about(trials: list[Record], config: Record) -> Record:
    data, model = json.loads(config["data"]), json.loads(config["model"] or "{}")
    more = {
        "source": data.get("source"),
        "labels": data.get("labels"),
        "backbone": model.get("backbone"),
        "attack": attack_text(data.get("attack")) or None,
        "variant": config["variant"] or None,
    }
    return {"method": _methods(trials)} | {key: value for key, value in more.items() if value is not None}


def _methods(trials: Iterable[Record]) -> str:
    return ", ".join(sorted({trial["method"] for trial in _ended(trials) if trial["method"]}))


def _statistics(config: Record) -> dict[str, float | None]:
    names = [f"{value}_{of}" for value in ("final_loss", *METRIC_COLUMNS) for of in ("mean", "std")]
    statistics = {f"final/{name.removeprefix('final_')}": config.get(name) for name in names}
    for name in measured_criteria([config]):
        statistics |= {f"criteria/{name}_{of}": config.get(f"{name}_{of}") for of in ("mean", "std")}
    return statistics | {"seconds_mean": config.get("seconds_mean")}


def _dataset(params: Mapping[str, Any]) -> Dataset | None:
    source, digest = params.get("data.source"), params.get("data.digest")
    return Dataset(text(source)[:_MAX_NAME], text(digest)[:_MAX_DIGEST]) if source and digest else None


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
