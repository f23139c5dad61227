"""One OpenAI-compatible server: asked again after a fault that passes, given up after one that stays."""

import email.utils
import json
import os
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai
import tenacity

from llasa_lib.errors import WriterError

LONGEST_WAIT = 120.0  # s; a server that asks for more has no quota left today, and waiting would only look like work


@dataclass(frozen=True)
class Answer:
    """What the model wrote, what it cost in tokens, and whether it ran into the limit."""

    text: str
    prompt_tokens: int | None
    answer_tokens: int | None
    cut: bool


class Server:
    """A chat model behind an OpenAI-compatible address (vLLM, Ollama, llama.cpp, transformers serve, OpenAI).

    Parameters
    ----------
    model : str, optional
        Its name there. Default: ``LLASA_WRITER_MODEL``.
    base_url : str, optional
        Usually ends in ``/v1``. Default: ``OPENAI_BASE_URL``, else OpenAI itself.
    temperature : float
    timeout : float, s, for one request.
    attempts : int
        How often a request is sent before a fault that could pass (429, 5xx, a timeout, a broken connection, half a
        body) is taken to stay. Between them ``backoff``, twice that and so on, or what ``Retry-After`` asks for.
    backoff : float, s

    Raises
    ------
    WriterError
        Without a model, or with neither an address nor a key. The key comes from ``OPENAI_API_KEY`` alone.
    """

    def __init__(self, model=None, base_url=None, temperature=0.7, timeout=60.0, attempts=6, backoff=1.0):
        self.model = model or os.environ.get("LLASA_WRITER_MODEL")
        if not self.model:
            raise WriterError("No model is named. Set LLASA_WRITER_MODEL, or give its name on the server.")
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not self._key and not base_url:
            raise WriterError(
                "No server is named. Set OPENAI_BASE_URL (such as http://localhost:8000/v1) for one of your own, "
                "or OPENAI_API_KEY for OpenAI's."
            )
        if base_url and not _is_address(base_url):
            raise WriterError(f"{base_url!r} is no address of a server; it begins with http:// or https://.")
        if not self._key.isascii():
            raise WriterError("OPENAI_API_KEY holds characters that no key has. Set it again.")
        # A server of one's own asks for no key, but the client insists on one. Retries are counted here, not there.
        self._client = openai.OpenAI(api_key=self._key or "none", base_url=base_url, timeout=timeout, max_retries=0)
        self.address = self._client.base_url.netloc.decode()  # without user and password, which some addresses carry
        self.temperature, self.timeout, self.attempts = temperature, timeout, attempts
        self.retries = 0
        self._lock = threading.Lock()
        self._backoff = tenacity.wait_exponential(backoff, max=LONGEST_WAIT) + tenacity.wait_random(0, backoff)

    def ask(self, messages, max_tokens, halt=None):
        """Send one chat.

        Parameters
        ----------
        messages : list of dict (``role``, ``content``)
        max_tokens : int
        halt : threading.Event, optional
            Once it is set, a request that waits for its next attempt is given up.

        Returns
        -------
        Answer

        Raises
        ------
        WriterError
            What is wrong with the server, the key, the model or the request, and what to do.
        """
        halt = halt or threading.Event()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self.attempts), tenacity.stop_when_event_set(halt)),
            wait=self._wait,
            sleep=tenacity.sleep_using_event(halt),
            before_sleep=self._count,
            reraise=True,
        )
        try:
            return self._read(retrying(self._send, messages, max_tokens))
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            # The client's own message and cause are left out: they may quote the key.
            raise WriterError(self._explain(error)) from None

    def _send(self, messages, max_tokens):
        return self._client.chat.completions.create(
            model=self.model, messages=messages, max_tokens=max_tokens, temperature=self.temperature
        )

    def _read(self, completion):
        choices = getattr(completion, "choices", None)
        if not choices:
            raise WriterError(
                f"{self.address} answered, but not as an OpenAI-compatible server does. "
                "Check OPENAI_BASE_URL; it usually ends in /v1."
            )
        usage = completion.usage
        return Answer(
            choices[0].message.content or "",
            usage and usage.prompt_tokens,
            usage and usage.completion_tokens,
            choices[0].finish_reason == "length",
        )

    def _wait(self, state):
        return max(self._backoff(state), _retry_after(state.outcome.exception()))

    def _count(self, state):
        with self._lock:
            self.retries += 1

    def _explain(self, error):
        """One sentence: what is wrong, where, what to do."""
        tried = f"in {self.attempts} attempts"
        again = "What is written is kept: run the same command later to go on."
        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APITimeoutError):
            return f"{self.address} did not answer within {self.timeout:g} s {tried}. {again}"
        if isinstance(error, openai.APIConnectionError):
            return (
                f"{self.address} cannot be reached {tried} ({type(error.__cause__).__name__}). "
                f"Is the server running, and is OPENAI_BASE_URL its address? {again}"
            )
        if status in (401, 403):
            return f"{self.address} refuses the key ({status}). Set OPENAI_API_KEY to one that it accepts."
        if status == 404:
            return (
                f"{self.address} does not know the model {self.model!r}, or not this address (404). "
                "Check LLASA_WRITER_MODEL, and OPENAI_BASE_URL, which usually ends in /v1."
            )
        if status == 429:
            return f"{self.address} takes no more requests (429): its quota is used up. {self._says(error)}{again}"
        if status is not None and status >= 500:
            return f"{self.address} is out of order ({status}) {tried}. {again}"
        if status is not None:
            return (
                f"{self.address} refuses the request ({status}). {self._says(error)}Check the model's name and limits."
            )
        return f"{self.address} sent half an answer {tried}. {again}"

    def _says(self, error):
        """The server's own words, short and without the key."""
        body = error.body if isinstance(error.body, dict) else {}
        said = " ".join(str(body.get("message") or body.get("detail") or "").split())[:200]
        said = said.replace(self._key, "(the key)") if self._key else said
        return f"It says: {said!r}. " if said else ""


def _is_address(url):
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _passes(error):
    """Whether asking again can help."""
    if isinstance(error, openai.RateLimitError):
        return error.code != "insufficient_quota" and _retry_after(error) <= LONGEST_WAIT
    # Half a body that was announced as whole reaches us as broken JSON.
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | json.JSONDecodeError)


def _retry_after(error):
    """Seconds that a server asks to wait, from its ``Retry-After`` (seconds or a date); 0 if it does not say."""
    value = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0
