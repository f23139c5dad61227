"""Text of a reader or a corpus stays text: it never becomes a special token, a turn of a chat or a window.

A tokenizer finds its special tokens in a rendered chat wherever they stand, so a question that holds the format's own
markers would end the reader's turn and speak for the model. They are cut apart before the chat is written down:
:func:`plain` puts :data:`CUT` behind the first character of each, and the processor encodes the two sides alone. Text
without markers is encoded as it always was.
"""

import functools
import re
import unicodedata

from jinja2 import TemplateError

from llasa_lib.errors import ModelError

CUT = "\ufdd0"  # a noncharacter: Unicode reserves it for a program's own use, so no text holds it
_MEASURED = re.compile(r"[\W_]*measured\W*:", re.IGNORECASE)


class Prompt(str):
    """A finished prompt of a program: its markers and placeholders count, a reader's inside it are cut apart."""

    __slots__ = ()


def check_question(text, placeholder, measured):
    """Refuse what is no question.

    Parameters
    ----------
    text : str
    placeholder : str
        What stands for a window.
    measured : bool
        Whether a line of measured values may stand in it.

    Raises
    ------
    ModelError
    """
    if not isinstance(text, str) or not text.strip():
        raise ModelError("A question is empty: ask something, in words.")
    if placeholder in text:
        raise ModelError(
            f"The question holds {placeholder}, which stands for a window. Leave it out: it is added for you. A "
            "finished prompt is given as prompt, not as text."
        )
    if not measured and any(map(_MEASURED.match, text.splitlines())):
        raise ModelError(
            "A line of the question begins with 'Measured:', as the line does that a program measures. Word it in "
            "another way, or say measurements=False and the line is the model's only one."
        )
    if not text.isascii() and any(unicodedata.category(sign) == "Cs" for sign in text):
        raise ModelError("The question holds half a character (a lone surrogate): write it as UTF-8 text.")


def plain(text, tokenizer):
    """Text with a cut in each marker of the chat format, so that it is encoded as the characters it consists of.

    Parameters
    ----------
    text : str
    tokenizer : PreTrainedTokenizerBase

    Returns
    -------
    str
        The same text where it holds no marker, in whatever case or width.
    """
    markers = _markers(tokenizer, len(tokenizer), str(tokenizer.chat_template))
    text = text.replace(CUT, "")
    if text.isascii() or not markers.search(unicodedata.normalize("NFKC", text)):
        return markers.sub(rf"\1{CUT}", text)
    # Some tokenizers normalise before they look: wide letters would then be markers again.
    return markers.sub(rf"\1{CUT}", unicodedata.normalize("NFKC", text))


@functools.lru_cache(maxsize=8)
def _markers(tokenizer, size, template):
    """A pattern that finds the first character of each marker: special tokens, and what the template opens turns with.

    An added token of letters or spaces alone is a word of the vocabulary like others.
    """
    added = tokenizer.added_tokens_decoder.values()
    tokens = {token.content for token in added if token.special or re.search(r"[^\w\s▁]", token.content)}
    tokens = {token for token in tokens | set(tokenizer.all_special_tokens) if len(token) > 1}
    between = "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)"
    written = {piece.strip() for turn in _turns(tokenizer) for piece in re.split(between, turn)}
    tokens |= {piece for piece in written if len(piece) > 1 and re.search(r"[^\w\s]", piece)}
    found = "|".join(map(re.escape, sorted(tokens))) or "(?!)"
    return re.compile(f"(?=(?:{found}))(.)", re.IGNORECASE | re.DOTALL)


def _turns(tokenizer):
    """What the chat template writes between one message and the next."""
    said = [{"role": role, "content": CUT} for role in ("user", "assistant", "user")]
    try:
        return tokenizer.apply_chat_template(said, tokenize=False).split(CUT)[1:-1]
    except (TemplateError, ValueError, TypeError):
        return []  # no template, or one that takes other chats
