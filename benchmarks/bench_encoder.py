"""How fast an encoder pretrains: the plain way against the library's, for the published network and for the variant.

The plain way is how such code is usually published: attention, norms and GELU written out, masks drawn in NumPy for one
window at a time, and a data loader that fetches single windows. The library masks a batch at once, uses fused
attention, and calculates the last layer and the head for masked steps only. Both train the same network on the same
real windows in the same order, with the same optimiser and number of steps, and must end at the same loss. The variant
is the network of the ``cpu`` profile: another network, on the same windows.

Run: ``python benchmarks/bench_encoder.py [--steps 20] [--batch-size 128] [--repeats 3]``; exit code 1 if a limit is
broken.
"""

import argparse
import math
import sys
import time

import numpy as np
import torch

from llasa_lib import encoder, profiles, recordings, signals
from llasa_lib.encoder.network import LimuBertBlock, LimuBertLayerNorm

PROFILE = profiles.load("cpu")
SETTINGS = PROFILE.ablate.published
LIMITS = {"library": 1.3, "variant": 5.0}
NOISE = 0.05  # of the loss: the two draw other masks


class MaskedOneByOne(torch.utils.data.Dataset):
    """One window per call; its mask is drawn in plain Python and NumPy."""

    def __init__(self, values, seed=0):
        self.values, self.random = values.numpy(), np.random.default_rng(seed)
        chances = SETTINGS.span_decay * (1 - SETTINGS.span_decay) ** np.arange(SETTINGS.max_span)
        self.chances = chances / chances.sum()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        label, hidden = self.values[index], set()
        goal = round(SETTINGS.mask_ratio * len(label))
        while len(hidden) < goal:
            span = min(self.random.choice(len(self.chances), p=self.chances) + 1, goal - len(hidden))
            anchor = self.random.integers(len(label))
            if anchor not in hidden:
                hidden.update(range(anchor, min(anchor + span, len(label))))
        mask, seen = np.zeros(len(label), dtype=bool), label.copy()
        mask[sorted(hidden)] = True
        if self.random.random() < SETTINGS.mask_zero_probability:
            seen[mask] = 0
        return {"imu_values": seen, "mask": mask, "labels": label}


class PlainNorm(LimuBertLayerNorm):
    """LayerNorm written out, as in the published code."""

    def forward(self, hidden):
        mean = hidden.mean(-1, keepdim=True)
        variance = (hidden - mean).pow(2).mean(-1, keepdim=True)
        return self.weight * ((hidden - mean) / torch.sqrt(variance + self.eps)) + self.bias


class PlainBlock(LimuBertBlock):
    """The block with its GELU written out, as in the published code."""

    def _feed_forward(self, hidden):
        inner = self.fc1(hidden)
        return self.fc2(inner * 0.5 * (1.0 + torch.erf(inner / math.sqrt(2.0))))


def write_out(model):
    """Norms and GELU of a network as plain formulas, in place; the numbers stay the same."""
    for module in model.modules():
        for kind, plain in ((LimuBertLayerNorm, PlainNorm), (LimuBertBlock, PlainBlock)):
            if type(module) is kind:
                module.__class__ = plain
    return model


def loaders(values, batch_size):
    """Batches of the same windows for each way, endless."""

    sets = {"plain": MaskedOneByOne(values), "library": [{"imu_values": window} for window in values]}
    sets["variant"] = sets["library"]
    made = {}
    for way, windows in sets.items():
        order = torch.Generator().manual_seed(0)
        made[way] = endless(
            torch.utils.data.DataLoader(windows, batch_size, shuffle=True, drop_last=True, generator=order)
        )
    return made


def networks(values):
    """A fresh network for each way; the first two have the same weights."""
    made = {}
    for way, attention in (("plain", "eager"), ("library", "sdpa"), ("variant", "sdpa")):
        network = (PROFILE.encoder if way == "variant" else SETTINGS).network.model_dump()
        torch.manual_seed(0)
        made[way] = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(**network, attn_implementation=attention))
        made[way].train().limu_bert.input.fit(values)
    few = values[:4]
    with torch.no_grad():
        same = torch.allclose(write_out(made["plain"])(few)[0], made["library"](few)[0], atol=1e-5)
    if not same:
        raise SystemExit("Plain and library network must be the same, and are not.")
    masked = {"library": SETTINGS, "variant": PROFILE.encoder}  # these two mask whole batches as they train
    return made | {way: encoder.MaskedPretraining(made[way], settings) for way, settings in masked.items()}


def endless(loader):
    """The loader's batches, again and again."""
    while True:
        yield from loader


def train(model, batches, steps):
    """Windows per second over ``steps`` optimiser steps, and the loss of each."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    windows, losses, start = 0, [], time.perf_counter()
    for _, batch in zip(range(steps), batches, strict=False):
        optimiser.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        windows += len(batch["imu_values"])
    return windows / (time.perf_counter() - start), losses


def main():
    """Time both ways in turn, several times, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    windows = signals.make_windows(recordings.load("hapt", subjects=[1, 3, 6, 7, 8]), stride=30, labelled=False)
    values = torch.from_numpy(encoder.normalise(signals.to_array(windows)))
    batches, models = loaders(values, options.batch_size), networks(values)
    for way, model in models.items():
        train(model, batches[way], 2)  # warm up
    speed, losses = {way: [] for way in models}, {way: [] for way in models}
    for _ in range(options.repeats):  # in turn, so that all meet the same machine
        for way, model in models.items():
            rate, curve = train(model, batches[way], options.steps)
            speed[way].append(rate)
            losses[way] += curve

    print(f"LIMU-BERT, batch {options.batch_size}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rates = {way: float(np.median(one)) for way, one in speed.items()}
    ratios = {way: rates[way] / rates["plain"] for way in LIMITS}
    said = ", ".join(f"{way} {rates[way]:.0f} ({ratio:.2f} times)" for way, ratio in ratios.items())
    print(f"training: plain {rates['plain']:.0f} windows/s, {said}")
    late = {way: float(np.mean(curve[-len(curve) // 2 :])) for way, curve in losses.items()}
    print(f"loss in the second half of {len(losses['plain'])} steps: {late['plain']:.4f} and {late['library']:.4f}")
    wrong = [
        f"{way}: {ratios[way]:.2f} times is less than {limit}." for way, limit in LIMITS.items() if ratios[way] < limit
    ]
    if abs(late["library"] / late["plain"] - 1) > NOISE:
        wrong.append("Both ways must end at the same loss, and do not.")
    print(*wrong, sep="\n", file=sys.stderr)
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
