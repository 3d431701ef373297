"""What the description of a stage's run says of its selected config."""

from typing import Any

from raysl.tracking.notes import stage_note


def note_of(config: dict[str, Any], **given: Any) -> str:
    selection = {"reason": "lowest", "rule": "train_loss"}
    return stage_note({}, selection, "lr=0.1", {"num_seeds": 2, **config}, "folder", [], **given)


def test_an_interval_of_shares_ends_at_none_and_all_of_them_and_that_of_losses_does_not() -> None:
    spread = {
        f"{name}_{of}": value
        for name in ("probe_accuracy", "final_loss")
        for of, value in (("mean", 0.5), ("std", 0.1))
    }
    note = note_of(spread)
    assert "- **probe accuracy**: 0.5 ± 0.1, 95 % t interval 0 to 1" in note
    assert "- **final loss**: 0.5 ± 0.1, 95 % t interval -0.3985 to 1.398" in note  # 12.706 x 0.1 / sqrt(2)


def test_a_vote_and_the_tie_set_are_named_and_one_seed_has_no_interval() -> None:
    note = note_of({"vote_mean": 1.5, "final_loss_mean": 0.5, "num_seeds": 1}, ties="tie set: lr=0.1 alone")
    assert "- **mean rank**: 1.5\n" in note
    assert "- **final loss**: 0.5\n" in note
    assert "- **tie set**: lr=0.1 alone" in note
