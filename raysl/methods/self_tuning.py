"""Self-Tuning: Wang et al. 2021, "Self-Tuning for data-efficient deep learning", arXiv:2102.12903: L = l_s + PGC_l +
PGC_u.  l_s is the cross-entropy of the labelled images.  PGC is pseudo group contrast (section 4.2): a query is to be
like its own key, the key of another view of its image, and like the keys in the queue of its class, and unlike the keys
in the queues of all other classes.  Its loss is minus the mean, over its positive keys, of the log softmax of
similarities / T over all keys.  The class is the label, or for unlabelled images the argmax of the classifier, which
gets no gradient from it.  Queries are linear projections of the encoder's features, keys those of the key encoder,
which follows by theta_k <- m theta_k + (1 - m) theta_q; all are unit vectors.  Labelled and unlabelled keys share the
queues.

As in the authors' code, thuml/Self-Tuning (models/method.py, src/main.py), the projector is one linear layer, the key
encoder's buffers are its own, and the trained weights themselves are evaluated, by the query encoder.  Unlike there:
- Queues begin empty, and only keys that have entered count.  There, they begin with random vectors, which count as
  positives.  The loss leaves out the entropy of the targets there, log(32 + 1), a constant.
- The keys of a step enter after it, labelled before unlabelled ones, and the key encoder moves once a step.  There, a
  labelled batch's keys enter before the unlabelled batch's losses, and the key encoder moves before each of both.
- Labelled and unlabelled images pass the encoder at once.  There, each passes by itself, unlabelled queries twice.
- Views are weak.  There, they are mirrored and shifted (CIFAR) or cropped, and then augmented by RandAugment, both.
- Biases and norms do not decay, and the projector has the learning rate of new layers, too, which is the classifier's
  alone there.  Linear layers begin as torch's do.

No spread: if all embeddings are equal, the loss is log(number of keys), that of guessing.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import gather, sample_mean
from raysl.data.augment.consistency import weak
from raysl.methods._learner import together, undecayed, wide
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.moco import units
from raysl.methods.supervised import cross_entropy
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder


def group_contrast(
    queries: Tensor, keys: Tensor, classes: Tensor, queues: Tensor, filled: Tensor, temperature: float
) -> Tensor:
    """Return the mean loss of the global batch's queries, in fp32 at least.

    queries, keys: [B, D] of any precision and length, this rank's.  classes: int64 [B].
    queues: unit vectors [K, Q, D], the newest of a class last.  filled: int64 [K], how many of each count, the last.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q, k = units(queries), units(keys)
        num_classes, size, width = queues.shape
        counts = torch.arange(size, device=filled.device) >= size - filled.unsqueeze(1)  # [K, Q]
        owners = torch.arange(num_classes, device=classes.device).repeat_interleave(size)
        positive = (owners == classes.unsqueeze(1)) & counts.flatten()  # [B, K Q]
        past = (q @ queues.to(q.dtype).view(-1, width).T).masked_fill(~counts.flatten(), -torch.inf)
        logs = (torch.cat([(q * k).sum(1, keepdim=True), past], dim=1) / temperature).log_softmax(dim=1)
        sums = logs[:, 0] + logs[:, 1:].masked_fill(~positive, 0).sum(1)
        return sample_mean(-sums / (1 + positive.sum(1)))


def enqueued(queues: Tensor, keys: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the queues [K, Q, D] with keys [N, D] at their ends, in order, and how many came for each class.

    The oldest leave; of more than Q keys of a class the last stay.  classes: int64 [N].
    """
    num_classes, size, width = queues.shape
    member = F.one_hot(classes, num_classes)  # [N, K]
    came = member.sum(0)
    number = (member.cumsum(0) * member).sum(1) - 1  # of a key among those of its class
    places = size - came[classes] + number
    kept = (torch.arange(size, device=came.device) + came.unsqueeze(1)).clamp(max=size - 1)
    # A first place that is dropped takes the keys that do not stay, so that nothing waits for the device.
    longer = F.pad(queues.gather(1, kept.unsqueeze(2).expand(-1, -1, width)), (0, 0, 1, 0))
    longer[classes, places.clamp(min=-1) + 1] = keys
    return longer[:, 1:], came


class SelfTuning(Method):
    """Cross-entropy on labelled images, and contrast of all images with queues of past keys, one for each class.

    temperature: of the softmax over similarities.  momentum: share of the key encoder that is kept at each step.
    queue: number of past keys of each class.  projector: width of the embeddings.
    new_layers_lr: factor of the learning rate of classifier and projector.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("temperature", "momentum", "queue", "projector", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        temperature: Annotated[float, Gt(0)] = 0.07,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        queue: Annotated[int, Ge(1), Le(2**16)] = 32,
        projector: Annotated[int, Ge(2), Le(2**16)] = 1024,
        new_layers_lr: Annotated[float, Gt(0)] = 10.0,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.new_layers_lr, self.p_flip = new_layers_lr, p_flip
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.projector = nn.Linear(encoder.num_features, projector)
        self.key_encoder, self.key_projector = average_of(encoder), average_of(self.projector)
        self.register_buffer("queues", torch.zeros(num_classes, queue, projector))
        self.register_buffer("filled", torch.zeros(num_classes, dtype=torch.int64))

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(weak, p_flip=self.p_flip)
        return {
            "labelled_first": ViewSpec("labelled", make),
            "labelled_second": ViewSpec("labelled", make),
            "first": ViewSpec("unlabelled", make),
            "second": ViewSpec("unlabelled", make),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labels = views["labelled_first"].labels
        assert labels is not None
        features = together(self.encoder, views["labelled_first"].images, views["first"].images)
        labelled, unlabelled = (wide(self.classifier(group)) for group in features)
        classes = (labels, unlabelled.detach().argmax(dim=1))
        with torch.no_grad():
            seconds = together(self.key_encoder, views["labelled_second"].images, views["second"].images)
            keys = [units(self.key_projector(group)) for group in seconds]
        # Copies: the queues change before the gradient of another forward may have been taken.
        state = self.get_buffer("queues").clone(), self.get_buffer("filled").clone()
        true, pseudo = (
            group_contrast(self.projector(group), own, kinds, *state, self.temperature)
            for group, own, kinds in zip(features, keys, classes, strict=True)
        )
        supervised = cross_entropy(labelled, labels)
        terms = {"supervised": supervised, "contrast": true, "pseudo_contrast": pseudo}
        outputs = {"labelled_keys": keys[0], "labelled_classes": labels, "keys": keys[1], "classes": classes[1]}
        return Losses(supervised + true + pseudo, terms, outputs=outputs)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        keys, queries = (self.key_encoder, self.key_projector), (self.encoder, self.projector)
        update_average(keys, queries, 1 - self.momentum, buffers="own")
        queues, filled = self.get_buffer("queues"), self.get_buffer("filled")
        entering = torch.cat([gather(outputs["labelled_keys"]), gather(outputs["keys"])]).to(queues.dtype)
        classes = torch.cat([gather(outputs["labelled_classes"]), gather(outputs["classes"])])
        found, came = enqueued(queues, entering, classes)
        queues.copy_(found)
        filled.copy_((filled + came).clamp(max=queues.shape[1]))

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        new = [parameter for layer in (self.classifier, self.projector) for parameter in layer.parameters()]
        return {
            **undecayed(self.encoder),
            "new_layers": ParameterGroup([p for p in new if p.ndim > 1], self.new_layers_lr),
            "new_biases": ParameterGroup([p for p in new if p.ndim <= 1], self.new_layers_lr, weight_decay=0.0),
        }

    def evaluation(self) -> Evaluation:
        return Evaluation(self.encoder, self.classifier)
