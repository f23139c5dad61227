"""What a sensor language model has to beat, trained on the same windows of the same people."""

from dataclasses import dataclass

import numpy as np

from .. import encoder, signals


@dataclass
class Baselines:
    """Fitted classifiers; :meth:`predict` gives {name: list of activities}."""

    models: dict
    limu_bert: encoder.LimuBertModel

    def predict(self, windows):
        """Predict (N, T, 6) windows in SI units with every baseline."""
        inputs = _inputs(windows, self.limu_bert)
        return {name: list(model.predict(inputs[kind])) for name, (kind, model) in self.models.items()}


def _inputs(windows, limu_bert):
    return {
        "summary": signals.summarise(windows),
        "embedding": encoder.pool(encoder.embed(limu_bert, windows)),
    }


def fit_baselines(windows, activities, limu_bert, seed=0):
    """Fit majority, random forest, logistic regression, and the encoder's linear probe.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
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
        "random forest, 132 statistics": (
            "summary",
            RandomForestClassifier(n_estimators=300, random_state=seed, n_jobs=2),
        ),
        "logistic regression, 132 statistics": ("summary", linear),
    }
    inputs = _inputs(windows, limu_bert)
    activities = np.asarray(activities)
    fitted = {name: (kind, model.fit(inputs[kind], activities)) for name, (kind, model) in models.items()}
    fitted["encoder, linear probe"] = ("embedding", encoder.linear_probe(inputs["embedding"], activities))
    return Baselines(fitted, limu_bert)
