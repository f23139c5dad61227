"""What a sensor language model has to beat, trained on the same windows of the same people."""

from dataclasses import dataclass

import numpy as np

from .. import encoder
from ..model import ImuFeatureExtractor


@dataclass
class Baselines:
    """Fitted classifiers; :meth:`predict` gives {name: list of activities}."""

    models: dict
    limu_bert: encoder.LimuBertModel
    extractor: ImuFeatureExtractor

    def predict(self, windows):
        """Predict windows, as :func:`fit_baselines` takes them, with every baseline."""
        inputs = _inputs(windows, self.limu_bert, self.extractor)
        return {name: list(model.predict(inputs[kind])) for name, (kind, model) in self.models.items()}


def _inputs(windows, limu_bert, extractor):
    """What the model reads: the statistics that its summary tokens are made of, and the encoder's states."""
    windows = extractor.windows(windows)
    return {
        "summary": extractor.summary(windows),
        "embedding": encoder.pool(encoder.embed(limu_bert, windows.frame)),
    }


def fit_baselines(windows, activities, limu_bert, seed=0):
    """Fit majority, random forest, logistic regression, and the encoder's linear probe.

    Parameters
    ----------
    windows : signals.Calibrated, or (N, T, 6) array of windows that stand alone
        Training windows.
    activities : list of str, length N
    limu_bert : encoder.LimuBertModel

    Returns
    -------
    Baselines
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    models = {
        "majority class": ("summary", DummyClassifier(strategy="most_frequent")),
        "random forest, 446 statistics": (
            "summary",
            RandomForestClassifier(n_estimators=300, random_state=seed, n_jobs=2),
        ),
        "logistic regression, 446 statistics": ("summary", linear),
    }
    extractor = ImuFeatureExtractor().fit(windows)
    inputs = _inputs(windows, limu_bert, extractor)
    activities = np.asarray(activities)
    fitted = {name: (kind, model.fit(inputs[kind], activities)) for name, (kind, model) in models.items()}
    fitted["encoder, linear probe"] = ("embedding", encoder.linear_probe(inputs["embedding"], activities))
    return Baselines(fitted, limu_bert, extractor)
