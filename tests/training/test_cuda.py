"""A trial on a GPU trains as it does on a CPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scenes import experiment as scenes

from raysl import methods
from raysl.config import load
from raysl.data.storage.scan import inspect, resolve
from raysl.results.records.rows import Epoch
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.settings import SGD
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

pytestmark = pytest.mark.gpu

TRAINED = [name for name in methods.names() if methods.describe(name).trains]
STEPS = 20
ROUNDING = 1e-3  # of a loss after so many steps in fp32
DECIDED_BY_PYTHON = {"clmb", "mean_teacher"}  # a ramp, and the number of pixels of each class
# Their losses standardise over a batch: on a CPU, weights that differ by 1e-6 give losses that differ by 3 % (TriMix)
# after 20 steps at 1e-3.
CHAOTIC = {"barlow_twins", "trimix", "vicreg"}
DEVICES = ("cpu", "cuda:0")
SMALL = {"projector": 32, "predictor": 16, "decoder": 32, "hidden": 32, "queue": 32, "width": 8, "memory": 32}
SMALL |= {"dropout": 0.0}  # each device draws its own


@pytest.fixture
def spec_of(make_spec: Callable[..., TrialSpec], tmp_path: Path) -> Callable[..., TrialSpec]:
    """Return what gives a trial of any method, of 20 steps on small images."""

    def made(name: str, precision: str = "fp32") -> TrialSpec:
        description = methods.describe(name)
        given = {key: value for key, value in SMALL.items() if key in description.hyperparameters}
        nested = {key: {"name": "rotation"} for key in description.nested}
        method = methods.settings_model(name)(name=name, **given, **nested).model_dump()
        # Adam makes much of the rounding of small gradients.
        sgd = SGD(name="sgd", lr=1e-5 if name in CHAOTIC else 1e-3)
        changes = {"method": method, "precision": precision, "optimizer": sgd, "epochs": 2, "steps_per_epoch": STEPS}
        if description.level == "image":
            return make_spec(**changes)
        file = tmp_path / "scenes.yaml"
        file.write_text(scenes(tmp_path))
        read = load(file)
        datas = {stage.name: resolve(read.data, inspect(read.data)) for stage in read.stages}
        return expand(read, read.stages[0], datas, {})[0].spec.model_copy(update=changes)

    return made


def trained(spec: TrialSpec, store: Store, device: str) -> Epoch:
    loop = Loop(spec, store, Execution(device))
    return loop.train_epoch(loop.wrapped())


@pytest.mark.parametrize("name", TRAINED)
def test_losses_of_a_method_are_those_of_a_cpu(spec_of: Callable[..., TrialSpec], store: Store, name: str) -> None:
    cpu, gpu = (trained(spec_of(name), store, device) for device in DEVICES)
    assert gpu.loss == pytest.approx(cpu.loss, rel=ROUNDING, abs=ROUNDING)
    assert gpu.terms == pytest.approx(cpu.terms, rel=10 * ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", TRAINED)
def test_graphs_change_no_loss(spec_of: Callable[..., TrialSpec], store: Store, name: str, precision: str) -> None:
    loops = [Loop(spec_of(name, precision), store, Execution("cuda:0", cuda_graphs=graphs)) for graphs in (False, True)]
    launched, replayed = ([loop.train_epoch(loop.wrapped()) for _ in range(2)] for loop in loops)
    assert loops[0].graphed is None
    assert loops[1].graphed is not None
    assert (loops[1].graphed.num_graphs > 0) == (name not in DECIDED_BY_PYTHON)
    for one, other in zip(launched, replayed, strict=True):
        rounding = ROUNDING if precision == "fp32" else 0.02
        assert other.loss == pytest.approx(one.loss, rel=rounding, abs=rounding)
    counted = ([value for key, value in loop.method.state_dict().items() if "batches" in key] for loop in loops)
    assert [*next(counted)] == [*next(counted)]


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_trains_in_bf16(spec_of: Callable[..., TrialSpec], store: Store, name: str) -> None:
    fp32, bf16 = (trained(spec_of(name, precision), store, DEVICES[1]) for precision in ("fp32", "bf16"))
    assert bf16.loss == pytest.approx(fp32.loss, rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", TRAINED)
def test_views_are_those_of_a_cpu(spec_of: Callable[..., TrialSpec], store: Store, name: str) -> None:
    made = []
    for device in DEVICES:
        spec = spec_of(name)
        method = build_method(spec, 1, store).to(device)
        feed = Feed(spec, method.views(), torch.device(device))
        batch = next(iter(feed.batches(0, 0, 1)))
        made.append(feed.make_views(batch, 0))
    for key, view in made[0].items():
        difference = (view.images - made[1][key].images.cpu()).abs()
        # A colour at an edge of its range, or a pixel at an edge of a mask, may fall to its other side by rounding.
        assert float((difference > ROUNDING).float().mean()) < ROUNDING, key


@pytest.mark.parametrize("then", DEVICES)
def test_a_checkpoint_of_a_gpu_goes_on_anywhere(make_spec: Callable[..., TrialSpec], tmp_path: Path, then: str) -> None:
    spec = make_spec()
    whole, killed = (Store.open(str(tmp_path / folder), create=True) for folder in ("whole", "killed"))
    undisturbed = run_trial(spec, whole, Execution("cuda:0", checkpoint_seconds=0.0), lambda epoch: None)

    def report(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, killed, Execution("cuda:0", checkpoint_seconds=0.0), report)
    seen: list[int] = []
    resumed = run_trial(spec, killed, Execution(then), lambda epoch: seen.append(epoch.epoch))
    assert seen == [2, 3]
    assert undisturbed is not None
    assert resumed is not None
    assert resumed.final_loss == pytest.approx(undisturbed.final_loss, rel=ROUNDING)
