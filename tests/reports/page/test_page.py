"""The page is one whole file without network and scripts, has every config, and shows texts as texts."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raysl.reports.page.html import Html, tag
from raysl.reports.page.numbers import duration
from raysl.reports.page.page import page
from raysl.reports.stages import read_stages
from raysl.results.records.origins import Origin, read_origins, write_origin
from raysl.results.records.paper_tables import Cell, PaperTable, PaperTables
from raysl.results.records.rows import Epoch
from raysl.results.storage.store import Store
from raysl.results.tables.build import read
from raysl.results.tables.comparison import compare

Made = Callable[..., str]
Params = Mapping[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EVIL = (
    "<script>alert('x')</script>",
    '"><img src=x onerror=alert(1)>',
    "a & b $\\frac$ {x}",
    "line\n\x1b[31mred \u202e",
)
EMPTY = {"meta", "img", "br"}


class Elements(HTMLParser):
    """The elements of a page, which must be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, known, value in self.attributes if known == name]


def made_page(uri: str, *paper: PaperTables, **options: Any) -> str:
    tables = read(uri)
    compared = [(one, own) for one in paper for own in compare(one, tables)]
    origins = read_origins(Store.open(uri, create=False))
    return page(uri, read_stages([uri]), compared, origins, NOW, lambda _: None, **options)


def check_whole(text: str) -> Elements:
    """Check that a page loads nothing and runs nothing, that its ids are its own, and that its links lead somewhere."""
    found = Elements(text)
    assert not found.tags.keys() & {"script", "link", "iframe", "object", "embed", "img", "form"}
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\((?!#)", text)
    ids = Counter(found.values("id"))
    assert [name for name, num in ids.items() if num > 1] == []
    links = [*found.values("href"), *found.values("xlink:href")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert all(name in ids for name in re.findall(r"url\(#([^)]+)\)", text))
    assert len(text.encode()) < 5_000_000
    return found


def test_the_page_of_a_search_has_its_configs_figures_and_classes(results: str, searched: tuple[Path, Path]) -> None:
    text = made_page(results)
    found = check_whole(text)
    tables = read(results).current()
    for config in tables.configs.to_pylist():
        assert f"{config['stage_id']}-{config['config_id']}" in found.values("id")
    words = " ".join(found.text)
    for selection in tables.selections.to_pylist():
        assert selection["reason"] in words
    assert words.count("Ties: none.") == 2
    assert words.count("Tie set: ") == words.count("Holm's correction).") > 0
    labels = found.values("aria-label")
    assert labels.count("training loss of all configs, by epoch") == 2
    assert labels.count("test features in two dimensions") == 2
    assert "the objective over lr" in labels
    assert "Confusion matrix" in words
    assert f"raysl tune {searched[0]} --results {results}" in words
    assert searched[0].read_text().strip() in words


def hostile(params: Params, seed: int) -> dict[str, Any]:
    curve = (Epoch(0, 0.1, 1.0, {}, 1.0),)
    if params["word"] == EVIL[0] and seed == 1:
        return {"status": "failed", "reason": f"{EVIL[1]} {EVIL[3]}", "final_loss": None, "curve": curve}
    return {"final_loss": 1.0 + len(params["word"]) + params["x"] + seed, "curve": curve, "epochs": 1}


def test_texts_of_users_stay_texts(made: Made) -> None:
    configs = [{"word": word, "x": float(x)} for x, word in enumerate(EVIL)]
    text = made_page(made(("<b>stage", configs, hostile), rule="train_loss"))
    found = check_whole(text)
    words = " ".join(found.text)
    assert all(word in words for word in ("<b>stage", *EVIL[:3]))
    assert "\\n\\x1b[31mred \\u202e" in words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)
    assert "1 of 8 trials did not finish" in words
    assert "failed" in words


def test_text_is_escaped_and_html_is_not() -> None:
    assert tag("p", "<b>", Html("<i></i>"), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;<i></i></p>'


def test_a_stage_without_an_eligible_config_has_its_reasons(made: Made) -> None:
    failed = {"status": "failed", "reason": "out of memory", "final_loss": None}
    found = check_whole_without_links(made_page(made(("sweep", [{"x": 1.0}, {"x": 2.0}], lambda *_: failed))))
    words = " ".join(found.text)
    assert "no config is eligible" in words
    assert "4 of 4 trials did not finish" in words


def test_a_search_that_is_not_over_has_a_page(made: Made, republish: Callable[[Path], None]) -> None:
    curve = (Epoch(0, 0.1, 1.0, {}, 1.0),)
    uri = made(("sweep", [{"x": 1.0}, {"x": 2.0}], lambda params, seed: {"curve": curve}))
    folder = Path(uri.removeprefix("file://"))
    (folder / "selections" / "sweep.json").unlink()
    (folder / "rows" / "sweep-1-0.parquet").unlink()
    republish(folder)
    found = check_whole(made_page(uri))
    assert "Not selected yet" in " ".join(found.text)
    assert "seed 0 is not trained yet" in " ".join(found.text)
    assert "training loss of all configs, by epoch" in found.values("aria-label")


def check_whole_without_links(text: str) -> Elements:
    found = Elements(text)
    assert not found.tags.keys() & {"script", "link", "iframe"}
    return found


def test_a_stage_with_the_trials_of_another_refers_to_it(made: Made) -> None:
    uri = made(("one", [{}], lambda params, seed: {}))
    [stage] = read_stages([uri])
    text = page(uri, [stage, replace(stage, stage="two", stage_id="two")], (), {}, NOW, lambda _: None)
    found = check_whole(text)
    assert "The same trials as" in " ".join(found.text)
    assert found.values("aria-label").count("training time of the trials") == 1


def test_a_page_that_would_be_too_large_leaves_out_figures_and_says_so(results: str) -> None:
    found = check_whole(made_page(results, most_bytes=20_000))
    assert "no figures here" in " ".join(found.text)
    assert found.values("aria-label").count("training loss of all configs, by epoch") == 1


def test_the_papers_table_is_linked_to_its_stages(made: Made) -> None:
    cells = tuple(
        Cell(f"t/{row}/a", row, "a", (79.8, 0.8) if row == "x" else None, "x.yaml", "", (), "one", "") for row in "xy"
    )
    table = PaperTable("t", "Accuracy <b>", {"x": "Row & x", "y": "Row y"}, {"a": "Fashion"}, cells)
    paper = PaperTables("paper", "laptop", "Somebody 2022", (table,), {"t/x/a": "one"}, {})
    uri = made(("one", [{}], lambda params, seed: {"test_accuracy": 0.5 + 0.1 * seed}))
    found = check_whole(made_page(uri, paper))
    words = " ".join(found.text)
    assert "55.0 ± 7.1" in words
    assert "79.8 ± 0.8" in words
    assert "Row & x" in words
    assert "1 of 2 cells have no number" in words
    assert "#one" in found.values("href")
    assert "raysl tune paper.yaml --profile laptop" in words
    assert "of the probe" not in words
    of_probe = replace(table, cells=tuple(replace(cell, value="probe") for cell in cells))
    made(("one", [{}], lambda params, seed: {"test_accuracy": 0.5, "probe_accuracy": 0.25}))
    words = " ".join(check_whole(made_page(uri, replace(paper, tables=(of_probe,)))).text)
    assert "Measured by the probe on labelled training images, and not on test images: t/x/a." in words


def test_the_page_has_the_commands_and_the_yaml_of_its_searches(made: Made) -> None:
    uri = made(("one", [{}], lambda *_: {}), ("two", [{}], lambda *_: {}))
    assert "raysl tune swept.yaml --results" in " ".join(check_whole(made_page(uri)).text)
    store = Store.open(uri, create=False)
    text = "name: swept\ndata: {source: 's3://KEY:SECRET@bucket/x'}  # <b>\n"
    table = {"my tables/t.yaml": "tables: {}\n", "my tables/../my/swept.yaml": text}
    given = Origin("my tables/t.yaml", "laptop", ("seeds=2", "a.b={c: 1}"), table, cells=("t/*/a", "t/*/b"))
    write_origin(store, given, ["one", "two"], 1.0)
    found = check_whole(made_page(uri))
    words = " ".join(found.text)
    options = "--profile laptop --cells 't/*/a' --cells 't/*/b' --set seeds=2 --set 'a.b={c: 1}'"
    assert f"raysl tune 'my tables/t.yaml' {options} --results {uri}" in words
    assert "raysl tune swept.yaml" not in words
    assert ["my tables/t.yaml" in words, "my/swept.yaml" in words, "bucket/x'}  # <b>" in words] == [True] * 3
    assert ".." not in words
    assert "SECRET" not in made_page(uri)
    assert all(b"SECRET" not in path.read_bytes() for path in Path(store.local_path("origins")).iterdir())
    write_origin(store, replace(given, file="later.yaml", cells=()), ["two"], 2.0)
    words = " ".join(check_whole(made_page(uri)).text)
    assert "raysl tune later.yaml --profile laptop --set" in words  # of `two`
    assert "raysl tune 'my tables/t.yaml'" in words  # of `one`
    assert words.count("bucket/x'}  # <b>") == 1


@pytest.mark.parametrize(("seconds", "words"), [(1.25, "1.2 s"), (245, "4 min 5 s"), (7620, "2 h 7 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
