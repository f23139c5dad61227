"""Every error a reader can cause, as one small family.

The command line turns a :class:`LlasaError` into one sentence and exit code 2; anything else is a defect of
the library and keeps its traceback. A message says what is wrong, where, and what to do.
"""


def first_line(error):
    """What another library's error says, without its further lines; the error's kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class LlasaError(Exception):
    """Base of all errors that a reader can cause and mend."""


class RecordingError(LlasaError, ValueError):
    """A recording, or a file that should hold one, cannot be used as it is."""


class DataError(LlasaError):
    """A data set or model package is missing, incomplete, or not the one that was published."""


class FetchError(DataError):
    """A data set is not on this machine, and cannot be fetched: those who read several may go on without it."""


class ProfileError(LlasaError, ValueError):
    """A profile has an unknown key, a value out of range, or an unknown name."""


class SplitError(LlasaError, ValueError):
    """Two splits share a subject or a window."""


class ArtifactError(LlasaError):
    """Something a stage saved is unreadable or does not belong to what it is used with."""


class ModelError(LlasaError, ValueError):
    """A model or processor got inputs that it cannot use."""


class WindowError(RecordingError, ModelError):
    """Windows are not what every later stage reads: six seconds of m/s^2 and rad/s."""


class WriterError(LlasaError):
    """A language model behind a server cannot be asked, or what it answers cannot be used."""
