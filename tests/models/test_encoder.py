"""The encoder's features, its seeding, and a backbone that stays frozen."""

import pytest
import torch
from torch import nn

from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.models.settings import ModelSettings


def test_head_gives_nonnegative_features_of_the_stated_width() -> None:
    encoder = build_encoder(ModelSettings(features=10), channels=1, image_size=8)
    features = encoder(torch.randn(64, 1, 8, 8))
    assert features.shape == (64, encoder.num_features) == (64, 10)
    assert features.min() == 0
    assert features.max() > 0


def test_without_a_head_features_are_the_pooled_ones() -> None:
    encoder = build_encoder(ModelSettings(features=None), channels=3, image_size=8).eval()
    images = torch.randn(4, 3, 8, 8)
    assert encoder.num_features == 64
    assert torch.equal(encoder(images), encoder.backbone(images))
    assert not list(encoder.head.parameters())


def test_features_without_a_head_are_as_wide_as_the_backbone() -> None:
    settings = ModelSettings(backbone="resnet18", features=None)
    assert build_encoder(settings, channels=3, image_size=32).num_features == 512


@pytest.mark.parametrize(
    "settings", [ModelSettings(features=10), ModelSettings(hidden=40), ModelSettings(features=None)]
)
def test_pooled_features_pass_the_head_alone(settings: ModelSettings) -> None:
    encoder = build_encoder(settings, channels=1, image_size=8)
    freeze_backbone(encoder)
    encoder.train()
    images = torch.randn(6, 1, 8, 8)
    pooled = encoder.backbone(images)
    assert pooled.shape == (6, 64)
    assert torch.equal(encoder(pooled), encoder(images))


def test_encoder_knows_the_images_it_is_made_for() -> None:
    encoder = build_encoder(ModelSettings(), channels=3, image_size=20)
    assert (encoder.channels, encoder.image_size) == (3, 20)


def test_a_hidden_layer_stands_between_pooling_and_features() -> None:
    encoder = build_encoder(ModelSettings(hidden=40, features=10), channels=1, image_size=8).eval()
    images = torch.randn(64, 1, 8, 8)
    first, second = (part for part in encoder.head.modules() if isinstance(part, nn.Linear))
    assert [first.in_features, first.out_features, second.in_features, second.out_features] == [64, 40, 40, 10]
    expected = torch.relu(second(torch.relu(first(encoder.backbone(images)))))
    torch.testing.assert_close(encoder(images), expected)
    assert encoder.num_features == 10


def test_without_a_hidden_layer_the_head_keeps_its_place_in_old_models() -> None:
    encoder = build_encoder(ModelSettings(), channels=1, image_size=8)
    assert [name for name in encoder.state_dict() if "head" in name] == ["head.0.weight", "head.0.bias"]


def test_weights_follow_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_encoder(ModelSettings(), channels=1, image_size=8).parameters())

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_frozen_backbone_is_unchanged_by_training() -> None:
    encoder = build_encoder(ModelSettings(), channels=1, image_size=8)
    freeze_backbone(encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    whole = nn.Sequential(encoder, nn.Linear(encoder.num_features, 3))
    # Weight decay and momentum would move even parameters without a gradient of their own.
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        whole.train()
        whole(torch.randn(16, 1, 8, 8)).square().mean().backward()
        optimizer.step()
    after = encoder.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"head.0.weight", "head.0.bias"}


def test_frozen_backbone_stays_in_eval_mode_while_the_head_trains() -> None:
    encoder = build_encoder(ModelSettings(), channels=1, image_size=8)
    freeze_backbone(encoder)
    encoder.train()
    assert encoder.head.training
    assert not any(part.training for part in encoder.backbone.modules())
    assert not encoder.eval().head.training
