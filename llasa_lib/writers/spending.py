"""What writing costs: an estimate before, and a budget that is never exceeded."""

import math
import threading
from dataclasses import dataclass

from llasa_lib.errors import WriterError


@dataclass(frozen=True)
class Price:
    """Price of a million tokens, read and written, in any currency.

    Raises
    ------
    WriterError
        If one of them is below zero, or no number.
    """

    prompt: float
    answer: float

    def __post_init__(self):
        for price in (self.prompt, self.answer):
            if not 0 <= price < math.inf:
                raise WriterError(f"a million tokens cannot cost {price:g}. Give a price of zero or more.")

    def of(self, prompt_tokens, answer_tokens):
        """What so many tokens cost."""
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / 1e6


@dataclass(frozen=True)
class Budget:
    """The most that a journal may cost, with what it has cost before.

    Parameters
    ----------
    tokens : int, optional, read and written together.
    money : float, optional, in the currency of ``price``.
    price : Price, needed with ``money``.

    Raises
    ------
    WriterError
        A budget of nothing, or of money without a price, or at a price of nothing.
    """

    tokens: int | None = None
    money: float | None = None
    price: Price | None = None

    def __post_init__(self):
        for name, value in (("tokens", self.tokens), ("money", self.money)):
            if value is not None and not value > 0:
                raise WriterError(
                    f"a budget of {value:g} {name} buys nothing, so nothing was sent. Give more, or none."
                )
        if self.money is not None and self.price is None:
            raise WriterError("a budget of money needs the price of a million tokens, read and written.")
        if self.money is not None and not (self.price.prompt or self.price.answer):
            raise WriterError("a budget of money holds nothing back where tokens cost nothing. Give one of tokens.")

    def covers(self, prompt_tokens, answer_tokens):
        """Whether so many tokens are within the budget."""
        if self.tokens is not None and prompt_tokens + answer_tokens > self.tokens:
            return False
        return self.money is None or self.price.of(prompt_tokens, answer_tokens) <= self.money


@dataclass(frozen=True)
class Estimate:
    """What a run from the start may cost, if every answer is as long as allowed. Repairs come on top.

    Attributes
    ----------
    requests, prompt_tokens, answer_tokens : int
    money : float or None, in the currency of the price.
    """

    requests: int
    prompt_tokens: int
    answer_tokens: int
    money: float | None

    def __str__(self):
        money = "" if self.money is None else f", {self.money:.2f} in the currency of the prices"
        return (
            f"{self.requests} requests, about {self.prompt_tokens:,} tokens to read and at most "
            f"{self.answer_tokens:,} to write{money}; repairs come on top"
        )


class Purse:
    """A budget that several threads spend from: what a request may cost at most is set aside before it is sent."""

    def __init__(self, budget, prompt_tokens=0, answer_tokens=0):
        self.budget = budget or Budget()
        self._spent = [prompt_tokens, answer_tokens]
        self._lock = threading.Lock()

    def take(self, prompt_tokens, answer_tokens):
        """Set tokens aside; False, and nothing is, if the budget does not cover them."""
        with self._lock:
            if not self.budget.covers(self._spent[0] + prompt_tokens, self._spent[1] + answer_tokens):
                return False
            self._add(prompt_tokens, answer_tokens)
            return True

    def settle(self, taken, used):
        """Put back what a request did not use: ``(prompt tokens, answer tokens)`` before and after."""
        with self._lock:
            self._add(used[0] - taken[0], used[1] - taken[1])

    def _add(self, prompt_tokens, answer_tokens):
        self._spent[0] += prompt_tokens
        self._spent[1] += answer_tokens
