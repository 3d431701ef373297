"""`raysl.load`: an experiment, from its YAML file or a dict."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysl.api.search_request import SearchRequest, read_request, request_of
from raysl.config import load as load_experiment
from raysl.config.document import ConfigError
from raysl.config.override import Override, parse_key
from raysl.config.packaged import experiment_file
from raysl.config.plain_dict import plain_value
from raysl.errors import UserError, checked_path, quoted
from raysl.search.experiment import Experiment

Source = str | os.PathLike[str] | Mapping[str, Any]
Overrides = Mapping[str, Any] | Sequence[str]


def load(source: Source, profile: str | None = None, overrides: Overrides = ()) -> Experiment:
    """Read an experiment and check all of it, as every command does before it starts.

    Args:
        source: a YAML file, the name of a packaged one (`rotation_semi`), or a dict with the content of one.
        profile: a named set of overrides in the source.
        overrides: take precedence over source and profile: values by dotted key, or texts `key=value` as for `--set`.

    Returns:
        the experiment, for `raysl.tune`, `raysl.train` and `raysl.plan`; it is immutable.

    Raises:
        UserError: lists all mistakes, each with its place (`file.yaml:12`, `dict['data']['labels']`,
            `overrides['seeds']`), the value and the choices.

    Example:
        experiment = raysl.load("search_spaces/rotation_semi.yaml", overrides={"seeds": 2, "stages.semi.epochs": 5})
    """
    if profile is not None and not isinstance(profile, str):
        raise UserError(f"profile: {quoted(profile)}: must be a name")
    if not isinstance(source, Mapping):
        source = _path(source)
    return load_experiment(source, profile or None, _overrides(overrides))


def load_tables(
    file: str | os.PathLike[str], profile: str | None = None, overrides: Overrides = (), cells: Sequence[str] = ()
) -> SearchRequest:
    """Read a table file: the searches that give the cells of a paper's tables.

    Args:
        file: the YAML file; paths of experiments in it are relative to its folder.
        profile: of the file; the first one if None.
        overrides: for every cell, as in `load`.
        cells: shell patterns `TABLE/ROW/COLUMN` of the cells to search; all if empty.

    Returns:
        the request, for `raysl.tune` and `raysl.plan`; its `experiments` and `cells` have the same order.

    Raises:
        UserError: as `load` does.
    """
    if profile is not None and not isinstance(profile, str):
        raise UserError(f"profile: {quoted(profile)}: must be a name")
    texts = [str(one) for one in _overrides(overrides)]
    patterns = [cells] if isinstance(cells, str) else list(cells)
    return read_request(_path(file), profile or None, texts, patterns)


def as_request(given: Experiment | SearchRequest | Source) -> SearchRequest:
    """Return the request for an argument of `raysl.tune`; raises UserError as `load` does."""
    if isinstance(given, SearchRequest):
        return given
    if isinstance(given, Experiment):
        return request_of(given)
    if isinstance(given, Mapping):
        return request_of(load(given))
    return read_request(_path(given), None, (), ())


def as_experiment(given: Experiment | Source) -> Experiment:
    """Return the experiment for an argument of `raysl.train`; raises UserError as `load` does."""
    if isinstance(given, SearchRequest):
        raise UserError("experiment: these are the searches of a table file; one of its `experiments` is trained")
    return given if isinstance(given, Experiment) else load(given)


def _path(given: Any) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise UserError(
            f"experiment: {quoted(given)} is of the type {type(given).__name__}; choices: the path of a YAML file, a "
            "dict, what raysl.load has returned"
        )
    return experiment_file(checked_path(Path(os.fsdecode(given)), "experiment", ConfigError))


def _overrides(given: Overrides) -> list[str | Override]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return [_override(key, value) for key, value in given.items()]
    if not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise UserError(f"overrides: {quoted(given)}: choices: a dict of values by dotted key, texts 'key=value'")
    return list(given)


def _override(key: Any, value: Any) -> Override:
    place = f"overrides[{quoted(key)}]"
    if not isinstance(key, str):
        raise ConfigError(f"{place}: a key is a dotted text, as in 'data.labels'")
    return Override(parse_key(key, place), plain_value(value, place), place)
