"""Knowing what one does not know: how far a moving window is from every activity that was taught.

The distance is Mahalanobis' from the nearest activity's mean, over bands of the calibrated statistics. The largest one
that counts as familiar is that of nineteen in twenty windows of validation people.
"""

import numpy as np
import scipy

from llasa_lib import signals
from llasa_lib.model.processing import POCKET, said_placement

BANDS = ((0, 2), (2, 5), (5, 9), (9, 14), (14, 19))  # of the 19 spectral lines
IN_A_POCKET = 1.6  # nobody of the training people wore a pocket, which shakes in ways of its own: this much further
TIPPING = 1.15  # rad/s, root mean square; no waist tips as fast as a thigh or an arm that swings
LASTING = 5  # windows: shorter, and it was something in between
FAR = 1.15  # shares of what is familiar; validation people's own ways of descending stay below
TEMPERATURES = np.geomspace(0.5, 4.0, 31)
REASONS = {
    "rougher": ("gentler", "acceleration varies by {:.1f} m/s²", "{:.1f} to {:.1f}"),
    "turning faster": ("turning more slowly", "rotation is {:.1f} rad/s", "{:.1f} to {:.1f}"),
}


def swings(windows):
    """Whether the sensor hangs on a leg or an arm, by how fast it tips while the person moves: (N,) bool."""
    return np.nan_to_num(windows.tipping) > TIPPING


def fit(extractor, windows, activities, validation):
    """Learn what is familiar; it is kept in the extractor's ``familiar``.

    Parameters
    ----------
    extractor : ImuFeatureExtractor, fitted
    windows, validation : signals.Calibrated
        Of training people and of validation people.
    activities : sequence of N str
        Of ``windows``.
    """
    from sklearn.covariance import LedoitWolf

    names = np.asarray(activities)
    # A posture in which somebody stirred now and then is no way of moving.
    gaits = [name for name in np.unique(names) if windows.moving[names == name].mean() > 0.5]
    rows = windows.moving & (windows.count > 0) & np.isin(names, gaits)
    if not rows.any() or not validation.moving.any():
        return
    bands, names = _bands(extractor.summary(windows)[rows]), names[rows]
    classes, numbers = np.unique(names, return_inverse=True)
    means = np.stack([bands[numbers == n].mean(0) for n in range(len(classes))])
    sizes = np.quantile(_sizes(windows.imu[rows]), [0.005, 0.995], axis=0)
    kept = {"means": means, "ranges": sizes}
    kept["precision"] = LedoitWolf(assume_centered=True).fit(bands - means[numbers]).precision_
    extractor.familiar = {name: np.round(value, 5).tolist() for name, value in kept.items()}
    extractor.familiar["activities"] = classes.tolist()
    found = distance(extractor, validation)[0][validation.moving]
    extractor.familiar["threshold"] = float(np.quantile(found, 0.95))


def is_whole(familiar):
    """Whether what an extractor keeps, which may be anybody's, is complete and finite, or nothing at all."""
    size = len(signals.FRAME_CHANNELS) * (2 + len(BANDS))
    try:
        shapes = {"temperature": ()} if "temperature" in familiar else {}
        if set(familiar) - set(shapes):
            count = len(familiar["activities"])
            shapes |= {"means": (count, size), "precision": (size, size), "ranges": (2, 2), "threshold": ()}
        arrays = {name: np.array(familiar[name], dtype=float) for name in shapes}
    except (KeyError, TypeError, ValueError):
        return False
    whole = all(arrays[name].shape == shape and np.isfinite(arrays[name]).all() for name, shape in shapes.items())
    return whole and arrays.get("temperature", 1.0) > 0


def distance(extractor, windows):
    """How far windows (N,) are from the nearest activity, and which that is; 0 where nobody moves."""
    kept, bands = extractor.familiar, _bands(extractor.summary(windows))
    away = bands[:, None] - np.array(kept["means"])  # (N, K, 70)
    squares = np.einsum("nki,ij,nkj->nk", away, np.array(kept["precision"]), away)
    return np.sqrt(squares.min(axis=1).clip(0)) * windows.moving, squares.argmin(axis=1)


def known(extractor, windows):
    """Whether each window is like something that was taught, (N,) bool. Stillness is."""
    return _strangeness(extractor, windows) <= 1


def known_in_time(extractor, windows):
    """The same of windows (N,) of one recording in the order of time: what is unlike anything taught lasts.

    Getting up or turning round fills a few windows. And where a person descends in a way of her own, window after
    window lies just beyond what is familiar; another movement lies far beyond.
    """
    strange = _strangeness(extractor, windows)
    runs, count = scipy.ndimage.label(scipy.ndimage.grey_opening(strange, LASTING, mode="nearest") > 1)
    typical = np.append(0.0, scipy.ndimage.median(strange, runs, np.arange(1, count + 1)) if count else [])
    return typical[runs] <= FAR


def _strangeness(extractor, windows):
    """How far each window is from what was taught, in shares of the largest distance that counts as familiar: (N,)."""
    if "means" not in extractor.familiar:
        return np.zeros(len(windows))
    told = np.array([said_placement(word) for word in windows.placement])
    pocket = (told == POCKET) | ((told == "") & swings(windows))
    allowed = extractor.familiar["threshold"] * np.where(pocket, IN_A_POCKET, 1.0)
    return distance(extractor, windows)[0] / allowed


def fit_temperature(probabilities, truth):
    """By what log-probabilities (N, K) have to be divided, so that they are as sure as they are right.

    Parameters
    ----------
    probabilities : (N, K) array, of validation people
    truth : (N,) array of int

    Returns
    -------
    float
    """
    logits, rows = np.log(np.maximum(probabilities, 1e-12)), np.arange(len(truth))
    loss = {t: -scipy.special.log_softmax(logits / t, axis=1)[rows, truth].mean() for t in TEMPERATURES}
    return float(min(loss, key=loss.get))


def reason(extractor, window):
    """In words, why a window (:class:`signals.Calibrated` of one row) is unlike what was taught."""
    nearest = extractor.familiar["activities"][int(distance(extractor, window)[1][0])]
    said = []
    for value, low, high, (more, (less, told, taught)) in zip(
        _sizes(window.imu)[0], *extractor.familiar["ranges"], REASONS.items(), strict=True
    ):
        if not low <= value <= high:
            word = more if value > high else less
            said.append(f"{word} than anything taught: {told.format(value)}, taught was {taught.format(low, high)}")
    return "; ".join(said) or f"it repeats in another pattern than {nearest}, the nearest"


def _bands(summary):
    """(N, 446) -> (N, 70): spreads and five bands of lines of each of ten channels, no means."""
    table = summary[:, : len(signals.STATISTICS)].reshape(len(summary), -1, len(signals.FRAME_CHANNELS))
    lines = table[:, 3:]
    return np.concatenate([table[:, 1], table[:, 2], *(lines[:, a:b].mean(1) for a, b in BANDS)], axis=1)


def _sizes(imu):
    """What :data:`REASONS` speaks of, (N, 2): spread of |a| in m/s², mean rotation in rad/s."""
    acceleration, rotation = (np.linalg.norm(part, axis=2) for part in (imu[..., :3], imu[..., 3:]))
    return np.stack([acceleration.std(axis=1), rotation.mean(axis=1)], axis=1)
