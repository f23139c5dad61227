"""What two real processes do in test_distributed.py: ``accelerate launch tests/together.py FOLDER PROFILE``.

Imported, it is the same training in one process.
"""

import json
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from llasa_lib import language_models, processes, profiles, training
from llasa_lib.errors import ModelError

SETTINGS = profiles.Training(epochs=2, batch_size=4, learning_rate=1e-2)
SAMPLES = 21  # the last batch of an epoch has one sample: one of two processes gets none


class Talk(torch.utils.data.Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, n):
        tokens = torch.randint(3, 100, (4 + n % 5,), generator=torch.Generator().manual_seed(n)).tolist()
        return {"input_ids": tokens, "labels": tokens}


def collate(batch):
    longest = max(len(sample["input_ids"]) for sample in batch)
    return {
        name: torch.tensor([sample[name] + [fill] * (longest - len(sample[name])) for sample in batch])
        for name, fill in (("input_ids", 2), ("labels", -100))
    }


def small_model():
    """A random Llama of which one part in every layer is trained."""
    model = training.freeze(language_models.load_model("tiny"))
    model.resize_token_embeddings(128)  # of 49,152 words, of which nearly all the time would go into the scores
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("mlp" in name)
    return model


def parts(model):
    """What this process holds of each trained weight."""
    return [getattr(p, "to_local", lambda p=p: p)() for p in model.parameters() if p.requires_grad]


def stop(step, model):
    """Ctrl-C, in all processes."""
    if step == 8:
        raise KeyboardInterrupt


def spoil(step, model):
    """What one process holds of the weights becomes NaN."""
    if step == 7 and processes.rank() == 1:
        with torch.no_grad():
            for part in parts(model):
                part.fill_(float("nan"))


def fit(folder, shuffle=True, **options):
    model = small_model()
    often = {"log_every": 1, "save_every": 5, "description": ""}
    history = training.fit(model, Talk(), folder, SETTINGS, 0, collate=collate, shuffle=shuffle, **often, **options)
    return model, history


def trained(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def llasa(*arguments):
    """What ``python -m llasa_lib`` does with these arguments; its exit code."""
    sys.argv = ["llasa", *arguments]
    try:
        runpy.run_module("llasa_lib", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code or 0


def work(folder, profile):
    """The stages, then some more training; in the end one of the processes is killed."""
    os.environ["LLASA_HOME"] = str(Path(profile).parent)
    with (folder / "printed.txt").open("a") as printed:
        os.dup2(printed.fileno(), 1)
    found, begun = {"tune": llasa("tune", "--profile", profile)}, {}
    sys.stdout.flush()

    def look(step, model):
        begun.setdefault(name, step)
        found["numbers"] = sum(part.numel() for part in parts(model))

    for name in ("whole", "resumed"):
        if name == "resumed":
            try:
                fit(folder / "work" / name, on_step=stop)
            except KeyboardInterrupt:
                kept = folder / "work" / name
                found["checkpoints"] = sorted(path.name for path in kept.iterdir())
                if processes.is_main():
                    shutil.copy(kept / "checkpoint-5" / training.TRAINABLE, folder / "checkpoint.safetensors")
                processes.agree()
        model, found[name] = fit(folder / "work" / name, on_step=look)
        if processes.is_main():
            save_file(trained(model), folder / f"{name}.safetensors")
    found["begins"] = begun["resumed"]
    try:
        fit(folder / "work" / "spoilt", on_step=spoil)
    except ModelError as error:
        found["spoilt"] = [str(error), sorted(path.name for path in (folder / "work" / "spoilt").iterdir())]
    model, found["in order"] = fit(folder / "work" / "order", shuffle=False)
    (folder / f"found-{processes.rank()}.json").write_text(json.dumps(found))
    processes.agree()
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.agree()  # in vain: the main process must not wait for the dead
    (folder / "hung").touch()


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
