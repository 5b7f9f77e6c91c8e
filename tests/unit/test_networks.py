"""The network's promises that hold whatever its weights: units, means, cost, receptive field."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from livedenoise.train import networks  # noqa: E402
from livedenoise.train.networks import (  # noqa: E402
    CHANNELS,
    STRIDE,
    KSigmaUNet,
    LocalMean,
    count_kflop_per_px,
    receptive_field_px,
    squash,
    unsquash,
)


def _random_network(seed: int = 0, scale: float = 0.2) -> KSigmaUNet:
    torch.manual_seed(seed)
    network = KSigmaUNet()
    torch.nn.init.normal_(network.trunk.leave.weight, std=scale)
    return network.eval()


@given(st.lists(st.floats(-1e3, 6e4, width=32), min_size=1, max_size=50))
def test_unsquash_is_the_exact_inverse_of_squash(values: list[float]) -> None:
    u = torch.tensor(values, dtype=torch.float64)
    assert torch.allclose(unsquash(squash(u)), u, rtol=1e-9, atol=1e-9)


def test_squash_increases_also_below_zero_so_negative_values_keep_their_information() -> None:
    u = torch.linspace(-50, 50, 4001, dtype=torch.float64)
    assert bool((squash(u).diff() > 0).all())


def test_squash_gives_noise_of_one_half_at_every_bright_level() -> None:
    generator = torch.Generator().manual_seed(3)
    for level in (30.0, 300.0, 3000.0):
        noisy = torch.poisson(torch.full((200_000,), level), generator)
        assert squash(noisy).std().item() == pytest.approx(0.5, rel=0.02)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))
def test_the_low_pass_keeps_constants_and_the_sum_at_every_size(
    rows: int, columns: int, seed: int
) -> None:
    low_pass = LocalMean().double()
    shape = (1, 1, rows * STRIDE, columns * STRIDE)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    flat = torch.full(shape, 7.0, dtype=torch.float64)
    assert low_pass(image).sum().item() == pytest.approx(image.sum().item(), rel=1e-6)
    assert torch.allclose(low_pass(flat), flat, rtol=1e-6)


def test_the_low_pass_has_no_blocks() -> None:
    image = torch.zeros(1, 1, 160, 160)
    image[..., 70:80, 75:85] = 100.0
    low = LocalMean()(image)
    steps = low.diff(dim=-1).abs().max().item()
    assert steps < 1.5 * low.max().item() / STRIDE


@pytest.mark.parametrize("electrons", [0.3, 2.0, 10.0, 100.0, 1000.0, 30000.0])
def test_mean_out_equals_mean_in_with_any_weights(electrons: float) -> None:
    network = _random_network()
    mean = torch.full((1, 1, 64, 96), electrons) * torch.linspace(0.2, 1.8, 96)
    noisy = torch.poisson(mean, torch.Generator().manual_seed(1))
    with torch.no_grad():
        result = network(noisy)
    assert not torch.allclose(result, noisy, rtol=1e-2)
    assert result.double().mean().item() == pytest.approx(noisy.double().mean().item(), rel=1e-4)


def test_a_share_of_one_lets_the_image_through_unchanged() -> None:
    noisy = torch.poisson(torch.full((1, 1, 32, 48), 9.0), torch.Generator().manual_seed(0))
    network = KSigmaUNet().eval()
    with torch.no_grad():
        network.trunk.leave.bias[:4] = 60.0
        assert torch.allclose(network(noisy), noisy, atol=1e-4)


def test_a_share_of_zero_gives_the_local_mean() -> None:
    noisy = torch.poisson(torch.full((1, 1, 64, 64), 50.0), torch.Generator().manual_seed(0))
    network = KSigmaUNet().eval()
    with torch.no_grad():
        network.trunk.leave.bias[:4] = -60.0
        assert network(noisy).std() < noisy.std() / 20


def test_cost_equals_the_sum_done_by_hand() -> None:
    a, b, c, d = CHANNELS
    half = 36 * a + 4 * a + 9 * a * a * 3 + 9 * a * 8  # enter, level, three convolutions, leave
    quarter = 4 * a * b + 3 * 9 * b * b + b * a * 4
    eighth = 4 * b * c + 3 * 9 * c * c + c * b * 4
    sixteenth = 4 * c * d + 2 * 9 * d * d + d * c * 4
    macs = half / 4 + quarter / 16 + eighth / 64 + sixteenth / 256
    assert count_kflop_per_px(KSigmaUNet()) == pytest.approx(2e-3 * macs, rel=1e-12)
    assert 10 < count_kflop_per_px(KSigmaUNet()) < 15


def test_channels_are_multiples_of_sixteen() -> None:
    assert all(channels % 16 == 0 for channels in CHANNELS)


def _open_network() -> KSigmaUNet:
    """Return a network whose every path is open: all weights positive, so no ReLU is shut."""
    network = KSigmaUNet().double().eval()
    with torch.no_grad():
        for parameter in network.trunk.parameters():
            parameter.fill_(1e-3)
        for name, parameter in network.trunk.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(1.0)
    return network


def test_the_receptive_field_is_what_a_gradient_sees() -> None:
    """One row of pixels: the radius is one axis's, so a tall image would only cost time."""
    radius = receptive_field_px()
    side = STRIDE * (2 * radius // STRIDE + 6)
    network, seen = _open_network(), 0
    for position in (side // 2 // STRIDE * STRIDE + offset for offset in (0, 7, 8, 15)):
        u = torch.full((1, 1, 3 * STRIDE, side), 5.0, dtype=torch.float64, requires_grad=True)
        network(u)[0, 0, 20, position].backward()
        assert u.grad is not None
        columns = torch.nonzero(u.grad[0, 0].abs().sum(0)).flatten()
        seen = max(seen, position - int(columns.min()), int(columns.max()) - position)
    assert seen == radius


def test_pixels_further_than_the_receptive_field_change_nothing() -> None:
    radius, network = receptive_field_px(), _random_network(4)
    side = STRIDE * (radius // STRIDE + 3)
    noisy = torch.poisson(
        torch.full((1, 1, 2 * STRIDE, side), 20.0), torch.Generator().manual_seed(0)
    )
    changed = noisy.clone()
    changed[..., 0] += 100.0
    with torch.no_grad():
        difference = (network(changed) - network(noisy)).abs().amax(dim=(0, 1, 2))
    assert difference[:STRIDE].max() > 0.1
    assert difference[radius + 1 :].max() == 0


def test_the_stride_is_that_of_the_manifest() -> None:
    assert networks.STRIDE == 16
