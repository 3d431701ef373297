"""Links to the views of a results folder in MLflow's pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysl.results.tables.build import Tables
from raysl.tracking.connection import connected
from raysl.tracking.stage_runs import run_facts
from raysl.tracking.views import configs_key, selected_key


@dataclass(frozen=True)
class Link:
    """A link to a view.

    num_configs: of the stage; 0 for the view of several stages.
    """

    experiment: str
    name: str
    num_configs: int
    url: str


def links(tables: Tables, folder_id: str, uri: str, address: str) -> list[Link]:
    """Return links to the views of a results folder's stages, in the order of the search.

    An experiment of several stages has one more, first, that compares their selected configs.  Experiments that the
    store does not hold are left out.
    uri: of the tracking store.  address: of the server's pages.
    Raises StoreError if the store cannot be reached.
    """
    stages: dict[str, list[tuple[str, str, int]]] = {}
    for run in run_facts(tables):
        if run.kind == "stage":
            found = (run.tags["raysl.stage_label"], run.stage_id, int(run.tags["raysl.num_configs"]))
            stages.setdefault(run.experiment, []).append(found)
    with connected(uri) as client:
        held = {name: client.get_experiment_by_name(name) for name in stages}
    made: list[Link] = []
    for experiment, entity in held.items():
        if entity is None:
            continue
        page, several = f"{address.rstrip('/')}/#/experiments/{entity.experiment_id}/runs", stages[experiment]
        if len(several) > 1:
            made.append(Link(experiment, "selected configs", 0, _view(page, selected_key(folder_id))))
        for name, stage_id, number in several:
            made.append(Link(experiment, name, number, _view(page, configs_key(folder_id, stage_id))))
    return made


def best_link(made: Sequence[Link]) -> Link | None:
    """Return the link to open first; None if there is none.

    It is that of the stage with most configs, of equal ones the last; of several experiments, as of a paper's table,
    that of the first one's selected configs, if it has several stages.
    """
    if len({link.experiment for link in made}) > 1 and made[0].num_configs == 0:
        return made[0]
    return max(reversed(made), key=lambda link: link.num_configs, default=None)


def _view(page: str, key: str) -> str:
    return f"{page}?workflowType=machine_learning&viewStateShareKey={key}&compareRunsMode=CHART"
