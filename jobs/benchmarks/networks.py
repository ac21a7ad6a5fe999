"""Networks that only benchmarks train."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import VisionTransformer


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return ``images`` with what the block adds; shape [N, width, H, W]."""
        return images + self.inner(images)


def residual(num_classes: int = 10, *, width: int = 40, blocks: int = 2) -> nn.Module:
    """Build a pre-activation residual network for 8x8 digits; halved once, then residual blocks.

    Args:
        num_classes: Outputs.
        width: Channels of all convolutions.
        blocks: Of two convolutions each.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),
        *(_Residual(width) for _ in range(blocks)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


def transformer(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build a small vision transformer of torchvision for gray 8x8 digits; its head starts at 0.

    Args:
        num_classes: Outputs.
        width: Of the tokens; the hidden layers have twice that.
    """
    model = VisionTransformer(
        image_size=8,
        patch_size=2,
        num_layers=3,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=num_classes,
    )
    model.conv_proj = nn.Conv2d(1, width, 2, 2)
    return model
