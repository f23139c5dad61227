"""What labels are worth: readers with and without a pretrained encoder, from one per cent of the labels on."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

from llasa_lib import files, signals
from llasa_lib.encoder.classification import RawGru, classify, fine_tune, with_head
from llasa_lib.encoder.network import LimuBertModel
from llasa_lib.encoder.pretraining import embed
from llasa_lib.encoder.probing import linear_probe, nearest_neighbours, pool
from llasa_lib.encoder.windows import check_windows, normalise


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
    fresh.input.fit(torch.from_numpy(normalise(check_windows(imu, config.max_position_embeddings))))
    return fresh


def label_efficiency(model, train, test, settings, folder, seed=0):
    """Macro-F1 on unseen people by method and share of the labels.

    Parameters
    ----------
    model : LimuBertForPreTraining, pretrained on the people of ``train``.
    train, test : (imu, activities): (N, 120, 6) array in SI units and N names; no person in both.
    settings : a profile's ``represent`` section.
    folder : path
        Every finished row is written at once, to a subfolder that belongs to these very arguments; an interrupted run
        goes on behind the last one.
    seed : int

    Returns
    -------
    list of dict
        ``method``, ``share``, ``labels`` (how many), ``draw``, ``macro_f1``.
    """
    from sklearn.metrics import f1_score

    folder = Path(folder) / _name(model, train, test, settings, seed)
    journal = folder / "rows.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    rows = _read(journal)
    done = {(row["method"], row["share"], row["draw"]) for row in rows}
    methods = _methods(model, train[0], test[0], settings, folder / "classifier", seed)
    names, truth = np.unique(train[1]), np.asarray(test[1])
    numbers = np.searchsorted(names, train[1])
    for share in settings.shares:
        for draw in range(settings.draws):
            chosen = draw_labels(train[1], share, seed + draw)
            for method, predict in methods.items():
                if (method, share, draw) in done:
                    continue
                found = names[predict(chosen, numbers[chosen], names, seed + draw)]
                value = f1_score(truth, found, average="macro", zero_division=0)
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


def _read(journal):
    """Rows of an earlier run; a last line that was cut short is left out, and the file with it."""
    rows = []
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    with files.atomic(journal) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def _methods(model, learn, judge, settings, folder, seed):
    """{name: function of (rows, their class numbers, class names, seed) -> class numbers of the test windows}."""
    limu_bert = model.limu_bert
    fresh = random_like(limu_bert, learn, seed)
    plain, pretrained, untrained = (
        [make(imu) for imu in (learn, judge)]
        for make in (
            signals.summarise,
            lambda imu: embed(limu_bert, imu, reduce=pool),
            lambda imu: embed(fresh, imu, reduce=pool),
        )
    )

    def read(features, reader):
        return lambda rows, labels, names, seed: reader(features[0][rows], labels, seed).predict(features[1])

    def train(build, learning_rate, encoder_learning_rate=None):
        def predict(rows, labels, names, seed):
            torch.manual_seed(seed)
            classifier = build(names)
            epochs = settings.steps / math.ceil(len(rows) / settings.batch_size)
            budget = settings.model_copy(update={"epochs": epochs, "learning_rate": learning_rate})
            fine_tune(classifier, learn[rows], labels, budget, folder, seed, encoder_learning_rate, description="")
            return classify(classifier, judge)

        return predict

    return {
        "random forest, plain features": read(plain, _forest),
        "logistic regression, plain features": read(plain, _probe),
        "linear probe": read(pretrained, _probe),
        "nearest neighbours": read(pretrained, _nearest),
        "linear probe, random encoder": read(untrained, _probe),
        "GRU head on the frozen encoder": train(
            lambda names: with_head(limu_bert, list(names), "gru"), settings.recurrent_learning_rate, 0
        ),
        "fine-tuned": train(
            lambda names: with_head(limu_bert, list(names)), settings.learning_rate, settings.encoder_learning_rate
        ),
        "GRU on raw windows": train(lambda names: RawGru(len(names), learn.shape[1]), settings.recurrent_learning_rate),
    }


def _forest(features, labels, seed):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=300, random_state=seed).fit(features, labels)


def _probe(features, labels, seed):
    return linear_probe(features, labels, seed=seed)


def _nearest(features, labels, seed):
    return nearest_neighbours(features, labels)
