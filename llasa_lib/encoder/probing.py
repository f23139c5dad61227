"""How much of the activity lies open in the embeddings."""

import numpy as np
import torch


def pool(embeddings):
    """Mean and spread over time: (N, T, H) array or tensor -> (N, 2 H). What has two axes passes as it is."""
    if embeddings.ndim == 2:
        return embeddings
    library = torch if isinstance(embeddings, torch.Tensor) else np
    return library.concatenate([embeddings.mean(axis=1), library.std(embeddings, axis=1, correction=0)], axis=1)


def linear_probe(embeddings, activities, regularisation=1.0, seed=0):
    """How much of the activity can be read off frozen embeddings by a linear model.

    Parameters
    ----------
    embeddings : (N, T, H) or, pooled already, (N, F) array.
    activities : N names.
    regularisation : float, the C of scikit-learn's ``LogisticRegression``: larger trusts the data more.
    seed : int.

    Returns
    -------
    Fitted scikit-learn pipeline (pool, standardise, logistic regression); ``predict`` takes the same kind of
    array.
    """
    return _probe(regularisation, seed).fit(embeddings, np.asarray(activities))


def _probe(regularisation=1.0, seed=0):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(
        FunctionTransformer(pool),
        StandardScaler(),
        LogisticRegression(C=regularisation, max_iter=3000, random_state=seed),
    )


def probe_across_people(embeddings, activities, subjects, folds=4):
    """Macro-F1 of the linear probe when everybody is judged by a probe that was fitted to others.

    A few validation people make a noisy judge. This one needs no test people either, and asks all the rest.

    Parameters
    ----------
    embeddings, activities : as for :func:`linear_probe`.
    subjects : N names of people.
    folds : int, groups of people; fewer if there are fewer people.

    Returns
    -------
    float
    """
    from sklearn.metrics import f1_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    activities, subjects = np.asarray(activities), np.asarray(subjects)
    split = GroupKFold(min(folds, len(np.unique(subjects))))
    found = cross_val_predict(_probe(), pool(embeddings), activities, groups=subjects, cv=split)
    return float(f1_score(activities, found, average="macro", zero_division=0))


def nearest_neighbours(embeddings, activities, neighbours=5):
    """The activity of the most similar labelled windows: a probe that fits nothing.

    Parameters
    ----------
    embeddings, activities : as for :func:`linear_probe`.
    neighbours : int, how many vote; fewer if there are fewer labels of some activity.

    Returns
    -------
    Fitted scikit-learn pipeline, as of :func:`linear_probe`.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    activities = np.asarray(activities)
    fewest = np.unique(activities, return_counts=True)[1].min()
    nearest = KNeighborsClassifier(n_neighbors=int(min(neighbours, fewest)))
    return make_pipeline(FunctionTransformer(pool), StandardScaler(), nearest).fit(embeddings, activities)
