"""Training times of trials."""

from collections.abc import Callable

from raysl.reports.stages import read_stages
from raysl.reports.times import cost


def test_trials_with_the_weights_of_others_cost_nothing_here(made: Callable[..., str]) -> None:
    def outcome(params: dict[str, float], seed: int) -> dict[str, object]:
        return {"seconds": 8.0, "workers": 2} | ({"weights_of": "another"} if seed else {})

    [stage] = read_stages([made(("swept", [{"w": 0.1}, {"w": 0.2}], outcome))])
    found = cost(stage)
    assert (found.num_trials, found.seconds, found.worker_seconds) == (2, 16.0, 32.0)
