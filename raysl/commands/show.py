"""`raysl show`."""

from raysl.console import report
from raysl.console.screen import screen
from raysl.errors import ResultsError, UserError, choices
from raysl.results.store import Store
from raysl.search.summary import summarise_store


def show(results: str, form: str) -> None:
    """Show a results folder as it is now, while a search runs on it too."""
    if form not in report.FORMATS:
        raise UserError(f"--format {form}: {choices(form, report.FORMATS)}")
    store = Store.open(results, create=False)
    tables = summarise_store(store)
    if tables.configs.num_rows == 0:
        raise ResultsError(f"{store.uri}: no search has been here; `raysl tune FILE --results {results}` starts one")
    report.show(tables, store.uri, form, screen())
