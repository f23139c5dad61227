"""Which steps are hidden in pretraining: spans, for a whole batch at once."""

import torch

from llasa_lib.errors import ModelError


def mask_spans(batch_size, length=120, ratio=0.15, max_span=10, p=0.2, skip_last=False, generator=None):
    """Choose the steps to hide, in spans, for a whole batch.

    Span lengths n in 1..max_span come with probability proportional to p (1 - p)^(n - 1) (SpanBERT's choice,
    Joshi et al. 2020); anchors are uniform, and one that is hidden already is drawn again. The last span is
    cut so that the count is exact.

    Parameters
    ----------
    batch_size, length : int, windows and time steps.
    ratio : float, share of steps to hide; 0.15 of 120 is 18.
    max_span : int, longest span drawn. Two spans may touch and look like a longer one.
    p : float, parameter of the geometric distribution.
    skip_last : bool, never hide the last step, as the published code does.
    generator : torch.Generator; None uses torch's global one.

    Returns
    -------
    (batch_size, length) bool tensor with ``round(ratio * length)`` True in every row.

    Raises
    ------
    ModelError
        If that many steps cannot be hidden.
    """
    goal, usable = round(ratio * length), length - skip_last
    if not 1 <= goal <= usable or max_span < 1:
        raise ModelError(
            f"Cannot hide {goal} of {usable} steps in spans of at most {max_span}; choose another mask ratio."
        )
    chances = p * (1 - p) ** torch.arange(max_span, dtype=torch.float64)
    steps = torch.arange(length)
    mask = torch.zeros(batch_size, length, dtype=torch.bool)
    left = torch.full((batch_size, 1), goal)
    while left.any():  # a handful of rounds: one span per window and round, all windows at once
        spans = torch.multinomial(chances, batch_size, replacement=True, generator=generator)[:, None] + 1
        anchors = torch.randint(length, (batch_size, 1), generator=generator)
        ends = (anchors + torch.minimum(spans, left)).clamp(max=usable)
        mask |= (steps >= anchors) & (steps < ends) & ~mask.gather(1, anchors)
        left = goal - mask.sum(1, keepdim=True)
    return mask


def choose_hidden(mask, zero_probability=0.8, generator=None):
    """Masked steps whose content is really taken away: all of them in most windows, none in the rest.

    The windows left untouched (one in five) teach the encoder to describe steps that it can see as well.

    Parameters
    ----------
    mask : (B, T) bool tensor.
    zero_probability : float, chance of each window to have its masked steps hidden.
    generator : torch.Generator; None uses torch's global one.

    Returns
    -------
    (B, T) bool tensor.
    """
    return mask & (torch.rand(len(mask), generator=generator) < zero_probability)[:, None]


def hide(imu_values, mask, zero_probability=0.8, generator=None):
    """Zero the masked steps in most windows; see :func:`choose_hidden`.

    Parameters
    ----------
    imu_values : (B, T, 6) tensor, normalised.
    mask, zero_probability, generator : as for :func:`choose_hidden`.

    Returns
    -------
    (B, T, 6) tensor; the input is not changed.
    """
    return imu_values.masked_fill(choose_hidden(mask, zero_probability, generator)[..., None], 0.0)
