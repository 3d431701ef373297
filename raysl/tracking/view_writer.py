"""Writes views into the tags of experiments, where they have changed."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from raysl.tracking.facts import RunFacts
from raysl.tracking.views import TAG, View, prefix, views_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_CHARACTERS = 5000  # of a tag's value, which every server takes


def write_views(client: "MlflowClient", folder_id: str, facts: Sequence[RunFacts]) -> None:
    """Write a results folder's views, and delete those of stages that are there no longer.

    A server that refuses such tags goes without views.
    """
    from mlflow.exceptions import MlflowException

    by_experiment: dict[str, list[View]] = {}
    for view in views_of(folder_id, facts):
        by_experiment.setdefault(view.experiment, []).append(view)
    with suppress(MlflowException):
        for experiment, views in by_experiment.items():
            _write(client, folder_id, experiment, views)


def _write(client: "MlflowClient", folder_id: str, experiment: str, views: Sequence[View]) -> None:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return
    wanted = {f"{TAG}{view.key}": view.value for view in views}
    for key, value in wanted.items():
        if found.tags.get(key) != value and len(value) <= MOST_CHARACTERS:
            client.set_experiment_tag(found.experiment_id, key, value)
    for key in found.tags:
        if key.startswith(f"{TAG}{prefix(folder_id)}") and key not in wanted:
            client.delete_experiment_tag(found.experiment_id, key)
