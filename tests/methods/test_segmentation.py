import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from raysl.data.augment.geometry import cropped_images, cropped_masks
from raysl.data.augment.views import Draw
from raysl.methods._segmenter import pixel_cross_entropy
from raysl.results.confusion import IGNORED

DEFAULTS = {
    "head": "deeplabv3",
    "width": 256,
    "dropout": 0.5,
    "output_stride": 16,
    "freeze_norm": False,
    "head_lr": 10.0,
    "crop": None,
    "min_scale": 0.5,
    "max_scale": 1.5,
    "p_flip": 0.5,
}
SHAPES_LOSS = ["crop", "min_scale", "max_scale", "p_flip"]
IMPOSSIBLE = [
    {"head": "fcn"},
    {"width": 0},
    {"dropout": 1.0},
    {"output_stride": 12},
    {"head_lr": 0.0},
    {"crop": 4},
    {"min_scale": 0.0},
    {"max_scale": 0.9},
    {"p_flip": 1.5},
]


def test_ignored_pixels_have_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[[[2.0, 5.0, -1.0]], [[0.0, 0.0, 3.0]]]], requires_grad=True)  # [1, 2, 1, 3]
    classes = torch.tensor([[[0, IGNORED, 0]]])
    loss = pixel_cross_entropy(logits, classes)
    by_hand = (np.log(1 + np.exp(-2)) + np.log(1 + np.exp(4))) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[..., 1].abs().max() == 0
    assert logits.grad[..., 0].abs().max() > 0


def test_masks_without_a_class_have_loss_0() -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 2, 2), IGNORED))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("crop", [16, 24, 40])
def test_masks_follow_their_images(crop: int) -> None:
    """Each pixel's value is its class, so that a view shows at once whether its mask has the same geometry."""
    blocks = torch.arange(16).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)  # 32 x 32, 16 classes
    masks = blocks.to(torch.uint8).expand(50, -1, -1).contiguous()
    images = (masks.float() / 255).unsqueeze(1)
    given = {"crop": crop, "scale": (0.5, 1.5), "p_flip": 0.5}
    draws = [Draw(0, 0, 0, "view", np.arange(50), 50) for _ in range(2)]
    views, _ = cropped_images(images, draws[0], **given)
    found = cropped_masks(masks, draws[1], **given)
    assert set(found.unique().tolist()) <= {*range(16), IGNORED}
    shown = found != IGNORED
    assert shown.float().mean() > 0.4
    seen = (views.squeeze(1) * 255).round()
    # Beside the edges of blocks, pixels of the image are blends of two classes; the next block may begin beside a view.
    high, low = (sign * max_pool2d(sign * found.float(), 3, 1, 1) for sign in (1, -1))
    inner = (shown & (high == low))[:, 1:-1, 1:-1]
    assert inner.any()
    assert torch.equal(seen[:, 1:-1, 1:-1][inner], found[:, 1:-1, 1:-1][inner].float())


def test_a_view_at_scale_1_of_the_whole_image_is_the_image() -> None:
    images, masks = torch.rand(4, 3, 16, 16), torch.randint(5, (4, 16, 16), dtype=torch.uint8)
    given = {"crop": 16, "scale": (1.0, 1.0), "p_flip": 0.0}
    draws = [Draw(0, 0, 0, "view", np.arange(4), 4) for _ in range(2)]
    torch.testing.assert_close(cropped_images(images, draws[0], **given)[0], images)
    assert torch.equal(cropped_masks(masks, draws[1], **given), masks)
