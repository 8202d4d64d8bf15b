"""Every kind of layer, in every convention, is a scan that computes what the layer computes; others are refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from ssmc.errors import ModelError  # noqa: E402 - after the torch skip
from ssmc.export.swapping import swap_layers  # noqa: E402
from tests.export import foreign  # noqa: E402
from tests.export.layers import S4D  # noqa: E402

H, N, T = 6, 3, 48


def s4(systems: int = H, channels: int = 1, disc: str = "zoh", real: str = "exp", transposed: bool = True):
    kernel = foreign.S4Kernel(H, N, systems, channels, disc, real)
    return foreign.FFTConv(kernel, H, channels, transposed)


def low_rank(length: int, transposed: bool = True):
    return foreign.FFTConv(foreign.LowRankKernel(H, N, length), H, transposed=transposed)


#: name -> layer, adapter, states, words of the convention
LAYERS = {
    "S4D": (lambda: S4D(H, N), "s4d", 2 * N * H, "zoh, exp real part"),
    "S4D, time in the middle": (lambda: S4D(H, N, transposed=False), "s4d", 2 * N * H, "zoh"),
    "S4 diagonal": (s4, "s4", 2 * N * H, "zoh, exp real part"),
    "S4 bilinear": (lambda: s4(disc="bilinear"), "s4", 2 * N * H, "bilinear, exp real part"),
    "S4 raw real part": (lambda: s4(real="none"), "s4", 2 * N * H, "zoh, none real part"),
    "S4 of two systems": (lambda: s4(systems=2), "s4", 2 * N * H, "zoh"),
    "S4 of two channels": (lambda: s4(channels=2), "s4", 2 * N * H, "zoh"),
    "S4, time in the middle": (lambda: s4(transposed=False), "s4", 2 * N * H, "zoh"),
    "S4 DPLR": (lambda: low_rank(0), "s4", 2 * N * H, "dplr, bilinear, C as it is"),
    "S4 DPLR, C for a length": (lambda: low_rank(T), "s4", 2 * N * H, f"dplr, bilinear, C for length {T}"),
    "S4Torch": (lambda: foreign.S4Layer(H, N, 65), "s4torch", 2 * N * H, "C for length 65"),
    "S5": (lambda: foreign.S5(H, 8), "s5", 16, "zoh, whole spectrum"),
    "S5 bilinear": (lambda: foreign.S5(H, 8, disc="bilinear"), "s5", 16, "bilinear, whole spectrum"),
    "S5 of conjugates": (lambda: foreign.S5(H, 8, conj_sym=True), "s5", 16, "zoh, one of each conjugate pair"),
    "S5 alone": (lambda: foreign.S5SSM(H, 8), "s5", 16, "zoh, whole spectrum"),
    "LRU": (lambda: foreign.LRU(H, 5), "lru", 10, "exp(gamma_log), output after"),
    "LRU, gamma as it is": (lambda: foreign.LRU(H, 5, exp_gamma=False), "lru", 10, "gamma_log as gamma, output after"),
    "LRU, output before": (lambda: foreign.LRU(H, 5, before=True), "lru", 10, "exp(gamma_log), output before"),
    "LRU, complex matrices": (lambda: foreign.LRU(H, 5, whole=True), "lru", 10, "exp(gamma_log), output after"),
    "LMU": (lambda: foreign.LMUFFT(H, 4), "lmu", 4, "output after"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_scan_of_a_layer_computes_what_the_layer_computes(name) -> None:
    make, adapter, states, convention = LAYERS[name]
    torch.manual_seed(0)
    layer = make().eval()
    channels_first = getattr(layer, "transposed", False)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x.mT if channels_first else x)

    x = torch.randn(2, T, H)
    with torch.no_grad():
        wanted = layer(x.mT if channels_first else x)
        model, (swap,) = swap_layers(Network(), (torch.zeros(1, T, H),))
        found = model(x)
    assert (swap.layer, swap.kind, swap.adapter, swap.states) == ("layer", type(layer).__name__, adapter, states)
    assert convention in swap.convention
    assert swap.error <= 1e-4
    for one, other in zip(*(y if isinstance(y, tuple) else (y,) for y in (wanted, found)), strict=True):
        assert one is other is None or torch.allclose(one, other, atol=1e-4 * float(one.abs().max()))


def test_a_memory_alone_is_a_scan_that_gives_its_state() -> None:
    memory = foreign.Memory(4)
    u = torch.randn(2, T, 1)
    model, (swap,) = swap_layers(torch.nn.Sequential(memory), (u,))
    assert (swap.adapter, swap.states) == ("lmu", 4)
    assert torch.allclose(model(u), memory(u), atol=1e-5)


def bidirectional():
    layer = s4(channels=2)
    layer.D = torch.nn.Parameter(torch.randn(1, H))
    return layer


def liquid():
    layer = foreign.S5(H, 8)
    layer.seq.liquid = True
    return layer


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (bidirectional, "FFTConv is bidirectional.*train the model with bidirectional=False"),
        (lambda: foreign.S5(H, 8, bidir=True), "S5 is a bidirectional S5.*train the model with bidir=False"),
        (liquid, "S5 is a liquid S5: its state matrix depends on the input"),
        (foreign.LMU, "LMU is a recurrent LMU.*through tanh"),
        (foreign.MambaBlock, "MambaBlock is a Mamba layer: its state matrix depends on the input"),
    ],
)
def test_a_layer_that_is_no_scan_is_refused_at_once(make, why) -> None:
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([torch.nn.Identity(), make()])})
    with pytest.raises(ModelError, match=f"SSMC-X05.: blocks.1: {why}"):
        swap_layers(model, ())


def test_a_layer_that_saw_a_longer_sequence_is_read_as_it_was() -> None:
    """Its forward changes C and the length that C is stored for, as the original does."""

    class Growing(foreign.LowRankKernel):
        def forward(self, length):
            if 0 < self.l_kernel < length:  # C (I - A^L) (I + A^L) = C (I - A^2L)
                a, _, c = self.matrices()
                longer = c + c @ torch.linalg.matrix_power(a, int(self.l_kernel))
                self.C.data = torch.view_as_real(longer[None, :, 0, :N].to(torch.complex64))
                self.l_kernel = 2 * self.l_kernel
            return super().forward(length)

    torch.manual_seed(0)
    kernel = Growing(H, N, T // 2)
    model = torch.nn.Sequential(foreign.FFTConv(kernel, H, transposed=False)).eval()
    _, (swap,) = swap_layers(model, (torch.zeros(1, T, H),))
    assert int(kernel.l_kernel) == T
    assert f"C for length {T // 2}" in swap.convention
    assert swap.error <= 1e-4
