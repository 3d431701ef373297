"""Proposals: one file each, of which the greatest token counts; and folders of earlier versions."""

import pytest
from pydantic import TypeAdapter

from raysl.results.records.json_records import write_record
from raysl.results.records.proposals import Proposal, Told, read_proposals, write_proposal
from raysl.results.storage.store import Store


def proposal(value: float) -> Proposal:
    return Proposal({"lr": value}, (Told(0, "finished", (0.25,)),))


def values(store: Store) -> list[object]:
    return [one.params["lr"] for one in read_proposals(store, "stage")]


def write_as_earlier_versions(store: Store, *numbers: float) -> None:
    write_record(store, "proposals/stage.json", TypeAdapter(list[Proposal]), list(map(proposal, numbers)))


def test_they_are_read_in_the_order_of_their_numbers(store: Store) -> None:
    for number in reversed(range(12)):
        write_proposal(store, "stage", number, 1, proposal(number))
    assert read_proposals(store, "stage") == [proposal(number) for number in range(12)]
    assert read_proposals(store, "another") == []


def test_of_one_number_the_greatest_token_counts(store: Store) -> None:
    for token in (9, 10, 2):
        write_proposal(store, "stage", 0, token, proposal(token))
    assert values(store) == [10]


def test_a_missing_one_ends_them(store: Store) -> None:
    for number in (0, 2):
        write_proposal(store, "stage", number, 1, proposal(number))
    assert values(store) == [0]


def test_a_damaged_one_ends_them_and_a_new_one_takes_its_place(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write_proposal(store, "stage", number, 1, proposal(number))
    store.write("proposals/stage/1.1.json", b"{")
    assert values(store) == [0]
    assert "proposals/stage/1.1.json is damaged" in caplog.text
    write_proposal(store, "stage", 1, 2, proposal(5))
    assert values(store) == [0, 5, 2]


def test_other_files_are_passed_over(store: Store) -> None:
    write_proposal(store, "stage", 0, 1, proposal(0))
    for name in ("1.json", "a.1.json", "1.1.json.bak", "-1.1.json", "1.1.1.json"):
        store.write(f"proposals/stage/{name}", b"{}")
    assert values(store) == [0]


def test_the_one_file_of_earlier_versions_is_read_and_gone_on_from(store: Store) -> None:
    write_as_earlier_versions(store, 0, 1)
    assert values(store) == [0, 1]
    write_proposal(store, "stage", 2, 1, proposal(2))
    assert values(store) == [0, 1, 2]
    assert store.list("proposals", "") == ["stage.json"]
