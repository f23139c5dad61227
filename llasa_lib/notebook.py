"""What every chapter begins with: one call that sets the scene and hands out the pipeline."""

import logging
import os
import platform
import random
import warnings

import numpy as np
import torch

from . import plots, training
from .pipeline import Pipeline, one_blas_thread


def setup(profile=None):
    """Set seeds and style, say what this run is, and return the pipeline.

    Parameters
    ----------
    profile : str, optional
        Default: ``LLASA_PROFILE``, else what fits the machine.

    Returns
    -------
    Pipeline
    """
    run = Pipeline(profile)
    random.seed(run.profile.seed)
    np.random.seed(run.profile.seed)  # noqa: NPY002 - third-party code that a chapter calls may still use it
    torch.manual_seed(run.profile.seed)
    plots.use_style()
    training.quiet()
    one_blas_thread()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Progress bars that are redrawn fill a built page with hundreds of lines.
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    print(f"profile {run.profile.name} · {device} · Python {platform.python_version()} · torch {torch.__version__}")
    if run.profile.name == "smoke":
        print("SMOKE PROFILE: tiny model, three people. Everything runs; no number below means anything.")
    return run


def stranger(windows):
    """The one window that walks through the whole book: six seconds of a test subject, walking.

    Parameters
    ----------
    windows : datasets.DatasetDict
        Of :meth:`Pipeline.prepare` or :meth:`Pipeline.caption`.

    Returns
    -------
    dict
        The row: ``imu`` (120, 6) float32 array, ``activity``, ``subject``, ... and ``row``, its place in the test set.
    """
    test = windows["test"]
    subjects, activities = np.array(test["subject"]), np.array(test["activity"])
    first = sorted(set(subjects))[0]
    row = int(np.flatnonzero((subjects == first) & (activities == "walking"))[2])
    found = dict(test[row])
    found["imu"] = np.asarray(found["imu"], dtype=np.float32)
    return {**found, "row": row}
