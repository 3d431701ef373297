"""What a search was given is kept once for each command, with the stages that came of it."""

import shlex
from dataclasses import replace

from raysl.results.records.origins import Origin, read_origins, write_origin
from raysl.results.storage.store import Store

GIVEN = Origin("x.yaml", "", (), {"x.yaml": "name: x\n"})


def test_a_stage_has_the_latest_search_that_had_it(store: Store) -> None:
    edited = replace(GIVEN, texts={"x.yaml": "name: x  # edited\n"})
    write_origin(store, edited, ["a", "b"], 2.0)
    write_origin(store, GIVEN, ["a", "c"], 1.0)
    found = read_origins(store)
    assert {stage: one.texts for stage, one in found.items()} == {
        "a": edited.texts, "b": edited.texts, "c": GIVEN.texts,
    }  # fmt: skip


def test_a_search_that_goes_on_adds_stages_and_one_that_is_repeated_writes_nothing(store: Store) -> None:
    write_origin(store, GIVEN, ["a"], 1.0)
    write_origin(store, GIVEN, ["a", "b"], 2.0)
    [one] = {origin.path: origin for origin in read_origins(store).values()}.values()
    assert (one.stages, one.began_at) == (("a", "b"), 1.0)
    before = store.stamps("origins", ".json")
    write_origin(store, GIVEN, ["b"], 3.0)
    assert store.stamps("origins", ".json") == before


def test_the_command_is_that_of_a_shell() -> None:
    given = replace(GIVEN, file="my x.yaml", profile="p", overrides=("a.b={c: 1}", "d=it's"), cells=("t/*/x", "t/y/*"))
    words = shlex.split(given.command("s3://b/my folder"))
    assert words == [
        "raysl", "tune", "my x.yaml", "--profile", "p", "--cells", "t/*/x", "--cells", "t/y/*", "--set", "a.b={c: 1}",
        "--set", "d=it's", "--results", "s3://b/my folder",
    ]  # fmt: skip


def test_secrets_are_not_written(store: Store) -> None:
    text = {"s3://K:SECRET@b/x.yaml": "data: {source: 's3://K:SECRET@b/x'}\n"}
    write_origin(store, replace(GIVEN, overrides=("data.source=s3://K:SECRET@b/y",), texts=text), ["a"], 1.0)
    [name] = store.list("origins", ".json")
    assert b"SECRET" not in store.read(f"origins/{name}")
    assert b"b/x" in store.read(f"origins/{name}")
