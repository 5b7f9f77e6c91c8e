"""The network of the shipped real-time model: a small U-Net in k-sigma units.

Knows: layers, their cost and their receptive field. One float32 image ``(N, 1, Y, X)`` in
``u = electrons + read_noise_e**2`` goes in (variance equals mean), the estimate of the mean of
``u`` comes out; Y and X are multiples of ``STRIDE``.
Must not know: noise synthesis, training, files, cameras, counts.

How an image passes through ``KSigmaUNet``:

1. ``local_mean``: the low-pass of ``u`` (mean of 16 x 16 cells, smoothed over 3 x 3 cells,
   bilinear in between). It is linear, keeps constants, and keeps the sum over the image exactly.
2. ``squash``: a signed square root, so that the noise has about one size at every level. Negative
   ``u``, common where read noise dominates, keeps its information (a clipped root would not).
3. The trunk sees the squashed image less its local level (noise of sd 0.5 at any level, so that
   half precision and integers lose nothing) and the level itself.
4. The trunk answers with two images: a share of the detail (squashed image less level) to let
   through, near 0 in flat and near 1 in bright parts as in a local Wiener filter (Lee, IEEE Trans.
   PAMI 2, 1980), and a correction. ``level + share * detail + correction`` is squared back by the
   exact inverse. A plain residual would have to cancel the noise of flat parts to the last per
   cent; no residual, to rebuild bright detail as exactly: the sigmoid of the share is flat at both
   ends, where exactness is wanted.
5. The low-pass of (input - output) is added back: local means are kept BY CONSTRUCTION.

Cost: the first layer is PixelUnshuffle(2) and a 3 x 3 convolution written as one 6 x 6 convolution
of stride 2 (the same weights, the same multiplications, no shuffling of memory).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
"""Y and X must be multiples of this many pixels; tiles must start at multiples of it."""

CHANNELS = (16, 32, 64, 48)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution, multiples of 16."""

_SHIFT = 0.375
_KNEE = 1.0
_LEVEL_SCALE = 0.1


def squash(u: Tensor) -> Tensor:
    """Return the signed square root of ``u + 3/8``: odd, smooth, strictly increasing.

    ``f(s) = s / (s**2 + 1)**(1/4)`` with ``s = u + 3/8`` tends to Anscombe's square root for
    ``s >> 1`` (Anscombe, Biometrika 35, 1948), where the noise has sd 1/2, and to ``s`` around 0.
    """
    s = u + _SHIFT
    return s / torch.sqrt(torch.sqrt(s * s + _KNEE))


def unsquash(f: Tensor) -> Tensor:
    """Return the exact inverse of ``squash``: the root of ``s**4 = f**4 (s**2 + 1)``."""
    square = f * f
    return f * torch.sqrt(0.5 * (square + torch.sqrt(square * square + 4 * _KNEE))) - _SHIFT


class LocalMean(nn.Module):
    """The low-pass of ``(N, 1, Y, X)``: about 48 x 48 pixels, free of blocks; no parameter.

    Means of 16 x 16 cells, a mean of 3 x 3 cells, bilinear interpolation: the last as a
    convolution to 256 channels and a shuffle, which engines run several times faster than a resize,
    and all of them alike. Repeating the edge cells before each of the two last steps makes the
    whole a doubly stochastic matrix: constants and the sum over the image are kept.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = _interpolation_weights()
        kernel = torch.einsum("iy,jx->ijyx", rows, rows)
        self.register_buffer("kernel", kernel.reshape(STRIDE**2, 1, 3, 3), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """Return the low-pass of ``u``, same shape."""
        cells = functional.pad(functional.avg_pool2d(u, STRIDE), (1, 1, 1, 1), mode="replicate")
        smooth = functional.pad(
            functional.avg_pool2d(cells, 3, stride=1), (1, 1, 1, 1), mode="replicate"
        )
        return functional.pixel_shuffle(functional.conv2d(smooth, self.kernel), STRIDE)


def _interpolation_weights() -> Tensor:
    """Return the weights (16 pixels, 3 cells) of linear interpolation between cell centres."""
    offset = (torch.arange(STRIDE) + 0.5) / STRIDE - 0.5
    before, after = (-offset).clamp(min=0), offset.clamp(min=0)
    return torch.stack([before, 1 - before - after, after], dim=1)


class ResidualBlock(nn.Module):
    """Two dense 3 x 3 convolutions with a skip around them; shape is kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(x + second(relu(first(x))))``."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Trunk(nn.Module):
    """Four-scale U-Net with additive skips on an image ``(N, 1, Y, X)`` and its level.

    Parameters
    ----------
    channels : tuple of int
        Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """

    def __init__(self, channels: tuple[int, int, int, int] = CHANNELS) -> None:
        super().__init__()
        a, b, c, d = channels
        self.channels = channels
        self.enter = nn.Conv2d(1, a, 6, stride=2, padding=2)
        self.enter_level = nn.Conv2d(1, a, 2, stride=2, bias=False)
        self.encode_a = nn.Conv2d(a, a, 3, padding=1)
        self.down_b = nn.Conv2d(a, b, 2, stride=2)
        self.encode_b = ResidualBlock(b)
        self.down_c = nn.Conv2d(b, c, 2, stride=2)
        self.encode_c = ResidualBlock(c)
        self.down_d = nn.Conv2d(c, d, 2, stride=2)
        self.middle = ResidualBlock(d)
        self.up_c = nn.ConvTranspose2d(d, c, 2, stride=2)
        self.decode_c = nn.Conv2d(c, c, 3, padding=1)
        self.up_b = nn.ConvTranspose2d(c, b, 2, stride=2)
        self.decode_b = nn.Conv2d(b, b, 3, padding=1)
        self.up_a = nn.ConvTranspose2d(b, a, 2, stride=2)
        self.decode_a = ResidualBlock(a)
        self.leave = nn.Conv2d(a, 8, 3, padding=1)

    def forward(self, detail: Tensor, level: Tensor) -> Tensor:
        """Return ``(N, 2, Y, X)``: logit of the share, and correction in squashed units."""
        a = functional.relu(
            self.encode_a(functional.relu(self.enter(detail) + self.enter_level(level)))
        )
        b = self.encode_b(functional.relu(self.down_b(a)))
        c = self.encode_c(functional.relu(self.down_c(b)))
        d = self.middle(functional.relu(self.down_d(c)))
        c = functional.relu(self.decode_c(functional.relu(self.up_c(d) + c)))
        b = functional.relu(self.decode_b(functional.relu(self.up_b(c) + b)))
        a = self.decode_a(functional.relu(self.up_a(b) + a))
        return functional.pixel_shuffle(self.leave(a), 2)


class KSigmaUNet(nn.Module):
    """Estimate the mean of an image whose variance equals its mean; see the module's first lines.

    Parameters
    ----------
    channels : tuple of int
        Channels of the trunk at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """

    def __init__(self, channels: tuple[int, int, int, int] = CHANNELS) -> None:
        super().__init__()
        self.local_mean = LocalMean()
        self.trunk = Trunk(channels)
        nn.init.zeros_(self.trunk.leave.weight)
        if self.trunk.leave.bias is not None:
            nn.init.zeros_(self.trunk.leave.bias)

    def forward(self, u: Tensor) -> Tensor:
        """Return the estimate ``(N, 1, Y, X)`` of the mean of ``u``, same units."""
        low = self.local_mean(u)
        level = squash(low)
        detail = squash(u) - level
        logit, correction = self.trunk(detail, _LEVEL_SCALE * level).chunk(2, dim=1)
        estimate = unsquash(level + torch.sigmoid(logit) * detail + correction)
        kept: Tensor = estimate + (low - self.local_mean(estimate))
        return kept


def count_kflop_per_px(network: nn.Module) -> float:
    """Return the convolutions' cost, kFLOP per pixel of the input (one FLOP = half a MAC).

    Counted on a real forward pass of one ``STRIDE``-sized image; element-wise work, pooling and
    interpolation (about 0.06 kFLOP per pixel) are not counted, as is the custom.
    """
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight = layer.weight
        assert isinstance(weight, Tensor)  # noqa: S101  (narrows nn.Module's attribute type)
        transposed = isinstance(layer, nn.ConvTranspose2d)
        positions = inputs[0] if transposed else output
        macs += weight.numel() * positions.shape[-1] * positions.shape[-2]

    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, convolutions)]
    side = 2 * STRIDE
    with torch.no_grad():
        network(torch.ones(1, 1, side, side))
    for hook in hooks:
        hook.remove()
    return 2e-3 * macs / side**2


def receptive_field_px() -> int:
    """Return how far, in pixels, an output pixel can see: the largest distance along one axis.

    Intervals are propagated backwards through the layers for each of the ``STRIDE`` positions a
    pixel can have on the grid. Tiles that overlap by this radius give the whole frame's result.
    """
    origin = 1024 * STRIDE
    reach = 0
    for position in range(origin, origin + STRIDE):
        low, high = _network_interval(position, position)
        reach = max(reach, position - low, high - position)
    return reach


Interval = tuple[int, int]


def _network_interval(low: int, high: int) -> Interval:
    return _estimate_interval(*_union((low, high), _mean_interval(low, high)))


def _estimate_interval(low: int, high: int) -> Interval:
    seen = _union((low, high), _trunk_interval(low, high))
    return _union(seen, _mean_interval(*seen))


def _mean_interval(low: int, high: int) -> Interval:
    half = STRIDE // 2
    first, last = (low - half) // STRIDE - 1, (high - half) // STRIDE + 2
    return first * STRIDE, last * STRIDE + STRIDE - 1


def _trunk_interval(low: int, high: int) -> Interval:
    a = _grown(low // 2, high // 2, 3)  # leave, and the decoder's block
    b = _grown(a[0] // 2, a[1] // 2, 1)
    c = _grown(b[0] // 2, b[1] // 2, 1)
    d = _grown(c[0] // 2, c[1] // 2, 2)
    c = _union(c, (2 * d[0], 2 * d[1] + 1))
    c = _grown(*c, 2)
    b = _union(b, (2 * c[0], 2 * c[1] + 1))
    b = _grown(*b, 2)
    a = _union(a, (2 * b[0], 2 * b[1] + 1))
    a = _grown(*a, 1)
    return 2 * a[0] - 2, 2 * a[1] + 3


def _grown(low: int, high: int, by: int) -> Interval:
    return low - by, high + by


def _union(first: Interval, second: Interval) -> Interval:
    return min(first[0], second[0]), max(first[1], second[1])
