"""The configs of a stage as a table, best first, and why the selected one is selected."""

from collections.abc import Sequence

from raysl.reports.page.html import Html, code, folded, joined, tag, wide
from raysl.reports.page.numbers import plain_spread, spread
from raysl.reports.searched import MEASURES, best, ranking, tied
from raysl.reports.stages import Row, Searched, params_text
from raysl.results.criteria import CRITERION_NAMES, VOTE
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import METRICS
from raysl.results.tie_text import tie_text

MOST_SHOWN = 12  # configs that are not folded away
HEADS = {"final_loss": "final loss"} | {
    f"{kind}_{metric.name}": f"{kind} {metric.words} %" for metric in METRICS for kind in ("probe", "test")
}
HEADS |= {name: MEASURES[name].words for name in (CROSS_FITTED, *CRITERION_NAMES, VOTE)}


def row_id(stage: Searched, config_id: str) -> str:
    """Return the name of a config's row in the page."""
    return f"{stage.stage_id}-{config_id}"


def reason(stage: Searched) -> Html:
    """Return why the selected config is selected, and whether others tie with it."""
    if stage.selection is None:
        return tag("p", "Not selected yet: trials are missing.")
    chosen, rule = stage.selection["config_id"], stage.selection["rule"]
    if chosen is None:
        return tag("p", f"By {rule}: {stage.selection['reason']}.")
    name = next((params_text(config) for config in stage.configs if config["config_id"] == chosen), "")
    ties = tied(stage)
    same = ", ".join(params_text(config) or config["config_id"] for config in ties[:5])
    words = f" Ties: {len(ties)} ({same}); the first of the search is taken." if ties else " Ties: none."
    words = words if chosen in {config["config_id"] for config in best(stage)} else ""  # a cheaper one is selected
    what = joined([tag("b", name or "the only config"), " (", code(chosen), ") by ", rule, ": "])
    names = {config["config_id"]: params_text(config) or config["config_id"] for config in stage.configs}
    may_be_best = f" T{text[1:]}." if (text := tie_text(stage.configs, names)) else ""
    return tag("p", "Selected ", what, stage.selection["reason"], ".", words, may_be_best)


def leaderboard(stage: Searched) -> Html:
    """Return the configs as a table, best first by the rule, then the ineligible ones; a long one is folded."""
    ranked = ranking(stage)
    known = {config["config_id"] for config in ranked}
    rest = [config for config in stage.configs if config["config_id"] not in known]
    every = [*((str(place), config) for place, config in enumerate(ranked, 1)), *(("-", config) for config in rest)]
    shown = _table(stage, every[:MOST_SHOWN])
    more = every[MOST_SHOWN:]
    return joined([shown, folded(f"{len(more)} more configs", _table(stage, more))] if more else [shown])


def _table(stage: Searched, rows: Sequence[tuple[str, Row]]) -> Html:
    columns = [name for name in HEADS if any(config[f"{name}_mean"] is not None for config in stage.configs)]
    heads = ["config", "rank", "seeds", *(HEADS[name] for name in columns), "s/trial", "row of configs.arrow"]
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = [_row(stage, rank, config, columns) for rank, config in rows]
    return wide(tag("table", tag("thead", head), tag("tbody", *body)))


def _row(stage: Searched, rank: str, config: Row, columns: Sequence[str]) -> Html:
    name = params_text(config) or "the only config"
    fate = "" if config["dropped_in_round"] is not None else "not eligible: "
    trouble = (
        "" if config["eligible"] else tag("small", f"{fate}{config['reason']}", class_=None if not fate else "bad")
    )
    cells = [
        f"{rank} ★" if config["selected"] else rank,
        f"{config['num_finished']}/{config['num_seeds']}",
        *(spread(config, column, has_interval=stage.design is None) for column in columns),
        plain_spread(config, "seconds") or "-",
        code(config["config_id"]),
    ]
    return tag(
        "tr",
        tag("th", name, trouble, scope="row"),
        *(tag("td", cell) for cell in cells),
        id=row_id(stage, config["config_id"]),
        class_="selected" if config["selected"] else None,
    )


def beside_pointer(stage: Searched) -> dict[str, str]:
    """Return what a page shows of each config beside the pointer, by id."""
    return {config["config_id"]: _in_words(config) for config in stage.configs}


def _in_words(config: Row) -> str:
    values = [(MEASURES[name].words, plain_spread(config, name)) for name in HEADS]
    measured = [f"{words}: {value}" for words, value in values if value]
    return "\n".join([params_text(config) or "the only config", *measured, config["config_id"]])
