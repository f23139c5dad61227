"""One OpenAI-compatible server: asked again after a fault that passes, given up after one that stays.

Nothing that it sends is trusted: neither its length, nor its pace, nor its form, nor that it keeps the key to itself.
"""

import base64
import contextlib
import email.utils
import importlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote, urlsplit

import openai
import pydantic
import tenacity

from llasa_lib.errors import WriterError

# What the client is built on: httpx, whose name has changed.
httpx = importlib.import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])

LARGEST_ANSWER = 4 << 20  # bytes; a thousand times what is asked for
MOST_CHARACTERS = 40  # of a token; a text longer than that was not cut where it was to be
LONGEST_WAIT = 120.0  # s; a server that asks for more has no quota left today, and waiting would only look like work


@dataclass(frozen=True)
class Answer:
    """What the model wrote, what it cost in tokens, and whether it ran into the limit."""

    text: str
    prompt_tokens: int | None
    answer_tokens: int | None
    cut: bool


class _Message(pydantic.BaseModel):
    content: str | None = None


class _Choice(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(pydantic.BaseModel):
    """What is read of a server's answer."""

    choices: Annotated[list[_Choice], pydantic.Field(min_length=1)]
    usage: object = None


class _HalfAnswer(Exception):
    """JSON that breaks off."""


class _Limited(httpx.SyncByteStream):
    """A body that may not grow without end."""

    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        size = 0
        for chunk in self.stream:
            size += len(chunk)
            if size > LARGEST_ANSWER:
                raise WriterError(f"sent more than {LARGEST_ANSWER >> 20} MiB for one answer")
            yield chunk

    def close(self):
        self.stream.close()


class Server:
    """A chat model behind an OpenAI-compatible address (vLLM, Ollama, llama.cpp, transformers serve, OpenAI).

    Parameters
    ----------
    model : str, optional
        Its name there. Default: ``LLASA_WRITER_MODEL``.
    base_url : str, optional
        Usually ends in ``/v1``. Default: ``OPENAI_BASE_URL``, else OpenAI itself.
    temperature : float
    timeout : float, s, for one request, from its first byte to the last of the answer.
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
            shown = base_url.rpartition("@")[2][:60]  # what stands before it may be a password
            raise WriterError(f"{shown!r} is no address of a server; it begins with http:// or https://.")
        if not self._key.isascii():
            raise WriterError("OPENAI_API_KEY holds characters that no key has. Set it again.")
        self._secrets = _secrets(self._key, base_url)
        self._watched = threading.local()
        hooks = {"request": [self._watch], "response": [self._limit]}
        # A server of one's own asks for no key, but the client insists on one. Retries are counted here, not there.
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=base_url,
            timeout=timeout,
            max_retries=0,
            # A connection for each request: so it is known which one to cut. Packed, an answer could be of any size.
            default_headers={"Connection": "close", "Accept-Encoding": "identity"},
            http_client=openai.DefaultHttpxClient(timeout=timeout, event_hooks=hooks),
        )
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
            return self._read(retrying(self._send, messages, max_tokens), max_tokens * MOST_CHARACTERS)
        except (openai.OpenAIError, _HalfAnswer) as error:
            # The client's own message and cause are left out: they may quote the key.
            raise WriterError(self._explain(error)) from None

    def _send(self, messages, max_tokens):
        self._watched.late = False
        timer = threading.Timer(self.timeout, self._cut, [self._watched.__dict__])
        timer.daemon = True
        timer.start()
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=self.model, messages=messages, max_tokens=max_tokens, temperature=self.temperature
            )
        except openai.APIConnectionError as error:
            if self._watched.late:
                raise openai.APITimeoutError(request=error.request) from None
            raise
        finally:
            timer.cancel()
        return self._check(raw.http_response)

    def _watch(self, request):
        """Remember the connection of the request that this thread is about to send."""
        watched = self._watched.__dict__

        def trace(event, info):
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                watched["socket"] = info["return_value"].get_extra_info("socket")

        request.extensions = {**request.extensions, "trace": trace}

    @staticmethod
    def _cut(watched):
        """End a request that has lasted too long: a server that sends a byte now and then never times out."""
        watched["late"] = True
        with contextlib.suppress(OSError, KeyError):
            watched["socket"].shutdown(socket.SHUT_RDWR)

    def _limit(self, response):
        if response.headers.get("content-encoding", "identity") != "identity":
            raise WriterError("packs its answers, though it was asked not to")
        response.stream = _Limited(response.stream)

    def _check(self, response):
        """The answer, if it has the form of one."""
        if "json" in response.headers.get("content-type", ""):
            try:
                return _Completion.model_validate_json(response.content)
            except pydantic.ValidationError as error:
                if "EOF" in error.errors(include_url=False, include_input=False)[0]["msg"]:
                    raise _HalfAnswer from None
        return None

    def _read(self, completion, longest):
        if completion is None:
            raise WriterError(
                f"{self.address} answered, but not as an OpenAI-compatible server does. "
                "Check OPENAI_BASE_URL; it usually ends in /v1."
            )
        choice, usage = completion.choices[0], completion.usage if isinstance(completion.usage, dict) else {}
        used = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        used = (tokens if type(tokens) is int else None for tokens in used)
        text = self._hide(choice.message.content or "")
        return Answer(text[:longest], *used, choice.finish_reason == "length" or len(text) > longest)

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
        if isinstance(error.__cause__, WriterError):  # one of ours, from inside the client
            return f"{self.address} {error.__cause__}. Is OPENAI_BASE_URL the address of a language model's server?"
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
        said = " ".join(self._hide(str(body.get("message") or body.get("detail") or "")).split())[:200]
        return f"It says: {said!r}. " if said else ""

    def _hide(self, text):
        """A text of the server without the key and the password."""
        for secret in self._secrets:
            text = text.replace(secret, "(the key)")
        return text


def _secrets(key, base_url):
    """Key and password as they are and as they are sent, the longest first."""
    user, _, password = (urlsplit(base_url or "").netloc.rpartition("@")[0]).partition(":")
    found = {key, password, unquote(password)}
    found.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode() if password else "")
    return sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True)


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
    if isinstance(error.__cause__, WriterError):
        return False
    # Half a body that was announced as whole reaches us as broken JSON.
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | _HalfAnswer)


def _retry_after(error):
    """Seconds that a server asks to wait, from its ``Retry-After`` (seconds or a date); 0 if it does not say."""
    value = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        return max(0.0, email.utils.mktime_tz(email.utils.parsedate_tz(value)) - time.time())
    return 0.0
