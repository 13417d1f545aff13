"""What is installed, and one layer in 4 bits.

pytest -m gpu tests/gpu/test_versions.py    (1 minute on a card; not run on a GPU yet)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import pytest
import torch

from .setting import CARD, DEVICE

pytestmark = pytest.mark.gpu

Figures = Callable[..., None]


def test_versions(figures: Figures) -> None:
    names = ("torch", "transformers", "bitsandbytes", "lightning", "peft")
    card = f"CUDA {torch.version.cuda}, capability {torch.cuda.get_device_capability()}" if CARD else "no card"
    figures("versions", ", ".join([*(f"{name} {version(name)}" for name in names), card]))


def test_a_layer_in_4_bits_multiplies(figures: Figures) -> None:
    from bitsandbytes import functional
    from bitsandbytes.nn import Linear4bit

    torch.manual_seed(0)
    layer = Linear4bit(512, 256, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4").to(DEVICE)
    x = torch.randn(64, 512, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    found = layer(x)
    found.sum().backward()
    weight = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).double()
    exact = x.detach().double() @ weight.T
    error = float((found.detach().double() - exact).norm() / exact.norm())
    assert x.grad is not None
    # A product in bf16 is rounded by 0.2 %, twice.
    figures("Linear4bit: error of a product", f"{error:.2%}", error < 0.01)
