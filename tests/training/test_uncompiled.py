"""A trial's process imports no compiler, and its steps are those of torch's own optimizers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from raysl.training.spec import TrialSpec
from raysl.training.uncompiled import set_deterministic, uncompiled

HEAVY = ("torch._dynamo", "torch._inductor", "sympy", "torchvision", "timm", "ray", "mlflow", "optuna")
OPTIMIZERS = (
    "{name: sgd, lr: 0.1, momentum: 0.9}",
    "{name: adam, lr: 0.1}",
    "{name: adamw, lr: 0.1}",
    "{name: lars, lr: 0.1}",
)
TRAINS = """
import sys
from raysl.results.storage.store import Store
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

store = Store.open(sys.argv[1], create=True)
for text in sys.argv[2:]:
    spec = TrialSpec.model_validate_json(text)
    run_trial(spec, store, Execution(checkpoint_seconds=0.0), lambda epoch: None, None)
print(*sys.modules)
"""


@pytest.mark.slow
def test_a_trial_imports_no_compiler(make_spec: Callable[..., TrialSpec], tmp_path: Path) -> None:
    specs = [make_spec(f"stages.semi.optimizer={optimizer}", "stages.semi.epochs=2") for optimizer in OPTIMIZERS]
    command = [sys.executable, "-c", TRAINS, str(tmp_path / "results"), *(spec.model_dump_json() for spec in specs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


KINDS: dict[type[torch.optim.Optimizer], dict[str, float]] = {
    torch.optim.SGD: {"momentum": 0.9, "weight_decay": 0.1},
    torch.optim.Adam: {"weight_decay": 0.1},
    torch.optim.AdamW: {},
}


@pytest.mark.parametrize(("kind", "options"), KINDS.items())
def test_steps_and_state_are_those_of_torch(kind: type[torch.optim.Optimizer], options: dict[str, float]) -> None:
    def trained(kind: type[torch.optim.Optimizer]) -> tuple[torch.Tensor, object]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = kind(layer.parameters(), lr=0.1, **options)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.rand(4, 3)).square().sum().backward()
            optimizer.step()
        again = kind(layer.parameters(), lr=1.0)
        again.load_state_dict(optimizer.state_dict())
        return layer.weight.detach(), again.state_dict()

    (weight, state), (expected, expected_state) = trained(uncompiled(kind)), trained(kind)
    torch.testing.assert_close((weight, state), (expected, expected_state), rtol=0, atol=0)


def test_no_gradient_is_recorded_of_a_step() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = uncompiled(torch.optim.SGD)([weight], lr=0.5)
    weight.grad = torch.ones(2)
    optimizer.step()
    assert torch.is_grad_enabled()
    assert weight.is_leaf
    assert weight.tolist() == [0.5, 0.5]


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("on", "warn_only"), [(False, False), (True, False), (True, True)])
def test_determinism_is_torch_s(on: bool, warn_only: bool) -> None:
    torch.use_deterministic_algorithms(not on)
    set_deterministic(on, warn_only=warn_only)
    assert torch.are_deterministic_algorithms_enabled() is on
    assert torch.is_deterministic_algorithms_warn_only_enabled() is warn_only
