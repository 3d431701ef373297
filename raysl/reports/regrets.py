"""What a selection rule gave up in a stage: the regret against the config of the best mean test accuracy."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysl.reports.searched import how_to_score, tied
from raysl.reports.stages import Row, Searched, attack, params_text, source
from raysl.results.criteria import asked_for, vote_name
from raysl.results.schema import nullable
from raysl.search.rules import RULES, best_by
from raysl.statistics.intervals import t_interval

# A best-of-many is chosen by the noise of its scores, too ("winner's curse").
UPPER_BOUND = (
    "The best config is picked by the same test scores that it is measured by, so its accuracy is flattered and the "
    "regret is an upper bound (winner's curse)."
)


@dataclass(frozen=True, eq=False)
class Regret:
    """What a rule gives up.

    selected, best: configs.  differences: accuracy of best less that of selected, by seed, in percentage points.
    num_tied_selected: configs that the rule could not tell from the selected one.
    """

    stage: Searched
    rule: str
    selected: Row
    best: Row
    differences: tuple[float, ...]
    num_tied_selected: int

    @property
    def mean(self) -> float:
        """Percentage points of test accuracy, over the seeds."""
        return statistics.fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t interval of the mean of the paired differences; None for one seed, one config, or typed seeds."""
        if self.best is self.selected or self.stage.design is not None:
            return None
        return interval(self.differences)

    @property
    def num_tied_best(self) -> int:
        """Eligible configs whose mean test accuracy is that of the best, which is not counted."""
        column = f"{self.stage.metric.test}_mean"
        means = [config[column] for config in self.stage.configs if config["eligible"]]
        return means.count(self.best[column]) - 1

    @property
    def num_ineligible(self) -> int:
        """Configs that no rule could choose, because a seed of theirs did not finish."""
        return sum(not config["eligible"] for config in self.stage.configs)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval of the mean of some values; None if there is only one."""
    return t_interval(values) if len(values) > 1 else None


def obstacle(stage: Searched) -> str | None:
    """Return why a stage cannot be audited; None where it can."""
    if not stage.selected:
        return "nothing is selected"
    eligible = {config["config_id"] for config in stage.configs if config["eligible"]}
    if not any(config["selected"] for config in stage.configs if config["eligible"]):
        return "the selected config has lost a trial; the search's command trains it again"
    if len(eligible) == 1:
        return "one eligible config, and nothing to choose"
    unscored = {t["config_id"] for t in stage.trials if t["config_id"] in eligible and t[stage.metric.test] is None}
    if unscored:
        return f"{len(unscored)} of {len(eligible)} eligible configs are not scored; {how_to_score(stage)}"
    return None


def regret(stage: Searched) -> Regret:
    """Return the regret of a stage's own rule; of configs that tie for the best, the selected one counts."""
    assert obstacle(stage) is None, "it can be audited"
    assert stage.selection is not None, "it can be audited"
    selected = next(config for config in stage.configs if config["selected"])
    return _regret(stage, stage.selection["rule"], selected, len(tied(stage)))


def regrets_of_rules(stage: Searched) -> list[Regret]:
    """Return the regret of each rule that could have selected a stage's config, its own first.

    A rule is left out if an eligible config has no value of its column.  All criteria that there are vote, too.
    """
    own = regret(stage)
    eligible = {config["config_id"]: config for config in stage.configs if config["eligible"]}
    columns = {rule.column for rule in RULES.values()}
    means = {
        name: {column: config[f"{column}_mean"] for column in columns if config[f"{column}_mean"] is not None}
        for name, config in eligible.items()
    }
    names = [name for name, rule in RULES.items() if all(rule.column in known for known in means.values())]
    criteria = asked_for(names)
    names += [vote_name(criteria)] if len(criteria) > 1 else []
    best = {name: best_by(name, means) for name in names if name != own.rule}
    return [own, *(_regret(stage, name, eligible[first], len(rest)) for name, (first, *rest) in best.items())]


def _regret(stage: Searched, rule: str, selected: Row, num_tied: int) -> Regret:
    test = f"{stage.metric.test}_mean"
    eligible = [config for config in stage.configs if config["eligible"]]
    best = max(eligible, key=lambda config: (config[test], config is selected))
    chosen, winner = _by_seed(stage, selected), _by_seed(stage, best)
    differences = tuple(100 * (winner[seed] - chosen[seed]) for seed in sorted(chosen))
    return Regret(stage, rule, selected, best, differences, num_tied)


def write_arrow(regrets: Sequence[Regret], left_out: Sequence[tuple[Searched, str]], path: Path) -> None:
    """Write a row per regret; of stages that are left out, with the reason and without numbers."""
    rows = [_facts(one.stage) | {"rule": one.rule} | _numbers(one) for one in regrets]
    rows += [_facts(stage) | {"left_out": reason} for stage, reason in left_out]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def _by_seed(stage: Searched, config: Row) -> dict[int, float]:
    own = (trial for trial in stage.trials if trial["config_id"] == config["config_id"])
    return {trial["seed"]: trial[stage.metric.test] for trial in own}


def _facts(stage: Searched) -> dict[str, Any]:
    return {
        **{name: getattr(stage, name) for name in ("experiment", "profile", "stage", "stage_id")},
        "method": stage.method,
        "source": source(stage),
        "labels": stage.data["labels"],
        "attack": attack(stage),
        "rule": stage.selection["rule"] if stage.selection else None,
    }


def _numbers(one: Regret) -> dict[str, Any]:
    low, high = one.interval or (None, None)
    return {
        "num_seeds": len(one.differences),
        "num_configs": len(one.stage.configs),
        "num_ineligible": one.num_ineligible,
        "selected_config_id": one.selected["config_id"],
        "selected_params": params_text(one.selected),
        "selected_test_accuracy_mean": one.selected[f"{one.stage.metric.test}_mean"],
        "best_config_id": one.best["config_id"],
        "best_params": params_text(one.best),
        "best_test_accuracy_mean": one.best[f"{one.stage.metric.test}_mean"],
        "differences": one.differences,
        "regret": one.mean,
        "regret_low": low,
        "regret_high": high,
        "num_tied_selected": one.num_tied_selected,
        "num_tied_best": one.num_tied_best,
    }


_POINTS = "percentage points"
_SCHEMA = pa.schema(
    [
        nullable("experiment", pa.string(), "name of the experiment"),
        nullable("profile", pa.string(), "profile of the experiment; empty where there is none"),
        nullable("stage", pa.string(), "name of the stage"),
        nullable("stage_id", pa.string(), "identity of the stage and its search space"),
        nullable("method", pa.string(), "learning method"),
        nullable("source", pa.string(), "name of the images"),
        nullable("labels", pa.int64(), "labelled images"),
        nullable("attack", pa.string(), "attack on the labelled images; empty where there is none"),
        nullable("rule", pa.string(), "rule that selects: train_loss, probe_accuracy, a criterion or a vote"),
        nullable("num_seeds", pa.int64(), "seeds, which are paired"),
        nullable("num_configs", pa.int64(), "configs of the stage"),
        nullable("num_ineligible", pa.int64(), "configs that no rule could choose"),
        nullable("selected_config_id", pa.string(), "the config that the rule chose"),
        nullable("selected_params", pa.string(), "its searched values"),
        nullable("selected_test_accuracy_mean", pa.float64(), "its mean over the seeds", "fraction"),
        nullable("best_config_id", pa.string(), "the eligible config of the best mean test accuracy"),
        nullable("best_params", pa.string(), "its searched values"),
        nullable("best_test_accuracy_mean", pa.float64(), "its mean over the seeds", "fraction"),
        nullable("differences", pa.list_(pa.float64()), "test accuracy of best less selected, by seed", _POINTS),
        nullable("regret", pa.float64(), "mean of the differences: an upper bound", _POINTS),
        nullable(
            "regret_low", pa.float64(), "lower end of the 95 % t interval; null for one seed or one config", _POINTS
        ),
        nullable(
            "regret_high", pa.float64(), "upper end of the 95 % t interval; null for one seed or one config", _POINTS
        ),
        nullable("num_tied_selected", pa.int64(), "other configs of the same value by the rule"),
        nullable("num_tied_best", pa.int64(), "other eligible configs of the best mean test accuracy"),
        nullable("left_out", pa.string(), "why the stage was not audited; else null"),
    ],
    metadata={"raysl.table": "audit", "note": UPPER_BOUND},
)
