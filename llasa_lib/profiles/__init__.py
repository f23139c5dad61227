"""One dial: a profile names the machine, and everything else follows from it.

- One YAML file per profile beside this module: ``smoke``, ``cpu``, ``colab``, ``paper``; or a path to your own.
- Validated by pydantic: an unknown key, a missing one, or a value out of range is an error that names it.
- Nothing else in the library or the book holds a hyperparameter.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ProfileError, first_line

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


Variants = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
"""Name of a variant -> its changes to the section that it varies."""


def _check_name(name):
    """Refuse a name that no file can have, or that would lead to another folder."""
    foreign = set(name) & set('/\\:*?"<>|') or not name.isprintable()
    if not name.strip() or len(name) > 60 or foreign or name[0] in ".-~":
        raise ValueError(f"{name[:60]!r} is no name that a file may have")
    return name


class Ablation(Section):
    """Variants beside what was chosen: those that are ``shown`` by default, and all of them in the full grid."""

    shown: list[str] | None = Field(default=None, min_length=1)
    full: dict[str, Any] = {}  # changes to this section for the full grid

    def grid(self, full=False):
        """This section, or as ``--full`` runs it: with every variant and the changes that ``full`` lists."""
        return type(self).model_validate(self.model_dump(exclude={"shown", "full"}) | self.full) if full else self

    def rows(self, table):
        """Names of the variants in a table that are made."""
        return [name for name in getattr(self, table) if self.shown is None or name in self.shown]

    def _check(self, tables, shared):
        """Refuse variants that could not be kept in a file each, or that would change what all rows share."""
        variants = [item for table in tables for item in getattr(self, table).items()]
        for name, changes in variants:
            _check_name(name)
            for key in sorted(shared & set(changes)):
                raise ValueError(f"variant {name!r} sets {key}, but that is the same for all")
        unknown = sorted(set(self.shown or ()) - {name for name, _ in variants})
        if unknown:
            raise ValueError(f"shown: there is no variant {unknown[0]!r}")
        for table in tables:
            if not self.rows(table) or table in self.full:
                raise ValueError(f"shown has to name some of the {table}, and full has all of them already")
        if self.full:
            try:
                self.grid(full=True)
            except ValidationError as error:
                raise ValueError(f"full.{_first_mistake(error)}") from error
        return self


class Ablate(Ablation, Training):
    """What the encoder is worth: against the published network, its variants, and few labels (chapter 2).

    The training settings are those of the classifiers, which take ``steps`` steps whatever the number of labels.
    """

    epochs: float = Field(default=1.0, gt=0)  # follows from ``steps``
    published: Encoder
    variants: Variants  # of ``encoder``, each trained for ``comparison_epochs``
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

    @model_validator(mode="after")
    def _tables(self):
        return self._check(["variants"], {"epochs"})


class Compare(Ablation):
    """What sensor tokens bring and cost: variants of the alignment, on validation subjects (chapter 4)."""

    comparisons: Variants  # of ``align``, each aligned for ``steps``
    projectors: Variants  # of ``align``, each after its warm-up alone
    warm_up_epochs: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    windows: int | None = Field(default=None, ge=1)  # of the training corpus; default: all
    judges: int | None = Field(default=None, ge=1)  # of the validation windows; default: all

    @model_validator(mode="after")
    def _tables(self):
        shared = {"epochs", "batch_size", "caption_share", "warm_up_epochs", "copies"}
        return self._check(["comparisons", "projectors"], shared)


class LanguageModel(Section):
    """The language model and how a chat with it is written."""

    name: str
    chat: Literal["chatml", "vicuna"]
    quantize: bool = False


class Caption(Section):
    """The texts, and augmented copies of every training window with texts of their own (chapter 3)."""

    copies: list[Literal["mirrored", "alone", "pocket", "limb"]] = []


class Align(Training):
    """The projector, and its training in front of the frozen language model (chapter 4)."""

    steps_per_token: int = Field(ge=0)
    summary_tokens: int = Field(ge=0)
    projector: Literal["linear", "mlp2x_gelu", "pool", "resampler"] = "mlp2x_gelu"
    standardise: bool
    warm_up_epochs: int = Field(ge=0)
    encoder_learning_rate: float = Field(default=0.0, ge=0)  # 0 leaves the encoder frozen, as published
    warm_up_learning_rate: float = Field(default=1e-3, gt=0)
    contrastive_weight: float = Field(ge=0)
    caption_share: float = Share

    @model_validator(mode="after")
    def _some_token(self):
        if not self.steps_per_token and not self.summary_tokens:
            raise ValueError("steps_per_token and summary_tokens are both 0: the model would get no sensor token")
        if self.encoder_learning_rate and not self.steps_per_token:
            raise ValueError("encoder_learning_rate: no token is made of the encoder's states, as steps_per_token is 0")
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
    measured_share: float = Share


class Evaluate(Section):
    """The test on unseen subjects (chapter 6)."""

    batch_size: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    bootstrap: int = Field(ge=1)
    windows: int | None = Field(default=None, ge=1)


class Profile(Section):
    """All settings of one run of the pipeline."""

    name: Annotated[str, AfterValidator(_check_name)]  # of the folder below artifacts/
    seed: int
    data: Data
    language_model: LanguageModel
    encoder: Encoder
    ablate: Ablate
    caption: Caption = Caption()
    align: Align
    compare: Compare
    tune: Tune
    evaluate: Evaluate

    @model_validator(mode="after")
    def _encoders(self):
        published = {"encoder": self.encoder, "ablate.published": self.ablate.published}
        for where, settings in (published | self._variants("ablate", "variants")).items():
            patch = settings.network.patch_size
            if STEPS % patch:
                raise ValueError(f"{where}.network.patch_size: {patch} does not divide the {STEPS} steps of a window")
            if not round(settings.mask_ratio * (STEPS // patch)):
                raise ValueError(f"{where}.mask_ratio: {settings.mask_ratio} of {STEPS // patch} tokens hides none")
        patch = self.encoder.network.patch_size
        if STEPS % (6 * patch):
            raise ValueError(
                f"encoder.network.patch_size: {STEPS // patch} tokens cannot be cut into the six pieces that the "
                "recurrent classifier of ablate reads"
            )
        if self.tune.encoder_learning_rate and not self.align.steps_per_token:
            raise ValueError("tune.encoder_learning_rate: no token is made of the encoder's states")
        tables = [self._variants("compare", table) for table in ("comparisons", "projectors")]
        for where, settings in ({"align": self.align} | tables[0] | tables[1]).items():
            steps = settings.steps_per_token
            if steps and (STEPS % steps or steps % patch):
                raise ValueError(
                    f"{where}.steps_per_token: {steps} has to divide the {STEPS} steps of a window, and to be a "
                    f"multiple of the {patch} steps in a token of the encoder"
                )
        return self

    def _variants(self, section, table):
        """{where it stands: settings} of every variant in a table; a mistake in one is named with it."""
        found = {}
        for name in getattr(getattr(self, section), table):
            where = f"{section}.{table}.{name}"
            try:
                found[where] = self.variant(name, table)
            except ValidationError as error:
                raise ValueError(f"{where}.{_first_mistake(error)}") from error
        return found

    def variant(self, name, table="variants"):
        """The section ``encoder`` or ``align`` with the changes of a variant.

        ``table`` is ``variants`` of the section ``ablate``, or ``comparisons`` or ``projectors`` of ``compare``.
        """
        if table != "variants":
            return Align.model_validate(self.align.model_dump() | getattr(self.compare, table)[name])
        changes = dict(self.ablate.variants[name])
        if isinstance(changes.get("network"), dict):  # anything else is refused with the rest
            changes["network"] = self.encoder.network.model_dump() | changes["network"]
        return Encoder.model_validate(self.encoder.model_dump() | changes)


def names():
    """Names of the profiles that come with the library."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def default_name():
    """``LLASA_PROFILE`` if set; else ``cpu``, also beside a GPU: larger ones take hours there, and are a choice."""
    return os.environ.get("LLASA_PROFILE") or "cpu"


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
        return Profile.model_validate(yaml.load(path.read_text(encoding="utf-8"), _Shallow))
    except ValidationError as error:
        raise ProfileError(f"Profile {path.name}: {_first_mistake(error)}. Remove or mend this entry.") from error
    # A date that no calendar has, and bytes that are no text, are ValueErrors.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(f"{path.name} is not valid YAML: {first_line(error)}. Mend the file.") from error


class _Shallow(yaml.SafeLoader):
    """Refuses brackets within brackets within brackets: each costs PyYAML as much time as all around it."""

    def fetch_flow_collection_start(self, token):
        if self.flow_level >= 20:
            raise yaml.YAMLError("more than 20 brackets within each other")
        super().fetch_flow_collection_start(token)


def _first_mistake(error):
    """Where the first mistake is that pydantic found, and what it is, in one line."""
    first = error.errors()[0]
    where = [".".join(str(part) for part in first["loc"])] if first["loc"] else []
    said = first["msg"].removeprefix("Value error, ")
    said = "is not a known key" if first["type"] == "extra_forbidden" else said[:1].lower() + said[1:]
    return ": ".join([*where, said])
