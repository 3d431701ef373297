"""Links to the views of a results folder in MLflow's pages."""

from collections.abc import Iterable
from dataclasses import dataclass

from raysl.outgoing import presentable
from raysl.results.tables.build import Tables
from raysl.tracking.stage_runs import run_facts
from raysl.tracking.views import configs_key, selected_key


@dataclass(frozen=True)
class Link:
    """A link to a view.

    num_configs: of the stage; 0 for the view of several stages.
    """

    name: str
    num_configs: int
    url: str


def links(tables: Tables, folder_id: str, uri: str, address: str) -> list[Link]:
    """Return links to the views of a results folder's stages, in the order of the search.

    An experiment of several stages has one more, first, that compares their selected configs.  Experiments that the
    store does not hold are left out.
    uri: of the tracking store.  address: of the server's pages.
    Raises MlflowException if the store cannot be reached.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    stages: dict[str, list[tuple[str, str, int]]] = {}
    for run in run_facts(tables):
        if run.kind == "stage":
            found = (run.tags["raysl.stage_label"], run.stage_id, int(run.tags["raysl.num_configs"]))
            stages.setdefault(run.experiment, []).append(found)
    made: list[Link] = []
    for experiment, several in stages.items():
        if (entity := client.get_experiment_by_name(experiment)) is None:
            continue
        page = f"{address.rstrip('/')}/#/experiments/{entity.experiment_id}/runs"
        if len(several) > 1:
            made.append(Link(f"{experiment}: selected configs", 0, _view(page, selected_key(folder_id))))
        for name, stage_id, number in several:
            made.append(Link(f"{experiment}: {name}", number, _view(page, configs_key(folder_id, stage_id))))
    return [Link(presentable(link.name), link.num_configs, link.url) for link in made]


def best_link(made: Iterable[Link]) -> Link | None:
    """Return the link to open first: to the stage with most configs, of equal ones the last."""
    return max(reversed(list(made)), key=lambda link: link.num_configs, default=None)


def _view(page: str, key: str) -> str:
    return f"{page}?workflowType=machine_learning&viewStateShareKey={key}&compareRunsMode=CHART"
