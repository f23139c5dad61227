"""What labels are worth: readers with and without a pretrained encoder, from one per cent of the labels on."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llasa_lib import files, signals, training
from llasa_lib.encoder.classification import RawGru, predict, train, with_head
from llasa_lib.encoder.network import LimuBertModel
from llasa_lib.encoder.pretraining import embed
from llasa_lib.encoder.probing import linear_probe, nearest_neighbours, pool
from llasa_lib.encoder.windows import normalise


def draw_labels(activities, share, seed):
    """Rows of a share of the windows of every activity, at least one of each.

    Parameters
    ----------
    activities : (N,) array of names.
    share : float, above 0 and at most 1.
    seed : int

    Returns
    -------
    (M,) array of int, increasing.
    """
    activities, rng = np.asarray(activities), np.random.default_rng(seed)
    groups = [np.flatnonzero(activities == name) for name in np.unique(activities)]
    return np.sort(np.concatenate([rng.permutation(rows)[: max(1, round(share * len(rows)))] for rows in groups]))


def random_like(model, imu, seed):
    """An untrained encoder with the configuration of ``model``, its input scaled to windows (N, 120, 6) in SI units."""
    torch.manual_seed(seed)
    config = getattr(model, "limu_bert", model).config
    fresh = LimuBertModel(config).eval()
    fresh.input.fit(torch.from_numpy(normalise(signals.check_windows(imu, config.max_position_embeddings))))
    return fresh


def label_efficiency(model, train, test, settings, folder, seed=0, workers=1):
    """Macro-F1 on unseen people by method and share of the labels.

    Parameters
    ----------
    model : LimuBertForPreTraining, pretrained on the people of ``train``.
    train, test : (imu, activities): (N, 120, 6) array in SI units and N names; no person in both.
    settings : a profile's ``ablate`` section. All labels can be drawn in one way only, and are drawn once.
    folder : path
        Every finished row is written at once, to a subfolder that belongs to these very arguments; an interrupted run
        goes on behind the last one.
    seed : int
    workers : int, processes that share the rows, with a thread each. The rows do not depend on it.

    Returns
    -------
    list of dict
        ``method``, ``share``, ``labels`` (how many), ``draw``, ``macro_f1``.
    """
    from joblib import Parallel, delayed
    from sklearn.metrics import f1_score

    folder = Path(folder) / _name(model, train, test, settings, seed)
    journal = folder / "rows.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    rows = _read(journal)
    done = {(row["method"], row["share"], row["draw"]) for row in rows}
    draws = [(share, draw) for share in settings.shares for draw in range(settings.draws if share < 1 else 1)]
    left = [(*one, method) for one in draws for method in METHODS if (method, *one) not in done]
    if not left:
        return rows
    read = _readings(model, train[0], test[0], seed)
    names, truth = np.unique(train[1]), np.asarray(test[1])
    numbers = np.searchsorted(names, train[1])
    labelled = {one: draw_labels(train[1], one[0], seed + one[1]) for one in draws}

    def task(number, share, draw, method):
        chosen, (learn, judge) = labelled[share, draw], read[METHODS[method][0]]
        place = folder / f"classifier-{share}-{draw}-{number}"
        return delayed(_predict)(method, learn[chosen], numbers[chosen], judge, model, settings, place, seed + draw)

    found = Parallel(n_jobs=workers, return_as="generator")(task(n, *one) for n, one in enumerate(left))
    for (share, draw, method), predicted in zip(left, found, strict=True):
        value = f1_score(truth, names[predicted], average="macro", zero_division=0)
        chosen = labelled[share, draw]
        row = {"method": method, "share": share, "labels": len(chosen), "draw": draw, "macro_f1": float(value)}
        rows.append(row)
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    return rows


def _name(model, train, test, settings, seed):
    """What a run is made of, in a word: rows and checkpoints of another one must not be taken for its own."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    for imu, activities in (train, test):
        digest.update(np.ascontiguousarray(imu).tobytes() + "\n".join(activities).encode())
    return files.fingerprint(digest.hexdigest(), model.config.to_dict(), settings.model_dump(), seed)


@dataclass
class _Row:
    method: str
    share: float
    labels: int
    draw: int
    macro_f1: float


def _read(journal):
    """Rows of an earlier run; a last line that was cut short is left out, and the file with it."""
    rows = []
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        try:
            rows.append(vars(files.parse_json(line, _Row)))
        except ValueError:
            break
    with files.atomic(journal) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def _readings(model, learn, judge, seed):
    """What the methods read of the training windows and of the test windows, each calculated once."""
    fresh = random_like(model, learn, seed)
    states = [embed(model, imu) for imu in (learn, judge)]
    return {
        "plain": [signals.summarise(imu) for imu in (learn, judge)],
        "pretrained": [pool(one) for one in states],
        "untrained": [embed(fresh, imu, reduce=pool) for imu in (learn, judge)],
        "states": states,
        "windows": [normalise(imu) for imu in (learn, judge)],
    }


def _predict(method, learn, labels, judge, model, settings, folder, seed):
    """Class numbers of the windows to judge. In one thread, in whatever process: more would add up in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    training.quiet()
    try:
        torch.manual_seed(seed)
        return METHODS[method][1](learn, labels, judge, model, settings, folder, seed)
    finally:
        torch.set_num_threads(threads)


def _forest(learn, labels, judge, model, settings, folder, seed):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=300, random_state=seed).fit(learn, labels).predict(judge)


def _probe(learn, labels, judge, model, settings, folder, seed):
    return linear_probe(learn, labels, seed=seed).predict(judge)


def _nearest(learn, labels, judge, model, settings, folder, seed):
    return nearest_neighbours(learn, labels).predict(judge)


def _recurrent(learn, labels, judge, model, settings, folder, seed):
    classifier = RawGru(int(labels.max()) + 1, *learn.shape[1:])
    return _trained(classifier, learn, labels, judge, settings, folder, seed, settings.recurrent_learning_rate)


def _fine_tuned(learn, labels, judge, model, settings, folder, seed):
    classifier, rate = with_head(model, [str(n) for n in range(labels.max() + 1)]), settings.encoder_learning_rate
    return _trained(classifier, learn, labels, judge, settings, folder, seed, settings.learning_rate, rate)


def _trained(classifier, learn, labels, judge, settings, folder, seed, rate, encoder_rate=None):
    epochs = settings.steps / math.ceil(len(labels) / settings.batch_size)
    budget = settings.model_copy(update={"epochs": epochs, "learning_rate": rate})
    # Copied: what another process was sent may be read only.
    learn, labels, judge = (torch.tensor(part) for part in (learn, labels, judge))
    train(classifier, learn, labels, budget, folder, seed, encoder_rate, "")
    return predict(classifier, judge)


METHODS = {
    "random forest, plain features": ("plain", _forest),
    "logistic regression, plain features": ("plain", _probe),
    "linear probe": ("pretrained", _probe),
    "nearest neighbours": ("pretrained", _nearest),
    "linear probe, random encoder": ("untrained", _probe),
    "GRU head on the frozen encoder": ("states", _recurrent),
    "fine-tuned": ("windows", _fine_tuned),
    "GRU on raw windows": ("windows", _recurrent),
}
"""Name -> (what it reads of a window, how it learns from some and names others)."""
