"""One dial: a profile names the machine, and everything else follows from it.

- One YAML file per profile beside this module: ``smoke``, ``cpu``, ``colab``, ``paper``; or a path to your own.
- Validated by pydantic: an unknown key, a missing one, or a value out of range is an error that names it.
- Nothing else in the library or the book holds a hyperparameter.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ProfileError

FOLDER = Path(__file__).resolve().parent
Share = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    """A part of a profile: frozen; unknown keys, infinity and NaN are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


STEPS = 120  # of a window, as ``signals.LENGTH`` says: a floor above this one


class Data(Section):
    """What is read and how it is cut (chapter 1)."""

    sets: list[str] = Field(min_length=1)
    subjects: list[str] | None = None
    processes: int = Field(default=1, ge=1)
    test_subjects: list[str] = Field(min_length=1)
    validation_subjects: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self):
        shared = set(self.test_subjects) & set(self.validation_subjects)
        if shared:
            raise ValueError(f"subjects {sorted(shared)} are both test and validation subjects")
        return self


class Training(Section):
    """What every training run has.

    ``batch_size`` counts the samples of one forward pass over all processes together: each of N takes
    ``batch_size / N``, so a profile means the same on one GPU and on eight. One step of the optimizer sees
    ``accumulate`` such batches.
    """

    epochs: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    scheduler: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)


class Network(Section):
    """LIMU-BERT, or a variant of it; the defaults are the published network (chapter 2)."""

    hidden_size: int = Field(default=72, ge=1)
    intermediate_size: int = Field(default=144, ge=1)
    num_hidden_layers: int = Field(default=4, ge=1)
    num_attention_heads: int = Field(default=4, ge=1)
    attention_gain: float = Field(default=2.0, ge=0)
    patch_size: int = Field(default=1, ge=1)
    block: Literal["published", "residual", "pre_norm"] = "published"
    share_layers: bool = True
    standardise: bool = False
    fine_channels: bool = False
    gravity_aligned: bool = False
    mask_token: bool = False

    @model_validator(mode="after")
    def _whole_heads(self):
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of the {self.num_attention_heads} attention heads"
            )
        return self


class Encoder(Training):
    """The encoder and its pretraining (chapter 2). Spans are counted in tokens of ``network.patch_size`` steps."""

    network: Network = Network()
    mask_ratio: float = Field(gt=0, lt=1)
    max_span: int = Field(ge=1)
    span_decay: float = Field(gt=0, lt=1)
    mask_zero_probability: float = Share
    max_turn: float = Field(default=0.0, ge=0, le=180)
    stride: int = Field(ge=1)
    compile: Literal["inductor", "aot_eager", "eager"] | None = None  # a backend of torch.compile


def _names_of_files(variants):
    """Refuse variants that could not be kept in a file each, or that would be trained for another time."""
    for name, changes in variants.items():
        if not name.strip() or set(name) & set('/\\:*?"<>|') or name.startswith("."):
            raise ValueError(f"the variant {name!r} needs a name that a file may have")
        if "epochs" in changes:
            raise ValueError(f"variant {name!r} sets epochs, but all are trained for comparison_epochs")
    return variants


class Represent(Training):
    """What the encoder is worth: against the published network, its variants, and few labels (chapter 2).

    The training settings are those of the classifiers, which take ``steps`` steps whatever the number of labels.
    """

    epochs: float = Field(default=1.0, gt=0)  # follows from ``steps``
    published: Encoder
    variants: dict[str, dict[str, Any]]
    comparison_epochs: float = Field(gt=0)
    shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    draws: int = Field(ge=1)
    steps: int = Field(ge=1)
    encoder_learning_rate: float = Field(ge=0)
    recurrent_learning_rate: float = Field(gt=0)

    @field_validator("shares")
    @classmethod
    def _each_once(cls, shares):
        if len(set(shares)) < len(shares):
            raise ValueError(f"a share is listed twice in {shares}")
        return shares

    @field_validator("variants")
    @classmethod
    def _names(cls, variants):
        return _names_of_files(variants)


class LanguageModel(Section):
    """The language model and how a chat with it is written."""

    name: str
    chat: Literal["chatml", "vicuna"]
    quantize: bool = False


class Align(Training):
    """The projector, and its training in front of the frozen language model (chapter 4)."""

    steps_per_token: int = Field(ge=0)
    summary_tokens: int = Field(ge=0)
    projector: Literal["linear", "mlp2x_gelu", "pool", "resampler"] = "mlp2x_gelu"
    standardise: bool
    warm_up_epochs: int = Field(ge=0)
    encoder_learning_rate: float = Field(default=0.0, ge=0)  # 0 leaves the encoder frozen, as published
    warm_up_learning_rate: float = Field(default=1e-3, gt=0)
    word_weight: float = Field(ge=0)
    caption_share: float = Share
    copies: int = Field(default=0, ge=0)  # of every training window, for this stage and the next
    copy_turn: float = Field(default=90.0, ge=0, le=180)
    copy_mirror: bool = False
    comparison_epochs: float = Field(ge=0)
    comparisons: dict[str, dict[str, Any]] = {}  # changes to this section, each aligned for ``comparison_epochs``
    projectors: dict[str, dict[str, Any]] = {}  # the same, each after ``projector_epochs`` of warm-up alone
    projector_epochs: int = Field(default=1, ge=1)

    @field_validator("comparisons", "projectors")
    @classmethod
    def _names(cls, variants):
        return _names_of_files(variants)

    @model_validator(mode="after")
    def _variants(self):
        for where in ("comparisons", "projectors"):
            for name in getattr(self, where):
                try:
                    self.variant(where, name)
                except ValidationError as error:
                    raise ValueError(f"{where}.{name}.{_first_mistake(error)}") from error
        return self

    def variant(self, where, name):
        """This section with the changes that ``comparisons`` or ``projectors`` lists under ``name``."""
        own = self.model_dump(exclude={"comparisons", "projectors"})
        return Align.model_validate(own | getattr(self, where)[name])

    @model_validator(mode="after")
    def _some_token(self):
        if not self.steps_per_token and not self.summary_tokens:
            raise ValueError("steps_per_token and summary_tokens are both 0: the model would get no sensor token")
        return self


class Tune(Training):
    """LoRA on the question-answer pairs (chapter 5)."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    targets: list[str] = Field(min_length=1)
    projector_learning_rate: float = Field(gt=0)
    encoder_learning_rate: float = Field(default=0.0, ge=0)  # 0 leaves the encoder frozen, as published
    turns: int = Field(ge=1, le=20)  # above five, further questions are made from the facts: see tuning_samples
    noted_share: float = Share


class Evaluate(Section):
    """The test on unseen subjects (chapter 6)."""

    batch_size: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    bootstrap: int = Field(ge=1)
    windows: int | None = Field(default=None, ge=1)


class Profile(Section):
    """All settings of one run of the pipeline."""

    name: str
    seed: int
    data: Data
    language_model: LanguageModel
    encoder: Encoder
    represent: Represent
    align: Align
    tune: Tune
    evaluate: Evaluate

    @model_validator(mode="after")
    def _encoders(self):
        encoders = {"encoder": self.encoder, "represent.published": self.represent.published}
        for name in self.represent.variants:
            where = f"represent.variants.{name}"
            try:
                encoders[where] = self.variant(name)
            except ValidationError as error:
                raise ValueError(f"{where}.{_first_mistake(error)}") from error
        for where, settings in encoders.items():
            if STEPS % settings.network.patch_size:
                raise ValueError(
                    f"{where}.network.patch_size: {settings.network.patch_size} does not divide the "
                    f"{STEPS} steps of a window"
                )
        return self

    def variant(self, name):
        """The ``encoder`` section with the changes that ``represent.variants`` lists under ``name``."""
        changes = dict(self.represent.variants[name])
        if isinstance(changes.get("network"), dict):  # anything else is refused with the rest
            changes["network"] = self.encoder.network.model_dump() | changes["network"]
        return Encoder.model_validate(self.encoder.model_dump() | changes)


def names():
    """Names of the profiles that come with the library."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def default_name():
    """``LLASA_PROFILE`` if set; ``colab`` on a machine with a CUDA GPU; else ``cpu``."""
    if os.environ.get("LLASA_PROFILE"):
        return os.environ["LLASA_PROFILE"]
    import torch

    return "colab" if torch.cuda.is_available() else "cpu"


def load(name=None):
    """Read a profile.

    Parameters
    ----------
    name : str or Path, optional
        One of :func:`names`, or a path to a YAML file. Default: :func:`default_name`.

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        Unknown name, unreadable file, unknown or missing key, value out of range.
    """
    name = str(name or default_name())
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ProfileError(f"There is no profile {name!r}. Choose one of {', '.join(names())}, or give a .yaml file.")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ProfileError(f"{path.name} is not valid YAML: {str(error).splitlines()[0]}. Mend the file.") from error
    except ValidationError as error:
        raise ProfileError(f"Profile {path.name}: {_first_mistake(error)}. Remove or mend this entry.") from error


def _first_mistake(error):
    """Where the first mistake is that pydantic found, and what it is, in one line."""
    first = error.errors()[0]
    where = [".".join(str(part) for part in first["loc"])] if first["loc"] else []
    said = first["msg"].removeprefix("Value error, ")
    said = "is not a known key" if first["type"] == "extra_forbidden" else said[:1].lower() + said[1:]
    return ": ".join([*where, said])
