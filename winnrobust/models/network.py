"""What every architecture shares: one CNN that is a classifier and a critic at once."""

from typing import NamedTuple

from torch import Tensor, nn


class ClassifierOutput(NamedTuple):
    """What an introspective network gives for N images.

    Attributes:
        logits: (N, num_classes) class scores, before the softmax.
        critic: (N,) the critic f, high for images it takes for real.
    """

    logits: Tensor
    critic: Tensor


class IntrospectiveNetwork(nn.Module):
    """A feature extractor, a linear layer to the logits, and a critic on the logits.

    The critic is one linear unit on the class logits: it depends on the image only through them
    (authors' code). A baseline has the same network and leaves its critic untrained.
    Of one class, that is without classes, the only logit is the critic itself.

    Args:
        features: (N, in_channels, image_size, image_size) in [-1, 1] -> (N, num_features).
        num_features: width of what `features` returns.
        num_classes: number of classes; 1 where images have no labels.
    """

    def __init__(self, features: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Linear(num_features, num_classes)
        self.critic = nn.Linear(num_classes, 1) if num_classes > 1 else nn.Identity()

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits and critic of images (N, C, H, W) in [0, 1]."""
        return self.forward_signed(2 * images - 1)

    def forward_signed(self, images: Tensor) -> ClassifierOutput:
        """The same of images in [-1, 1], the range of the method's own maths."""
        logits = self.classifier(self.features(images))
        return ClassifierOutput(logits, self.critic(logits).squeeze(1))
