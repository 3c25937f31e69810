"""The network of A*HAR: a plain stack of convolutions over windows seen as one-channel images of sensors by time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

SLOPE = 0.1  # of the leaky ReLU


class ActivityCNN(nn.Module):
    """Windows (N, 1, 9, 64) -> logits (N, classes); `width` 128 is the paper's.

    Two 3x3 convolutions of `width`, 2 `width` and 2 `width` channels, a max pool over two samples and dropout behind each
    pair; then a 3x3 convolution without padding and two 1x1 ones of 4, 2 and 1 `width`, the mean over what is left (7x6),
    and one linear layer. The paper's weight normalisation with mean-only batch normalisation is plain batch
    normalisation here, which folds into the convolutions.
    """

    def __init__(self, classes: int, width: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 1
        for wide in (width, 2 * width, 2 * width):
            parts += [*_unit(channels, wide, 3, 1), *_unit(wide, wide, 3, 1), nn.MaxPool2d((1, 2)), nn.Dropout(dropout)]
            channels = wide
        for wide, kernel in ((4 * width, 3), (2 * width, 1), (width, 1)):
            parts += _unit(channels, wide, kernel, 0)
            channels = wide
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)

    def forward(self, windows: Tensor) -> Tensor:
        return self.fc(self.flatten(self.avgpool(self.features(windows))))


def _unit(channels: int, wide: int, kernel: int, padding: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, wide, kernel, padding=padding, bias=False)
    yield nn.BatchNorm2d(wide)
    yield nn.LeakyReLU(SLOPE)
