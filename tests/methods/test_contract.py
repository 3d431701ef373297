"""What holds for every method; each file in raysl/methods is found by itself."""

import ast
import inspect
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from gloo import spawn
from pydantic import ValidationError
from steps import FIRST
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import raysl.methods
from raysl.collectives import mean_over_ranks, rank, world_size
from raysl.data.augment import augmentations
from raysl.data.augment.views import Draw, identity
from raysl.methods._method import Losses, Method, Step, View
from raysl.methods.rotation import Rotation
from raysl.models.batch_norm import sync_batch_norm
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.models.settings import ModelSettings
from raysl.results.confusion import IGNORED
from raysl.training.graphed_step import WatchedStep
from raysl.training.optimizers import build_optimizer
from raysl.training.settings import LARS

NAMES = sorted(path.stem for path in Path(raysl.methods.__path__[0]).glob("[!_]*.py"))
NAMES = [name for name in NAMES if raysl.methods.describe(name).trains]
NUM_CLASSES = 3
# Methods with settings that ranks could disagree about.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"moco in groups": ("moco", {"norm_groups": 3, "l2_start": 0.1})}
WITH_SPREAD = {"simsiam", "denoising_autoencoder", "sidae", "byol", "pixpro"}
GLOBAL_SIZES = (8, 7)  # 4 + 4 rows, and 4 + 3
MOST_ROWS = 16  # of a global batch
# Widths that cost seconds at their defaults, where a method has them.
SMALL = {"projector": 32, "predictor": 16, "decoder": 32, "hidden": 32, "queue": 32, "width": 8}
SMALL |= {"dropout": 0.0}  # each rank draws its own
SMALL |= {"memory": 32, "memory_tau": 0.0}  # an untrained network is sure of nothing
EDGES = {"image": 8, "pixel": 16}  # of images, by the method's level


def build(name: str, seed: int = 0, **given: Any) -> Method:
    if name in VARIANTS:
        name, given = VARIANTS[name]
    torch.manual_seed(seed)
    kind = getattr(import_module(f"raysl.methods.{name}"), name.title().replace("_", ""))
    level = raysl.methods.describe(name).level
    features = 16 if level == "image" else None
    encoder = build_encoder(ModelSettings(features=features), channels=1, image_size=EDGES[level])
    parameters = inspect.signature(kind).parameters
    settings: dict[str, Any] = {key: value for key, value in SMALL.items() if key in parameters}
    nested = [key for key, given in parameters.items() if given.annotation is Method]
    settings |= {key: Rotation(encoder, NUM_CLASSES) for key in nested}
    method: Method = kind(encoder, NUM_CLASSES, **settings, **given)
    method.remember(MOST_ROWS)
    return method.to(memory_format=torch.channels_last)


def make_views(method: Method, size: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, View]:
    """Return this rank's rows of a global batch."""
    generator = torch.Generator().manual_seed(seed)
    # Views are made in the given precision too: matrix products round as the number of rows has it.
    edge = EDGES[method.level]
    shape = (size, 1, edge, edge)
    images = {stream: torch.rand(shape, generator=generator).to(dtype) for stream in ("labelled", "unlabelled")}
    labels = torch.arange(size) % NUM_CLASSES
    masks = torch.randint(NUM_CLASSES, (size, edge, edge), generator=generator).to(torch.uint8)
    masks[::2, : edge // 4] = IGNORED
    mine = torch.arange(rank(), size, world_size())
    made = {}
    for name, (stream, make, make_masks) in method.views().items():
        seen, drawn = make(images[stream][mine], Draw(seed, 0, 0, name, mine, size))
        targets = labels[mine] if stream == "labelled" else None
        if targets is not None and make_masks is not None:
            targets = make_masks(masks[mine], Draw(seed, 0, 0, name, mine, size)).long()
        made[name] = View(seen, targets, drawn, mine)
    return made


def train(method: Method, views: dict[str, View], steps: int) -> list[float]:
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    totals = []
    for number in range(steps):
        step = Step(number, steps)
        optimizer.zero_grad()
        losses: Losses = method(views, step)
        losses.total.backward()
        optimizer.step()
        method.after_step(step, detached(losses))
        totals.append(losses.total.item())
    return totals


def detached(losses: Losses) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.outputs.items()}


def one_step(method: Method, views: dict[str, View], step: Step) -> dict[str, Any]:
    """Take a step of plain gradient descent over all ranks, and what follows it; return the losses and gradients."""
    # As the training loop wraps it.
    wrapped = DistributedDataParallel(method, broadcast_buffers=False) if world_size() > 1 else method
    method.zero_grad()
    losses: Losses = wrapped(views, step)
    losses.total.backward()
    torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1).step()
    method.after_step(step, detached(losses))
    gradients = {f"gradient of {key}": p.grad for key, p in method.named_parameters()}
    reported = {key: mean_over_ranks(value.detach()) for key, value in {"total": losses.total, **losses.terms}.items()}
    return {**reported, **gradients, **({} if losses.spread is None else {"spread": losses.spread})}


def from_checkpoint(name: str, method: Method) -> Method:
    """Return another method that goes on from a checkpoint of rank 0, which writes them in a training."""
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    written = [file.getvalue()]
    if world_size() > 1:
        dist.broadcast_object_list(written)
    other = sync_batch_norm(build(name, seed=1)).double()
    other.load_state_dict(torch.load(io.BytesIO(written[0]), weights_only=True))
    return other


def two_steps(name: str, size: int, *, resumed: bool) -> dict[str, Any]:
    """Return what two steps in fp64 leave over all ranks: losses, gradients, state, and what is made of images then.

    resumed: from a checkpoint between the steps.
    """
    method = sync_batch_norm(build(name)).double()
    first = one_step(method, make_views(method, size, 0, torch.float64), Step(0, 2))
    if resumed:
        method = from_checkpoint(name, method)
    views = make_views(method, size, 1, torch.float64)
    second = one_step(method, views, Step(1, 2))
    state = {key: value.clone() for key, value in method.state_dict().items()}
    edge = EDGES[method.level]
    images = torch.rand(5, 1, edge, edge, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        third = mean_over_ranks(method(views, FIRST).total)
        features = method.eval().evaluation().encoder(images)
        predict = method.segment if method.level == "pixel" else method.classify
        classes = {"classes": predict(images)} if "labelled" in method.streams else {}
    return {"first": first, "second": second, "state": state, "third": third, "features": features, **classes}


def on_each_rank() -> dict[str, Any]:
    torch.use_deterministic_algorithms(True)
    return {
        f"{name} {size}": two_steps(name, size, resumed=True) for name in (*NAMES, *VARIANTS) for size in GLOBAL_SIZES
    }


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.slow
@pytest.mark.parametrize("size", GLOBAL_SIZES)
@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_two_ranks_equal_one_process(ranks: list[dict[str, Any]], name: str, size: int) -> None:
    expected = two_steps(name, size, resumed=False)
    for found in ranks:
        torch.testing.assert_close(found[f"{name} {size}"], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_training_goes_on_from_a_checkpoint_as_without_it(name: str) -> None:
    whole, resumed = (two_steps(name, 16, resumed=resumed) for resumed in (False, True))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_what_gets_no_gradient_moves_by_itself(name: str) -> None:
    """A teacher that follows nobody, or a queue that nothing enters, trains a method that is not the paper's."""
    method = build(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, make_views(method), steps=3)
    trained = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    still = {key for key, value in method.state_dict().items() if torch.equal(value, before[key])}
    assert still - trained == set(expected(name, "CONSTANT", []))


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_finite_named_scalars(name: str) -> None:
    method = build(name)
    losses = method(make_views(method), FIRST)
    assert losses.terms
    assert "total" not in losses.terms
    for value in (losses.total, *losses.terms.values()):
        assert value.shape == ()
        assert value.isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_spread_is_a_share_without_gradient_where_there_is_one(name: str) -> None:
    method = build(name)
    spread = method(make_views(method), FIRST).spread
    assert (spread is not None) == (name in WITH_SPREAD)
    if spread is not None:
        assert spread.shape == ()
        assert not spread.requires_grad
        assert 0.5 < spread < 1.01


@pytest.mark.parametrize("name", NAMES)
def test_methods_that_learn_classes_classify_and_no_others(name: str) -> None:
    method = build(name).eval()
    images = torch.rand(5, 1, EDGES[method.level], EDGES[method.level])
    learns = "labelled" in method.streams
    assert (name in raysl.methods.classifiers()) == (learns and method.level == "image")
    assert (name in raysl.methods.segmenters()) == (learns and method.level == "pixel")
    if name in raysl.methods.segmenters():
        assert method.segment(images).shape == (5, NUM_CLASSES, *images.shape[2:])
        return
    if not learns:
        with pytest.raises(TypeError, match="has no segmentation head"):
            method.segment(images)
    if name not in raysl.methods.classifiers():
        with pytest.raises(TypeError, match=f"{type(method).__name__} has no classifier"):
            method.classify(images)
        return
    logits = method.classify(images)
    assert logits.shape == (5, NUM_CLASSES)
    assert torch.equal(method.classify(method.encoder.backbone(images)), logits)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_evaluated_is_part_of_the_method_and_can_be_started_from(name: str) -> None:
    method = build(name)
    encoder, classifier = method.evaluation()
    inside = list(method.modules())
    assert any(encoder is module for module in inside)
    assert classifier is None or any(classifier is module for module in inside)
    shapes, wanted = ({key: value.shape for key, value in e.state_dict().items()} for e in (encoder, method.encoder))
    assert shapes == wanted


@pytest.mark.parametrize("name", NAMES)
def test_diagnostics_are_those_that_the_catalogue_knows(name: str) -> None:
    method = build(name).eval()
    assert raysl.methods.describe(name).diagnostics == method.diagnostics
    for diagnostic in method.diagnostics:
        shown = method.diagnose(diagnostic, (make_views(method, 6, seed) for seed in range(2)))
        assert shown.matrices
        for matrix in shown.matrices:
            assert matrix.values.shape == (len(shown.rows), len(shown.columns))
            assert matrix.values.isfinite().all()
            assert not matrix.values.requires_grad
    with pytest.raises(TypeError, match="has no diagnostic 'none'"):
        Method.diagnose(method, "none", [])


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter_of_the_encoder(name: str) -> None:
    method = build(name)
    method(make_views(method), FIRST).total.backward()
    for key, parameter in method.encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_trainable_parameter(name: str) -> None:
    # DDP waits for the gradient of each; one that gets none must not require any.
    method = build(name)
    method(make_views(method), FIRST).total.backward()
    assert [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_trainable_parameter_has_one_place_in_the_optimizer(name: str) -> None:
    method = build(name)
    settings = LARS(name="lars", lr=0.1)  # which has groups of its own
    groups = build_optimizer(settings, method, method.parameter_groups()).param_groups
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in method.parameters() if parameter.requires_grad)


class Recorded(dict[str, View]):
    """Views that know which of them were read."""

    def __init__(self, views: dict[str, View]) -> None:
        super().__init__(views)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> View:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("name", NAMES)
def test_views_declared_are_those_consumed(name: str) -> None:
    method = build(name)
    views = Recorded(make_views(method))
    method(views, FIRST)
    assert views.read == set(method.views())
    assert {spec.stream for spec in method.views().values()} == set(method.streams)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_changes_with_the_step_reads_its_number(name: str) -> None:
    """So a step that was not read may be replayed as a CUDA graph (`training.graphed_step`)."""
    method = build(name)
    views, losses = make_views(method), []
    steps = [WatchedStep(number, 40) for number in (0, 1, 20, 39)]
    for step in steps:
        torch.manual_seed(0)
        losses.append(method(views, step).total.item())
    assert len(set(losses)) == 1 or all(step.read for step in steps)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_loss(name: str) -> None:
    def curve(seed: int) -> list[float]:
        method = build(name, seed)
        return train(method, make_views(method, seed=seed), steps=3)

    assert curve(1) == curve(1)
    assert curve(1) != curve(2)


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_on_one_batch(name: str) -> None:
    method = build(name)
    totals = train(method, make_views(method), steps=30)[expected(name, "FALLS_FROM", 0) :]
    assert totals[-1] < totals[0] - 0.1 * abs(totals[0])  # some losses are negative


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_fp32_under_bf16_autocast(name: str) -> None:
    method = build(name)
    views = make_views(method)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.encoder(next(iter(views.values())).images).dtype == torch.bfloat16
        losses = method(views, FIRST)
    spread = [] if losses.spread is None else [losses.spread]
    assert {value.dtype for value in (losses.total, *losses.terms.values(), *spread)} == {torch.float32}
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_backbone_is_left_as_it_is(name: str) -> None:
    method = build(name)
    freeze_backbone(method)
    before = {key: value.clone() for key, value in method.encoder.backbone.state_dict().items()}
    head = [parameter.clone() for parameter in method.encoder.head.parameters()]
    method.train()
    train(method, make_views(method), steps=2)
    torch.testing.assert_close(dict(method.encoder.backbone.state_dict()), before, rtol=0, atol=0)
    assert not any(map(torch.equal, method.encoder.head.parameters(), head))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", NAMES)
def test_every_crop_has_the_interpolation_that_is_asked_for(
    name: str, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    plain = augmentations.crop_and_resize
    monkeypatch.setattr(
        augmentations, "crop_and_resize", lambda images, boxes, kind: made.append(kind) or plain(images, boxes, kind)
    )
    facts = raysl.methods.describe(name)
    given = {"interpolation": interpolation} if "interpolation" in facts.hyperparameters else {}
    make_views(build(name, **given))
    # Whatever is cropped is cropped as asked, and no method that crops has no say in it.
    assert set(made) == set(given.values())
    assert len(made) in (0, 2)


@pytest.mark.parametrize("name", raysl.methods.classifiers())
def test_labelled_images_are_seen_as_they_are_unless_views_say_otherwise(name: str) -> None:
    """The 1-pixel attack relies on it; a method without `views`, and a crop, are refused with an attack."""

    def makes(**given: Any) -> list[Any]:
        return [spec.make for spec in build(name, **given).views().values() if spec.stream == "labelled"]

    if raysl.methods.shows_labelled_as_they_are(name):
        assert makes() == [identity]
        assert identity not in makes(views="crop_flip")
    else:
        assert identity not in makes()


def expected(name: str, constant: str, default: Any = None) -> Any:
    """Return a constant of a method's own test file, which says there what is expected of the method."""
    tree = ast.parse((Path(__file__).parent / f"test_{name}.py").read_text())
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    if default is not None and constant not in values:
        return default
    assert constant in values, f"test_{name}.py says nothing of {constant}"
    return ast.literal_eval(values[constant])


@pytest.mark.parametrize("name", raysl.methods.names())
def test_catalogue_knows_the_hyperparameters_and_which_of_them_shape_the_loss(name: str) -> None:
    facts = raysl.methods.describe(name)
    assert {key: default for key, (_, default) in facts.hyperparameters.items()} == expected(name, "DEFAULTS")
    assert list(facts.shapes_loss) == expected(name, "SHAPES_LOSS")
    assert (name in raysl.methods.pretexts()) == (facts.streams == ("unlabelled",) and facts.level == "image")
    nested = {"name": "semi", "pretext": {"name": name, "pretext": {"name": "rotation"}}}
    shaping = {"lambda_l", "lambda_u", "views"} | {f"pretext.{key}" for key in facts.shapes_loss}
    assert raysl.methods.loss_shaping_keys(nested) == shaping


@pytest.mark.parametrize("name", raysl.methods.names())
def test_impossible_hyperparameters_are_refused(name: str) -> None:
    model = raysl.methods.settings_model(name)
    given = {"name": name} | {key: {} for key in raysl.methods.describe(name).nested}
    model(**given)
    for wrong in expected(name, "IMPOSSIBLE"):
        with pytest.raises(ValidationError) as refused:
            model(**given | wrong)
        assert [error["loc"] for error in refused.value.errors()] == [(key,) for key in wrong]


@pytest.mark.parametrize("name", NAMES)
def test_views_pass_each_network_one_after_the_other(name: str) -> None:
    """Batch normalisation then sees one view at a time."""
    method = build(name)
    views = make_views(method)
    method(views, FIRST)
    counts = [int(count) for key, count in method.state_dict().items() if key.endswith("num_batches_tracked")]
    assert set(counts) - {0} == {expected(name, "PASSES", len(views))}  # an average of weights may pass nothing


@pytest.mark.parametrize("name", NAMES)
def test_hyperparameters_are_keywords_that_the_catalogue_can_read(name: str) -> None:
    kind = type(build(name))
    encoder, num_classes, *hyperparameters = inspect.signature(kind).parameters.values()
    assert (encoder.name, num_classes.name) == ("encoder", "num_classes")
    for given in hyperparameters:
        assert given.kind is inspect.Parameter.KEYWORD_ONLY
        assert given.annotation is not inspect.Parameter.empty
        assert given.annotation is Method or given.default is not inspect.Parameter.empty
    assert set(kind.shapes_loss) <= {given.name for given in hyperparameters}
    assert kind.__doc__ is not None  # its first line is what the catalogue says of the method


def test_all_methods_are_found() -> None:
    assert {"supervised", "rotation", "barlow_twins", "semi"} | WITH_SPREAD <= set(NAMES)
