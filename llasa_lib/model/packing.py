"""Products of a few rows on a CPU, with weights that were laid out before.

One more token of a few answers is a product of a few rows with every weight of the language model. MKL multiplies
float32 in torch. It lays the whole weight out anew for each product that has a second row, which takes longer than the
product itself. oneDNN takes a weight that was laid out before; torch's compiler calls the same two operators when it
freezes a model, but needs a C++ compiler on the reader's machine.

Measured with SmolLM2's matrices and one thread of a CPU without bfloat16 (which needs avx512_bf16 or AMX, and is slower
than float32 elsewhere): 1.5 times as fast for 4 rows, 1.3 for 16, 1.1 for 32; a single row gains nothing.
"""

import contextlib
import functools
import weakref

import psutil
import torch
from torch import nn
from torch.nn import functional

FEW = 32  # rows; with more, MKL's own layout pays
_kept = weakref.WeakKeyDictionary()  # layer -> (mark of its weight, packed weight)


@contextlib.contextmanager
def packed(model):
    """Linear layers with packed weights, as long as the context lasts: same values, sooner, for inference.

    Where that is not possible nothing changes: on a GPU, in 16 or 4 bits, on a processor without AVX, and where the
    packed copy would take more than half of the free memory. The copy is kept for the next time, as long as the model
    lives; a weight that has changed meanwhile is packed anew.

    Parameters
    ----------
    model : torch.nn.Module
        Its weights must not change within the context.
    """
    layers = _packable(model)
    try:
        for layer in layers:
            layer.forward = functools.partial(_linear, layer, _packed_weight(layer))
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def available():
    """Whether this processor and this torch multiply with packed weights."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
    )


def _packable(model):
    """Layers to be packed; none if there is no room. A layer with a forward of its own is accelerate's, or packed."""
    if not available():
        return []
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear
        and "forward" not in vars(layer)
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
    ]
    new = sum(layer.weight.nbytes for layer in layers if layer not in _kept)
    return layers if new <= psutil.virtual_memory().available / 2 else []


@torch.no_grad()
def _packed_weight(layer):
    """The packed weight, made once, and anew when the weight is another one."""
    mark = _mark(layer.weight)
    if layer not in _kept or _kept[layer][0] != mark:
        _kept[layer] = mark, torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
    return _kept[layer][1]


def _mark(weight):
    """A number that differs when weights differ, or stand elsewhere. It takes a tenth of the time of packing."""
    left, right = (torch.linspace(1, 2, size) for size in weight.shape)
    return (weight @ right @ left).item()


def _linear(layer, weight, rows):
    if rows.numel() > FEW * layer.in_features:
        return functional.linear(rows, layer.weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "none", [], "")
