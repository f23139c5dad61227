"""Whether questions give their answers away."""

import numpy as np


def leak(questions, labels, seed=0):
    """How well a reader of the questions alone guesses the label (the control of Gururangan et al. 2018).

    A bag of words and pairs of words, logistic regression, three folds.

    Parameters
    ----------
    questions : list of N str
        One text per window: a question, or all of them joined.
    labels : sequence of N str
    seed : int
        Of the folds.

    Returns
    -------
    accuracy, chance : float
        Share of labels guessed, and the share of the most frequent label. Ask for balanced labels.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    labels = np.asarray(labels)
    reader = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=500))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    guess = cross_val_predict(reader, list(questions), labels, cv=folds)
    return float(np.mean(guess == labels)), float(np.unique(labels, return_counts=True)[1].max() / len(labels))
