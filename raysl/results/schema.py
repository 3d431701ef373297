"""The four published schemas. A later version only ever adds nullable columns."""

from collections.abc import Mapping
from typing import get_args

import pyarrow as pa

from raysl.results.criteria import CRITERIA, VOTE
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import METRIC_COLUMNS, METRICS, Metric, ProbeRule

VERSION = b"1"

_TIME = pa.timestamp("us", tz="UTC")
_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def _column(name: str, kind: pa.DataType, description: str, unit: str = "", *, nullable: bool = False) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def nullable(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    """Return a column that may hold nulls, described in its metadata."""
    return _column(name, kind, description, unit, nullable=True)


def _schema(table: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={b"raysl.schema_version": VERSION, b"raysl.table": table.encode()})


def _of_trial(metric: Metric) -> tuple[pa.Field, ...]:
    meaning = f"{metric.words} on labelled training images alone: {metric.probe_meaning}"
    sealed = f"{metric.words} on the sealed test set; read by no selection rule"
    return nullable(metric.probe, _REAL, meaning, "fraction"), nullable(metric.test, _REAL, sealed, "fraction")


def _over_seeds(column: str, unit: str = "fraction") -> tuple[pa.Field, ...]:
    deviation = "sample standard deviation (n - 1); null for one seed"
    return (
        nullable(f"{column}_mean", _REAL, f"mean of {column} over the seeds", unit),
        nullable(f"{column}_std", _REAL, deviation, unit),
    )


_EXPERIMENT = _column("experiment", _TEXT, "name of the experiment")
_PROFILE = _column("profile", _TEXT, "profile of the experiment; empty where there is none")
_STAGE = _column("stage", _TEXT, "name of the stage")
_STAGE_ID = _column("stage_id", _TEXT, "identity of the stage and its search space")
_CURRENT = nullable(
    "current", _FLAG, "false where a later search of the same stage on the same data and model settings is kept too"
)
_DATA = nullable(
    "data", _TEXT, "JSON of the stage's data settings: source, labels, unlabelled, image_size and the others"
)
_MODEL = nullable("model", _TEXT, "JSON of the stage's model settings: backbone, features and the others")
_VARIANT = nullable("variant", _TEXT, "what tells the stage from others like it in a paper's table; mostly empty")
_CONFIG_ID = _column("config_id", _TEXT, "identity of the config: one setting of the stage, without the seed")
_TRIAL_ID = _column("trial_id", _TEXT, "identity of the trial: everything that decides its numbers")
_SEED = _column("seed", _INT, "seed of the trial; equal seeds are paired over configs and methods")
_SELECTED = _column("selected", _FLAG, "whether the stage's selection rule chose this config")

TRIALS = _schema(
    "trials",
    _EXPERIMENT,
    _PROFILE,
    _STAGE,
    _STAGE_ID,
    _CURRENT,
    _CONFIG_ID,
    _TRIAL_ID,
    _SEED,
    _column(
        "status",
        _TEXT,
        "finished, diverged (non-finite loss), collapsed (all embeddings in one point), stopped (early, as hopeless), "
        "failed, cross_fitted (only its folds were trained: the config is not selected), or pending (not ended yet)",
    ),
    _column("reason", _TEXT, "why the trial did not finish, or was not probed; else empty"),
    nullable("method", _TEXT, "learning method"),
    nullable(
        "final_loss", _REAL, "mean training loss over the last epoch; null unless finished, or where nothing is trained"
    ),
    *(column for metric in METRICS for column in _of_trial(metric)),
    *(nullable(one.name, _REAL, f"{one.meaning}, of unlabelled training images") for one in CRITERIA),
    _SELECTED,
    nullable("epochs", _INT, "epochs completed", "epochs"),
    nullable("num_parameters", _INT, "parameters of what was trained, frozen ones included"),
    nullable("seconds", _REAL, "time spent in training", "s"),
    nullable("started_at", _TIME, "start of the trial"),
    nullable("finished_at", _TIME, "end of the trial"),
    nullable("workers", _INT, "processes that trained the trial together"),
    nullable("device", _TEXT, "device that trained; of a processor the instructions too"),
    nullable("raysl_version", _TEXT, "version of raysl that trained"),
    nullable("torch_version", _TEXT, "version of PyTorch that trained"),
    nullable("code", _TEXT, "names the sources that trained; null where an earlier version did"),
    nullable(
        "weights_of",
        _TEXT,
        "id of the trial that these weights and seconds are of; null if this trial was trained itself",
    ),
    nullable("spec", _TEXT, "JSON of everything that decides the trial's numbers"),
    nullable(
        "seed_design",
        _TEXT,
        "random streams that vary over the seeds: `labels x init` (crossed) or `labels > init` (nested); null where "
        "all follow the seed",
    ),
    nullable(
        CROSS_FITTED,
        _REAL,
        "mean accuracy on the folds of the labelled training images, each of which a trial was trained without",
        "fraction",
    ),
    nullable("folds", pa.list_(_TEXT), "ids of the trials of the folds; null unless the stage's rule is cross-fitted"),
    nullable("fold_seconds", _REAL, "time spent in training the trials of the folds, all together", "s"),
)

CURVES = _schema(
    "curves",
    _EXPERIMENT,
    _STAGE,
    _STAGE_ID,
    _CURRENT,
    _CONFIG_ID,
    _TRIAL_ID,
    _SEED,
    _column("epoch", _INT, "epoch, counted from 0"),
    _column("lr", _REAL, "learning rate at the epoch's first step"),
    _column("seconds", _REAL, "time that the epoch took", "s"),
    _column(
        "term",
        _TEXT,
        "`total`, or the name of a loss term that it is made of; or `spread`, how far apart a siamese method's "
        "embeddings lie: from 1, spread evenly, to 0, collapsed to a point",
    ),
    _column("value", _REAL, "mean of the term over the epoch's samples"),
)

CONFIGS = _schema(
    "configs",
    _EXPERIMENT,
    _PROFILE,
    _STAGE,
    _STAGE_ID,
    _CURRENT,
    _DATA,
    _MODEL,
    _VARIANT,
    _CONFIG_ID,
    _column("num_seeds", _INT, "trials of the config"),
    _column("num_finished", _INT, "trials of the config that finished"),
    _column(
        "eligible",
        _FLAG,
        "whether a selection rule may choose the config: all its trials finished, and no race dropped it",
    ),
    _column("reason", _TEXT, "why the config is not eligible; else empty"),
    nullable("final_loss_mean", _REAL, "mean of final_loss over the seeds"),
    nullable("final_loss_std", _REAL, "sample standard deviation (n - 1) of final_loss; null for one seed"),
    *(column for name in METRIC_COLUMNS for column in _over_seeds(name)),
    *(column for one in CRITERIA for column in _over_seeds(one.name, "")),
    nullable(f"{VOTE}_mean", _REAL, "mean rank by the criteria of the stage's vote; null unless they vote"),
    nullable("seconds_mean", _REAL, "mean of the training time over the seeds", "s"),
    nullable(
        "objectives", pa.list_(_TEXT), "what the stage's search weighs; null where that is only what its rule compares"
    ),
    nullable(
        "pareto", _FLAG, "whether the config is on the front of the objectives; null where they are fewer than two"
    ),
    nullable("dropped_in_round", _INT, "round of the stage's race, from 1, that dropped the config; null if none did"),
    nullable(
        "in_tie_set",
        _FLAG,
        "whether the config cannot be told from the best by the stage's rule at 5 %: paired t tests over the seeds, "
        "Holm over the configs; null for one seed, or one eligible config",
    ),
    _SELECTED,
)

SELECTIONS = _schema(
    "selections",
    _EXPERIMENT,
    _PROFILE,
    _STAGE,
    _STAGE_ID,
    _CURRENT,
    _DATA,
    _MODEL,
    _VARIANT,
    _column(
        "rule",
        _TEXT,
        " or ".join(["train_loss", *get_args(ProbeRule), "a criterion, a vote of criteria or `cross_fit(FOLDS)`"]),
    ),
    nullable("config_id", _TEXT, "the chosen config; null where none was eligible"),
    _column("reason", _TEXT, "why the rule chose it, or could not choose"),
    _column("params", _TEXT, "JSON of the chosen config's searched values"),
    _column("trial_ids", pa.list_(_TEXT), "the chosen config's trials, by seed"),
    _column("num_configs", _INT, "configs of the stage"),
    _column("num_eligible", _INT, "configs that the rule could choose from"),
    _column(
        "ineligible",
        pa.list_(pa.struct([pa.field("config_id", _TEXT), pa.field("reason", _TEXT)])),
        "the configs that it could not choose, and why",
    ),
    _column("selected_at", _TIME, "time of the selection"),
)

SCHEMAS: Mapping[str, pa.Schema] = {
    "trials": TRIALS,
    "curves": CURVES,
    "configs": CONFIGS,
    "selections": SELECTIONS,
}


def with_params(schema: pa.Schema, numeric: Mapping[str, bool]) -> pa.Schema:
    """Return a schema with a nullable column `params.<key>` per searched key.

    numeric: whether all values of a key are numbers; its column is then float64, else string.
    """
    for key, is_number in numeric.items():
        kind = _REAL if is_number else _TEXT
        description = f"value of {key}; null where the stage does not search it"
        schema = schema.append(nullable(f"params.{key}", kind, description))
    return schema
