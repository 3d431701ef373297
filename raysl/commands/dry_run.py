"""`raysl tune --dry-run`: lists the trials that a search would train."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.text import Text

from raysl.api.dataset_setup import images_text, missing_texts
from raysl.api.preparing import Resolved, distinct
from raysl.api.search_request import SearchRequest
from raysl.api.start_weights import missing_weights
from raysl.console.progress import note
from raysl.console.screen import write_json
from raysl.search.config_means import params_text
from raysl.search.experiment import Experiment, Stage
from raysl.search.race import fewest_trials
from raysl.search.trials import Datas, Trial, every_trial

MOST_LISTED = 1000  # trials of a stage


def show_dry_run(request: SearchRequest, resolved: Resolved, form: str, console: Console) -> None:
    """Print which data sets a search would get first, and its trials; form: `table` or `json`."""
    missing = missing_texts(distinct(resolved)) + missing_weights(experiment for experiment, _ in resolved)
    if form == "json":
        facts = [_facts(experiment, datas) for experiment, datas in resolved]
        reasons = request.tables.reasons if request.tables else {}
        write_json(console, {"missing": missing, "not_searched": reasons, "experiments": facts})
        return
    for text in missing:
        note(console, text)
    list_trials(request, resolved, console)


def _facts(experiment: Experiment, datas: Datas) -> dict[str, Any]:
    stages = []
    for stage in experiment.stages:
        starts = dict.fromkeys(experiment.seeds, "-") if stage.start_from else {}
        trials = [] if stage.adaptive else _known_trials(experiment, stage, datas, starts)
        known = not stage.start_from and not any(is_unknown(trial) for trial in trials)
        stages.append(
            {
                "stage": stage.name,
                "select": stage.select,
                "start_from": stage.start_from,
                "configs": stage.num_configs,
                "least_trials": least_trials(experiment, stage),
                "space": {key: str(dimension) for key, dimension in stage.space.items()} if stage.adaptive else {},
                "trials": [
                    {
                        "id": one.spec.id if known else None,
                        "params": one.params,
                        "seed": one.spec.seed,
                        "fold": None if one.spec.fold is None else one.spec.fold.number,
                        "streams": one.spec.streams,
                    }
                    for one in trials
                ],
            }
        )
    return {"experiment": experiment.name, "profile": experiment.profile, "seeds": experiment.seeds, "stages": stages}


def _known_trials(experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> Sequence[Trial]:
    """Return the trials of a stage that are known before it; of a cross-fitted one, those of the folds."""
    trials = every_trial(experiment, stage, datas, starts)
    return [trial for trial in trials if stage.folds is None or trial.spec.fold is not None]


def list_trials(request: SearchRequest, resolved: Resolved, console: Console) -> None:
    """Print the trials that a search would train, each with its id.

    The id is `-` if the trial starts from a model that is not selected yet, or its images or its start weights are not
    on this machine.
    """
    seen: dict[str, str] = {}  # trial by weights id
    for index, (experiment, datas) in enumerate(resolved):
        console.print(
            f"{experiment.name}: {'; '.join(dict.fromkeys(map(images_text, datas.values())))}",
            markup=False,
            soft_wrap=True,
        )
        if request.tables is not None:
            console.print(f"  for {', '.join(request.cells[index])}", markup=False, soft_wrap=True)
        for stage in experiment.stages:
            _list_stage(experiment, stage, datas, seen, console)
    if request.tables is not None:
        console.print(f"{len(seen)} trainings for first stages, each done once; {len(resolved)} searches")
        for key, reason in request.tables.reasons.items():
            console.print(f"not searched: {key}: {reason}", markup=False)


def least_trials(experiment: Experiment, stage: Stage) -> int:
    """Return the least number of trials of a stage: fewer than the most if its configs are raced."""
    race = experiment.race_of(stage)
    if stage.folds is not None:
        return stage.num_trials_of_seed * len(experiment.seeds)
    return stage.num_configs * len(experiment.seeds) if race is None else fewest_trials(race, stage.num_configs)


def num_trials_text(experiment: Experiment, stage: Stage, most: int) -> str:
    """Return the number of trials of a stage, as text: the least and the most if its configs are raced."""
    race = stage.race
    if stage.settings.search.extend:
        return f"{most} trials, and more while the best is at an end of its grid"
    if stage.folds is not None:
        num_seeds = len(experiment.seeds)
        return (
            f"{stage.num_trials_of_seed * num_seeds} trials ({len(stage.configs)} configs x {num_seeds} seeds x "
            f"{stage.folds} folds, then the selected config with all labels)"
        )
    if race is None:
        return f"{most} trials"
    least, more = least_trials(experiment, stage), "at a time" if stage.adaptive else "in each round"
    return f"{least} to {most} trials (a race: {race.first} seeds each, then one more {more}; error {race.error:g})"


def is_unknown(trial: Trial) -> bool:
    """Return whether what decides a trial's id is not on this machine: its images, or its start weights."""
    weights = trial.spec.model.weights
    return trial.spec.data.is_missing or (weights is not None and weights.is_missing)


def _list_stage(experiment: Experiment, stage: Stage, datas: Datas, seen: dict[str, str], console: Console) -> None:
    after = f", each from the model of {stage.start_from} that its seed has" if stage.start_from else ""
    if stage.adaptive:
        num_configs, num_seeds = stage.num_configs, len(experiment.seeds)
        proposed = f"each config proposed by {stage.settings.search.sampler['name']} from the results of those before"
        raced = "" if stage.race is None else f", {num_trials_text(experiment, stage, num_configs * num_seeds)}"
        line = f": {num_configs} configs x {num_seeds} seeds{raced}, select: {stage.select}{after}; {proposed}"
        console.print(Text.assemble("stage ", (stage.name, "bold"), line), soft_wrap=True)
        for key, dimension in stage.space.items():
            console.print(f"  {key}: {dimension}", markup=False, highlight=False)
        return
    starts = dict.fromkeys(experiment.seeds, "-") if stage.start_from else {}
    trials = _known_trials(experiment, stage, datas, starts)
    line = f": {num_trials_text(experiment, stage, len(trials))}, select: {stage.select}{after}"
    console.print(Text.assemble("stage ", (stage.name, "bold"), line))
    names = [] if stage.start_from else [trial.spec.weights_id(None) for trial in trials]
    for trial, weights in zip_longest(trials[:MOST_LISTED], names[:MOST_LISTED]):
        shared = _shared_text(trial, seen.get(weights))
        name = "" if stage.start_from else "-  " if is_unknown(trial) else f"{trial.spec.id}  "
        line = f"  {name}{params_text(trial.params)} seed={trial.spec.seed}{_levels_text(experiment, trial)}"
        line += ("" if trial.spec.fold is None else f" fold={trial.spec.fold.number}") + shared
        console.print(line, markup=False, highlight=False)
    if len(trials) > MOST_LISTED:
        console.print(f"  and {len(trials) - MOST_LISTED:,} more")
    for trial, weights in zip(trials, names, strict=False):
        seen.setdefault(weights, trial.spec.id)


def _levels_text(experiment: Experiment, trial: Trial) -> str:
    if experiment.design is None:
        return ""
    varied = {str(stream): trial.spec.streams[stream] for stream in experiment.design.factors}
    return f" ({params_text(varied)})"


def _shared_text(trial: Trial, earlier: str | None) -> str:
    """Return the note on a trial that is not trained; earlier: the trial listed before that has the same weights."""
    if earlier is None:
        return ""
    return " (shared with one above)" if earlier == trial.spec.id else f" (weights of {earlier})"
