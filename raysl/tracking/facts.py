"""The MLflow runs of the result tables, as plain values."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from raysl.outgoing import mask
from raysl.results.records.rows import SPREAD
from raysl.results.tables.build import Tables

Kind = Literal["stage", "config", "trial"]
Record = dict[str, Any]

VERSION = 2  # increase when the same rows are written differently, so that the next sync updates runs
_STATUSES = {"finished": "FINISHED", "stopped": "KILLED"}  # any other is FAILED
_MAX_NAME, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000  # characters that MLflow takes


class Point(NamedTuple):
    """One point of a curve; `time` in unix milliseconds."""

    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class RunFacts:
    """One MLflow run.

    id, parent: ids of the run and of its parent; unlike `raysl.id`, without the results folder's own id.
    status: RUNNING, FINISHED, FAILED, or KILLED of a trial that was stopped early.
    start, end: unix milliseconds, of the trials that have ended.
    tags: `raysl.attempt` of a trial changes when it is trained again.
    metrics: the single values; NaN if not finite.  (A trial's curves: `curve`.)
    """

    experiment: str
    kind: Kind
    id: str
    parent: str | None
    stage_id: str
    name: str
    status: str
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def digest(self) -> str:
        """16 hex digits of the hash of everything that is written for this run."""
        text = json.dumps([VERSION, asdict(self)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def run_facts(tables: Tables) -> list[RunFacts]:
    """Return the runs of the current stages, each after its parent.

    A trial has a run once it has ended, a config and a stage once one of their trials has.
    """
    tables = tables.current()
    selections = {record["stage_id"]: record for record in tables.selections.to_pylist()}
    configs = {(record["stage_id"], record["config_id"]): record for record in tables.configs.to_pylist()}
    facts: list[RunFacts] = []
    for stage_id, stage in _groups(tables.trials.drop_columns("spec").to_pylist(), "stage_id"):
        if _ended(stage):
            facts.append(_stage(stage, selections.get(stage_id), configs))
            for config_id, trials in _groups(stage, "config_id"):
                if _ended(trials):
                    facts.append(_config(trials, configs[stage_id, config_id]))
                    facts.extend(_trial(trial) for trial in _ended(trials))
    return facts


def curve(curves: pa.Table, trial: RunFacts) -> list[Point]:
    """Return the points of a trial's curves, at the times when its epochs ended.

    curves: a table of curves that includes the trial's.
    The curves are `loss/total`, `loss/<term>`, `schedule/lr` and, of a siamese method, `embedding/spread`.
    """
    trial_id = trial.tags["raysl.trial_id"]
    chosen = pc.and_(pc.equal(curves["trial_id"], trial_id), pc.equal(curves["stage_id"], trial.stage_id))
    points, time, epoch = [], float(trial.start), -1
    for record in curves.filter(chosen).to_pylist():
        if record["epoch"] != epoch:
            epoch = record["epoch"]
            time += 1000 * record["seconds"]
            points.append(Point("schedule/lr", record["lr"], round(time), epoch))
        name = f"embedding/{SPREAD}" if record["term"] == SPREAD else f"loss/{record['term']}"
        points.append(Point(name, _finite(record["value"]), round(time), epoch))
    return points


def _groups(records: Iterable[Record], key: str) -> Iterator[tuple[str, list[Record]]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    yield from groups.items()


def _ended(trials: Iterable[Record]) -> list[Record]:
    return [trial for trial in trials if trial["status"] != "pending"]


def _stage(trials: list[Record], selection: Record | None, configs: Mapping[tuple[str, str], Record]) -> RunFacts:
    stage_id, status = trials[0]["stage_id"], "RUNNING"
    tags: Record = {"num_trials": len(trials)} | _about(trials, configs[stage_id, trials[0]["config_id"]])
    config: Record = {}
    if selection:
        config = configs.get((stage_id, selection["config_id"]), {})
        chosen = {"selected": _config_name(config), "selected_config_id": config["config_id"]} if config else {}
        tags |= {"rule": selection["rule"], "reason": selection["reason"], "selected": "none"} | chosen
        status = "FINISHED" if selection["config_id"] else "FAILED"
    return _facts("stage", trials, stage_id, None, trials[0]["stage"], status, tags, _statistics(config))


def _config(trials: list[Record], config: Record) -> RunFacts:
    first = trials[0]
    tags: Record = {"config_id": first["config_id"], "num_trials": len(trials), "selected": first["selected"]}
    tags |= _about(trials, config)
    status, metrics = "RUNNING", {}
    if len(_ended(trials)) == len(trials):  # until then its means change with every trial
        status = "FINISHED" if config["eligible"] else "FAILED"
        tags |= {"eligible": config["eligible"], "reason": config["reason"]}
        metrics = _statistics(config)
    run_id = f"{first['stage_id']}:{first['config_id']}"
    return _facts("config", trials, run_id, first["stage_id"], _config_name(first), status, tags, metrics)


def _trial(trial: Record) -> RunFacts:
    columns = ("trial_id", "config_id", "status", "reason", "method", "selected", "epochs", "num_parameters", "seconds")
    tags = {name: trial[name] for name in (*columns, "workers", "device", "torch_version")}
    tags |= {"version": trial["raysl_version"], "attempt": trial["finished_at"].isoformat()}
    metrics = {
        "final/loss": trial["final_loss"],
        "final/probe_accuracy": trial["probe_accuracy"],
        "final/test_accuracy": trial["test_accuracy"],
    }
    status = _STATUSES.get(trial["status"], "FAILED")
    stage_id, parent = trial["stage_id"], f"{trial['stage_id']}:{trial['config_id']}"
    run_id = f"{stage_id}:{trial['trial_id']}"
    name = f"{_config_name(trial)}, seed={trial['seed']}"
    return _facts("trial", [trial], run_id, parent, name, status, tags, metrics)


def _facts(
    kind: Kind,
    trials: list[Record],
    run_id: str,
    parent: str | None,
    name: str,
    status: str,
    tags: Mapping[str, Any],
    metrics: Mapping[str, float | None],
) -> RunFacts:
    first, ended = trials[0], _ended(trials)
    params = {} if kind == "stage" else _params(first) | ({"seed": first["seed"]} if kind == "trial" else {})
    return RunFacts(
        experiment="/".join(filter(None, (first["experiment"], first["profile"]))),
        kind=kind,
        id=run_id,
        parent=parent,
        stage_id=first["stage_id"],
        name=mask(name)[:_MAX_NAME],
        status=status,
        start=min(_milliseconds(trial["started_at"]) for trial in ended),
        end=max(_milliseconds(trial["finished_at"]) for trial in ended),
        params={key: _text(value)[:_MAX_PARAM] for key, value in params.items()},
        tags={f"raysl.{key}": _text(value)[:_MAX_TAG] for key, value in tags.items() if value is not None},
        metrics={key: _finite(value) for key, value in metrics.items() if value is not None},
    )


def _params(record: Record) -> Record:
    prefix = "params."
    return {
        key.removeprefix(prefix): value for key, value in record.items() if key.startswith(prefix) and value is not None
    }


def _about(trials: list[Record], config: Record) -> Record:
    data, model = json.loads(config["data"]), json.loads(config["model"] or "{}")
    methods = sorted({trial["method"] for trial in _ended(trials) if trial["method"]})
    about = {"method": ", ".join(methods)}
    more = {
        "source": data.get("source"),
        "labels": data.get("labels"),
        "backbone": model.get("backbone"),
        "attack": (data.get("attack") or {}).get("name"),
    }
    return about | {key: value for key, value in more.items() if value is not None}


def _config_name(record: Record) -> str:
    values = [f"{key}={_text(value)}" for key, value in _params(record).items()]
    return ", ".join(values) or str(record["stage"])  # nothing is searched in the stage


def _statistics(config: Record) -> dict[str, float | None]:
    names = [f"{value}_{of}" for value in ("final_loss", "probe_accuracy", "test_accuracy") for of in ("mean", "std")]
    statistics = {f"final/{name.removeprefix('final_')}": config.get(name) for name in names}
    return statistics | {"num_finished": config.get("num_finished")}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return mask(value)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return json.dumps(int(value) if whole else value)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan  # MLflow turns an infinity into 1.8e308, which spoils charts


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
