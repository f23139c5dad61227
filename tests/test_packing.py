"""Packed weights: the same model, sooner, on a CPU; elsewhere nothing changes."""

import gc
import types

import hypothesis
import psutil
import pytest
import torch
from hypothesis import strategies
from torch import nn
from torch.nn import functional

from llasa_lib.model import packing
from llasa_lib.model.packing import packed

needs_onednn = pytest.mark.skipif(not packing.available(), reason="no AVX, or a torch without oneDNN")
sizes = strategies.integers(1, 70)


def forwards(model):
    return [layer for layer in model.modules() if "forward" in vars(layer)]


@needs_onednn
@hypothesis.given(
    rows=strategies.lists(strategies.integers(1, 5), min_size=1, max_size=3),
    into=sizes,
    out=sizes,
    bias=strategies.booleans(),
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_a_packed_layer_gives_what_the_layer_gives(rows, into, out, bias):
    layer, given = nn.Linear(into, out, bias=bias), torch.randn(*rows, into)
    with torch.inference_mode():
        expected = layer(given)
        with packed(layer):
            assert forwards(layer)
            got = layer(given)
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@needs_onednn
def test_the_layers_are_their_own_again_also_after_an_error():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with pytest.raises(KeyboardInterrupt), packed(model):
        raise KeyboardInterrupt
    assert not forwards(model)
    model[0].weight.data.zero_()
    assert torch.equal(model[0](torch.ones(1, 8)), model[0].bias[None])


@needs_onednn
def test_no_layer_stays_packed_if_the_memory_ends_halfway(monkeypatch):
    model, pack = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), torch.ops.mkldnn._reorder_linear_weight

    def until_full(weight):
        if len(weight) == 4:
            raise RuntimeError("not enough memory")
        return pack(weight)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", until_full)
    with pytest.raises(RuntimeError, match="not enough memory"), packed(model):
        pass
    assert not forwards(model)


@needs_onednn
def test_packing_twice_packs_once_and_the_outer_one_lasts():
    model = nn.Sequential(nn.Linear(8, 8))
    with packed(model):
        with packed(model):
            pass
        assert forwards(model)
    assert not forwards(model)


@needs_onednn
@pytest.mark.parametrize("swap", [False, True])
def test_a_weight_is_packed_once_and_anew_when_it_has_changed(swap, monkeypatch):
    made, pack = [], packing.torch.ops.mkldnn._reorder_linear_weight
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", lambda *w: made.append(1) or pack(*w))
    layer, given = nn.Linear(8, 8), torch.randn(2, 8)
    with torch.inference_mode():
        for _ in range(2):
            with packed(layer):
                layer(given)
        assert len(made) == 1
        # As peft merges an adapter: no version counter sees it.
        layer.weight.data.copy_(layer.weight.flip(0) if swap else layer.weight + 0.01)
        expected = layer(given)
        with packed(layer):
            torch.testing.assert_close(layer(given), expected)
    assert len(made) == 2


@needs_onednn
def test_the_packed_copy_goes_with_its_model():
    layer = nn.Linear(8, 8)
    with packed(layer):
        pass
    before = len(packing._kept)
    del layer
    gc.collect()
    assert len(packing._kept) < before


@needs_onednn
def test_many_rows_go_the_usual_way(monkeypatch):
    layer, given = nn.Linear(8, 8), torch.randn(2, packing.FEW, 8)
    with torch.inference_mode(), packed(layer):
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
        assert torch.equal(layer(given), functional.linear(given, layer.weight, layer.bias))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_number_stay_as_they_are(dtype):
    model = nn.Sequential(nn.Linear(8, 8, dtype=dtype))
    with packed(model):
        assert not forwards(model)


def test_a_layer_of_another_kind_or_with_a_forward_of_its_own_is_left_alone():
    class Quantised(nn.Linear):
        pass

    hooked = nn.Linear(8, 8)
    own = hooked.forward = lambda rows: rows
    model = nn.Sequential(Quantised(8, 8), hooked)
    with packed(model):
        assert forwards(model) == [hooked]
        assert hooked.forward is own
    assert hooked.forward is own


def test_without_room_for_a_second_copy_nothing_changes(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=2 * 8 * 8 * 4 - 1))
    model = nn.Sequential(nn.Linear(8, 8))
    with packed(model):
        assert not forwards(model)


def test_without_the_operators_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    model = nn.Sequential(nn.Linear(8, 8))
    with packed(model):
        assert not forwards(model)
