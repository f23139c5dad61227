"""How fast LIMU-BERT pretrains: the plain way against the library's.

The plain way is how such code is usually published: attention written out, masks drawn in NumPy for one
window at a time, and a data loader that fetches single windows. The library masks a batch at once and uses fused
attention. Both train the same network on the same windows, with the same optimiser and number of steps.

Run: ``python -m benchmarks.bench_encoder [--steps 20] [--batch-size 128] [--repeats 3]``. No data set is
needed: the time does not depend on what the windows hold.
"""

import argparse
import time
from types import SimpleNamespace

import numpy as np
import torch

from llasa_lib import encoder

SETTINGS = SimpleNamespace(mask_ratio=0.15, max_span=10, span_decay=0.2, mask_zero_probability=0.8)


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


def loaders(values, batch_size):
    """Plain and library batches of the same windows, endless."""
    plain = torch.utils.data.DataLoader(MaskedOneByOne(values), batch_size, shuffle=True, drop_last=True)
    ours = torch.utils.data.DataLoader(
        encoder.PretrainingWindows(values),
        batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=encoder.masking_collate(SETTINGS),
    )
    return {"plain": plain, "library": ours}


def endless(loader):
    """The loader's batches, again and again."""
    while True:
        yield from loader


def train(model, batches, steps):
    """Windows per second over ``steps`` optimiser steps."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    windows, start = 0, time.perf_counter()
    for _, batch in zip(range(steps), batches, strict=False):
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()
        windows += len(batch["labels"])
    return windows / (time.perf_counter() - start)


def prepare(batches, steps):
    """Windows per second of loading and masking alone."""
    windows, start = 0, time.perf_counter()
    for _, batch in zip(range(steps), batches, strict=False):
        windows += len(batch["labels"])
    return windows / (time.perf_counter() - start)


def main():
    """Time both ways in turn, several times, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    torch.manual_seed(0)
    values = torch.randn(max(1024, 2 * options.batch_size), 120, 6)
    ways = {name: endless(loader) for name, loader in loaders(values, options.batch_size).items()}
    attention = {"plain": "eager", "library": "sdpa"}
    models = {}
    for way in ways:
        torch.manual_seed(0)  # the same weights both times
        models[way] = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(attn_implementation=attention[way])).train()
        train(models[way], ways[way], 2)  # warm up
    speed = {(way, what): [] for way in ways for what in ("batches", "training")}
    for _ in range(options.repeats):  # in turn, so that both meet the same machine
        for way in ways:
            speed[way, "batches"].append(prepare(ways[way], options.steps))
            speed[way, "training"].append(train(models[way], ways[way], options.steps))

    print(f"LIMU-BERT, batch {options.batch_size}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for what in ("batches", "training"):
        plain, ours = (float(np.median(speed[way, what])) for way in ("plain", "library"))
        print(f"{what:>9}: plain {plain:7.0f}, library {ours:7.0f} windows/s, ratio {ours / plain:.2f}")


if __name__ == "__main__":
    main()
