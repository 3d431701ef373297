"""Links to the views of a results folder in MLflow's pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysl.results.tables.build import Tables
from raysl.tracking.connection import connected
from raysl.tracking.stage_runs import run_facts
from raysl.tracking.views import View, views_of


@dataclass(frozen=True)
class Link:
    """A link to a view.

    name: of the view.  num_configs: that it compares; 0 for other views.
    """

    experiment: str
    name: str
    num_configs: int
    url: str


def links(tables: Tables, folder_id: str, uri: str, address: str) -> list[Link]:
    """Return links to a results folder's views of configs, by experiment and in the order of the search.

    That of the selected configs of an experiment's stages is its first.  Experiments that the store does not hold are
    left out.
    uri: of the tracking store.  address: of the server's pages.
    Raises StoreError if the store cannot be reached.
    """
    views = [view for view in views_of(folder_id, run_facts(tables)) if view.kind != "trials"]
    with connected(uri) as client:
        held = {name: client.get_experiment_by_name(name) for name in dict.fromkeys(view.experiment for view in views)}
    made: list[Link] = []
    for experiment, entity in held.items():
        if entity is None:
            continue
        page = f"{address.rstrip('/')}/#/experiments/{entity.experiment_id}/runs"
        of_it = [view for view in views if view.experiment == experiment]
        for view in sorted(of_it, key=lambda view: view.kind != "selected"):
            made.append(Link(experiment, _name(view), view.num_configs, _url(page, view)))
    return made


def best_link(made: Sequence[Link]) -> Link | None:
    """Return the link to open first; None if there is none.

    It is that of the stage with most configs, of equal ones the last; of several experiments, as of a paper's table,
    that of the first one's selected configs, if it has several stages.
    """
    if len({link.experiment for link in made}) > 1 and made[0].num_configs == 0:
        return made[0]
    return max(reversed(made), key=lambda link: link.num_configs, default=None)


def _name(view: View) -> str:
    more = f", {view.num_configs} configs" if view.num_configs > 1 else ""
    return {"configs": f"{view.stage}{more}", "search": f"{view.stage}, search"}.get(view.kind, "selected configs")


def _url(page: str, view: View) -> str:
    return f"{page}?workflowType=machine_learning&viewStateShareKey={view.key}&compareRunsMode=CHART"
