"""Views of MLflow's comparison page: which runs it shows, how they are sorted and grouped, and in which charts.

MLflow keeps a shared view in a tag of its experiment.  Its form is undocumented and was read from MLflow 3.17; a
version that does not know it shows its own page instead, and `tests/tracking/test_browser.py` notices.
"""

import base64
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raysl.results.criteria import CRITERIA, CRITERION_NAMES, VOTE, voters
from raysl.results.cross_fit import CROSS_FITTED, folds_of
from raysl.results.metrics import METRIC_COLUMNS, METRICS
from raysl.tracking.curves import ABOVE, BELOW, TOTAL
from raysl.tracking.facts import LABEL, RunFacts
from raysl.tracking.intervals import interval_tag

TAG = "mlflow.sharedViewState."
MOST_SHOWN = 20  # runs in charts of curves, if there are more
MOST_BARS = 100
_COLUMNS = {  # of the tables, by their metric; charts and columns without values are hidden
    "final/loss": "final_loss",
    **{f"final/{name}": name for name in METRIC_COLUMNS},
    **{f"criteria/{name}": name for name in CRITERION_NAMES},
}
_RANKED: dict[str, tuple[str, bool]] = {
    "train_loss": ("final/loss_mean", True),
    **{metric.probe: (f"final/{metric.probe}_mean", False) for metric in METRICS},
    **{one.name: (f"criteria/{one.name}_mean", not one.highest) for one in CRITERIA},
}
Kind = Literal["configs", "trials", "search", "selected"]
State = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A shared view of an experiment.

    stage: its label; empty for `selected`.  num_configs: those that `configs` compares; 0 for other kinds.
    key: stable over syncs; it begins with `prefix` of its results folder.  created: unix milliseconds.
    """

    experiment: str
    kind: Kind
    stage: str
    num_configs: int
    key: str
    created: int
    state: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in MLflow's menu."""
        return f"{self.stage}: {self.kind}" if self.stage else "selected configs of all stages"

    @property
    def value(self) -> str:
        """The value of its tag; the same for an equal view."""
        packed = base64.b64encode(zlib.compress(json.dumps(self.state).encode(), 9)).decode()
        return json.dumps({"name": self.name, "createdAt": self.created, "state": f"deflate;{packed}"})


def prefix(folder_id: str) -> str:
    """Return how the keys of a results folder's views begin."""
    return f"raysl-{folder_id}-"


def views_of(folder_id: str, facts: Sequence[RunFacts]) -> list[View]:
    """Return a results folder's views.

    Each stage has `configs`: bars of means and standard deviations, and curves of means; `trials`, grouped by config;
    and, if two keys or more are searched, `search`: parallel coordinates.  An experiment of several stages has
    `selected`, which compares their selected configs.
    facts: of the folder's runs.
    """
    views: list[View] = []
    stages = [run for run in facts if run.kind == "stage"]
    for stage in stages:
        num_configs = int(stage.tags["raysl.num_configs"])
        views += _stage_views(folder_id, stage, num_configs, stage.tags[LABEL])
    for experiment in dict.fromkeys(stage.experiment for stage in stages):
        several = [stage for stage in stages if stage.experiment == experiment]
        if len(several) > 1:
            measured = {name for run in facts if run.experiment == experiment for name in run.metrics}
            views.append(_selected_view(folder_id, experiment, measured, min(stage.start for stage in several)))
    return views


def _stage_views(folder_id: str, stage: RunFacts, num_configs: int, name: str) -> list[View]:
    begin = f"{prefix(folder_id)}{stage.stage_id}"
    keys = [key for key in stage.tags["raysl.searched"].split(", ") if key]
    metric, ascending = _ranked(stage.tags.get("raysl.rule", ""))
    of_stage = _chosen(**{"raysl.folder": folder_id, "raysl.stage_id": stage.stage_id, "raysl.current": "true"})
    configs = _state(f"{of_stage} AND {_chosen(**{'raysl.kind': 'config'})}", metric, ascending, num_configs)
    columns = _columns(["tags.`raysl.selected`", *(f"params.`{key}`" for key in keys)], "config")
    states: dict[Kind, State] = {"configs": configs | columns | _config_charts(begin)}
    trials = _state(f"{of_stage} AND {_chosen(**{'raysl.kind': 'trial'})}", "final/loss", True, num_configs)
    grouped = {"groupBy": _grouped("raysl.config"), "useGroupedValuesInCharts": True}
    states["trials"] = trials | grouped | _columns(["params.`seed`", "tags.`raysl.status`"], "trial")
    if len(keys) > 1:
        states["search"] = configs | columns | {"runsHiddenMode": "SHOW_ALL"} | _search_charts(begin, keys, metric)
    return [
        View(
            stage.experiment, kind, name, num_configs if kind == "configs" else 0, f"{begin}-{kind}", stage.start, state
        )
        for kind, state in states.items()
    ]


def _ranked(rule: str) -> tuple[str, bool]:
    """Return the metric of configs that a stage's rule compares, and whether lower is better."""
    if folds_of(rule):
        return f"final/{CROSS_FITTED}_mean", False
    return (f"criteria/{VOTE}_mean", True) if voters(rule) else _RANKED.get(rule, _RANKED["train_loss"])


def _selected_view(folder_id: str, experiment: str, measured: Collection[str], created: int) -> View:
    """Return the view of an experiment's selected configs, best first; measured: the names of its runs' metrics."""
    tags = {"raysl.folder": folder_id, "raysl.kind": "config", "raysl.current": "true", "raysl.selected": "true"}
    key = f"{prefix(folder_id)}selected"
    scores = [f"final/{metric.test}_mean" for metric in METRICS]
    state = _state(_chosen(**tags), next((name for name in scores if name in measured), scores[0]), False, 0)
    state |= {"groupBy": _grouped(LABEL), "useGroupedValuesInCharts": True}
    columns = _columns(["tags.`raysl.method`", "tags.`raysl.labels`"], "config")
    return View(experiment, "selected", "", 0, key, created, state | columns | _config_charts(key))


def _chosen(**tags: str) -> str:
    return " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _state(chosen: str, metric: str, ascending: bool, num_shown: int) -> State:
    return {
        "searchFilter": chosen,
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": ascending,
        "runsHiddenMode": "SHOW_ALL" if num_shown <= MOST_SHOWN else f"FIRST_{MOST_SHOWN}_RUNS",
        "groupBy": None,
        "useGroupedValuesInCharts": False,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _grouped(tag: str) -> State:
    return {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": tag}]}


def _columns(first: Sequence[str], kind: str) -> State:
    """Return the columns of the table: of configs the mean of each value, its interval and its standard deviation."""
    if kind == "config":
        values = [of for name, column in _COLUMNS.items() for of in _spread_columns(name, column)]
        return {"selectedColumns": [*first, *values, "metrics.`seconds_mean`"]}
    return {"selectedColumns": [*first, *(f"metrics.`{name}`" for name in (*_COLUMNS, "seconds"))]}


def _spread_columns(name: str, column: str) -> tuple[str, ...]:
    return f"metrics.`{name}_mean`", f"tags.`raysl.{interval_tag(column)}`", f"metrics.`{name}_std`"


def _config_charts(begin: str) -> State:
    """Return charts of configs: bars of means and standard deviations side by side, then curves of means."""
    loss, final, more = (f"{begin}-section-{name}" for name in ("loss", "final", "more"))
    bars = [_chart(begin, final, "BAR", f"{name}{end}") for name in _COLUMNS for end in ("_mean", "_std")]
    charts = [
        *bars,
        _chart(begin, loss, "LINE", TOTAL, selectedMetricKeys=[TOTAL]),
        _chart(begin, loss, "LINE", BELOW, selectedMetricKeys=[TOTAL, BELOW, ABOVE]),
        _chart(begin, loss, "BAR", ABOVE, deleted=True),  # it is in the chart above; else MLflow would add its own
        _chart(begin, more, "BAR", "seconds_mean"),
    ]
    return _page(charts, [_section(final, "final"), _section(loss, "loss"), _section(more, "Model metrics")])


def _search_charts(begin: str, keys: Sequence[str], metric: str) -> State:
    """Return parallel coordinates of the searched values and the mean that is selected by, then charts of configs."""
    search, page = f"{begin}-section-search", _config_charts(begin)
    shown = {"selectedParams": list(keys), "selectedMetrics": [metric], "showAllRuns": True}
    parallel = _chart(begin, search, "PARALLEL", "", **shown)
    sections = [_section(search, "search", columns=1), *page["compareRunSections"]]
    return _page([parallel, *page["compareRunCharts"]], sections)


def _chart(begin: str, section: str, type_: str, metric: str, **more: Any) -> State:
    return {
        "uuid": f"{begin}-{type_}-{metric}",
        "type": type_,
        "metricKey": metric,
        "runsCountToCompare": MOST_BARS,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "lineSmoothness": 0,
    } | more


def _section(key: str, name: str, columns: int = 2) -> State:
    return {"uuid": key, "name": name, "display": True, "isReordered": True, "deleted": False, "columns": columns}


def _page(charts: Sequence[State], sections: Sequence[State]) -> State:
    return {"compareRunCharts": list(charts), "compareRunSections": list(sections), "isAccordionReordered": True}
