"""What a model costs before anybody runs it: parameters, operations, bytes, seconds (chapter 7).

- Arithmetic on a Llama-style configuration; no weight is made, and no GPU is asked.
- ``parameters``, ``lora_parameters``, ``projector_parameters``: exact.
- ``Step``: one step of training or answering. Its ``flops`` count matrix products, its ``activations`` what autograd
  saves, its ``memory`` what each GPU holds, alone or sharded.
- ``decode_flops``, ``decode_bytes``: one more token for each of several answers.
- ``seconds``: the slower of arithmetic and memory traffic. For the GPUs in ``MACHINES`` that is computed from the
  maker's published peaks and an assumed utilisation, never measured.

References: 2N and 6N, Kaplan et al. 2020; sharding, Rajbhandari et al. 2020; the roofline, Williams et al. 2009.
"""

import math
from dataclasses import dataclass

from .errors import ModelError

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TRAINED = ("nothing", "projector", "lora", "full")
FLOAT32 = 4  # bytes
NF4 = 0.5 + FLOAT32 / 64  # bytes per weight: 4 bits, and one float32 scale for each block of 64

# An assumption, not a measurement: the share of a data sheet's peak that a training step reaches.
ASSUMED_UTILISATION = 0.4


@dataclass(frozen=True)
class Machine:
    """Peaks of a device: operations per second, bytes per second, bytes, watts, and where they are written."""

    flops: float
    bandwidth: float
    memory: float = math.inf
    watts: float = math.nan
    source: str = "measured"


MACHINES = {
    "T4": Machine(65e12, 320e9, 16e9, 70, "NVIDIA T4 data sheet: float16 tensor cores, GDDR6"),
    "A100-80GB": Machine(312e12, 2.0e12, 80e9, 400, "NVIDIA A100 data sheet: bfloat16 tensor cores, dense, SXM"),
}


# --- parameters: exact --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameters:
    """Parameters of a language model by what they do."""

    words: int  # looked up, never multiplied
    matrices: int  # of all layers; every token meets each of them
    norms: int
    head: int  # a matrix of its own; 0 where it is the word matrix

    @property
    def total(self):
        """All of them."""
        return self.words + self.matrices + self.norms + self.head


def _widths(config):
    """(query width, key width) of the attention: heads times the size of a head."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return head * config.num_attention_heads, head * config.num_key_value_heads


def matrices(config):
    """Shapes of the seven matrices of one layer.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        Of a language model of the Llama family.

    Returns
    -------
    dict of str to (int, int)
        Name -> (width in, width out).
    """
    hidden, inner, (query, key) = config.hidden_size, config.intermediate_size, _widths(config)
    shapes = [(hidden, query), (hidden, key), (hidden, key), (query, hidden), *2 * [(hidden, inner)], (inner, hidden)]
    return dict(zip(MATRICES, shapes, strict=True))


def parameters(config):
    """Number of parameters of a Llama-style language model, without building it.

    Parameters
    ----------
    config : transformers.PreTrainedConfig

    Returns
    -------
    Parameters
    """
    words = config.vocab_size * config.hidden_size
    return Parameters(
        words=words,
        matrices=config.num_hidden_layers * sum(wide * tall for wide, tall in matrices(config).values()),
        norms=(2 * config.num_hidden_layers + 1) * config.hidden_size,
        head=0 if config.tie_word_embeddings else words,
    )


def lora_parameters(config, rank):
    """Number of parameters of LoRA adapters on all seven matrices: ``rank * (in + out)`` for each.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
    rank : int
    """
    return config.num_hidden_layers * rank * sum(map(sum, matrices(config).values()))


def projector_parameters(width, hidden):
    """Number of parameters of ``mlp2x_gelu``: Linear(width, hidden), GELU, Linear(hidden, hidden), both with bias."""
    return width * hidden + hidden + hidden * hidden + hidden


# --- one step -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes that one GPU holds."""

    weights: float
    gradients: float
    optimiser: float
    gathered: float  # weights of others, for as long as a layer works
    activations: float

    @property
    def total(self):
        """All of them; the allocator's fragments and the kernels' work space come on top."""
        return self.weights + self.gradients + self.optimiser + self.gathered + self.activations


@dataclass(frozen=True)
class Step:
    """One step of a language model behind a projector, on one GPU.

    The encoder is left out: it has 0.05 M parameters, and no gradient goes through it.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        Of the language model.
    batch : int
        Samples on this GPU.
    length : int
        Tokens of a sample: text and sensor.
    taught : float
        Tokens of a sample that have a label, on average. Only they go through the head.
    train : {"nothing", "projector", "lora", "full"}
        What is trained: nothing (an answer), the projector alone, projector and adapters, or everything.
    rank : int
        Of the adapters.
    dropout_mask : int
        Bytes per element of the mask that an adapter's dropout keeps: 0 without dropout, 1 on CUDA, 4 on a CPU.
    element : int
        Bytes of a frozen weight and of an activation: 4 for float32, 2 for float16 and bfloat16.
    four_bit : bool
        Frozen matrices in blocks of 4 bits (NF4); words, norms and head stay at ``element``.
    checkpointing : bool
        Keep only the input of every layer, and compute the rest again on the way back.
    projector_width : int
        Encoder width times states per token: 72 in the published model.

    Raises
    ------
    ModelError
        If ``train`` is unknown, or a number cannot be.
    """

    config: object
    batch: int
    length: int
    taught: float
    train: str = "projector"
    rank: int = 8
    dropout_mask: int = 0
    element: int = 2
    four_bit: bool = False
    checkpointing: bool = False
    projector_width: int = 72

    def __post_init__(self):
        if self.train not in TRAINED:
            raise ModelError(f"There is no way to train {self.train!r}. Choose one of {', '.join(TRAINED)}.")
        if self.batch < 1 or not 0 <= self.taught <= self.length:
            raise ModelError(
                f"A step of {self.batch} samples with {self.taught} of {self.length} tokens taught cannot be. "
                "Give at least one sample, and no more taught tokens than tokens."
            )

    @property
    def tokens(self):
        """Tokens of the batch."""
        return self.batch * self.length

    @property
    def adapters(self):
        """Parameters of the adapters."""
        return lora_parameters(self.config, self.rank) if self.train == "lora" else 0

    @property
    def trained(self):
        """Parameters that are trained."""
        projector = projector_parameters(self.projector_width, self.config.hidden_size)
        everything = parameters(self.config).total if self.train == "full" else 0
        return 0 if self.train == "nothing" else projector + self.adapters + everything

    def flops(self):
        """Operations of all matrix products: a multiplication and an addition are two.

        A weight costs 2 per token on the way in, 2 on the way back for the error of the layer below, and 2 for its own
        gradient if it is trained. Attention multiplies tokens with tokens, ``4 * length**2 * width`` per layer, and
        twice that on the way back. A kernel that skips what the causal mask hides needs up to half of it.
        """
        count, layers = parameters(self.config), self.config.num_hidden_layers
        per_weight = {"nothing": 2, "projector": 4, "lora": 4, "full": 6}[self.train]
        attention = 4 * self.batch * self.length**2 * _widths(self.config)[0] * layers
        total = per_weight * self.tokens * count.matrices + 6 * self.tokens * self.adapters
        total += per_weight * self.batch * self.taught * (count.head or count.words)
        total += attention * (1 if self.train == "nothing" else 3)
        if self.checkpointing and self.train != "nothing":
            # All but each layer's last product: on the way back nobody asks for its result.
            again = count.matrices - layers * self.config.hidden_size * self.config.intermediate_size
            total += 2 * self.tokens * (again + self.adapters) + attention
        return total

    def bytes(self):
        """Bytes that have to cross the memory's bus at least: weights once per pass, what autograd saves twice, and
        for a trained parameter eight float32 numbers (gradient, weight, two averages, each written and read)."""
        passes = 1 if self.train == "nothing" else 3 if self.checkpointing else 2
        count = parameters(self.config)
        read = self._stored(count.matrices) + self.element * (count.head or count.words)
        return passes * read + 2 * self.activations() + 8 * FLOAT32 * self.trained

    def activations(self):
        """Bytes that autograd saves between the way in and the way back.

        Per token and layer, for the frozen model: the input of both norms in float32; query, attention's output, key,
        value; and three vectors of the feed-forward part. A trained matrix needs its input as well. Without padding,
        and with an attention that never writes its scores (sdpa, flash).
        """
        if self.train == "nothing":
            return 0
        hidden = self.config.hidden_size
        last = FLOAT32 * (hidden + 1) + (self.element * hidden if self.train == "full" else 0)
        scores = self.batch * self.taught * FLOAT32 * self.config.vocab_size
        if self.train == "full":
            scores += self.batch * self.taught * self.element * hidden
        layers, layer = self.config.num_hidden_layers, self.tokens * self._saved_per_layer()
        if self.checkpointing:
            return layers * self.tokens * self.element * hidden + layer + self.tokens * last + scores
        return layers * layer + self.tokens * last + scores

    def _saved_per_layer(self):
        """Bytes per token that one layer saves."""
        hidden, inner, (query, key) = self.config.hidden_size, self.config.intermediate_size, _widths(self.config)
        saved = 2 * FLOAT32 * (hidden + 1) + FLOAT32 * self.config.num_attention_heads
        saved += self.element * (2 * query + 2 * key + 3 * inner)
        if self.train == "full":
            saved += self.element * (4 * hidden + inner)
        if self.train == "lora":
            saved += self.element * self.rank * len(MATRICES) + self._adapter_inputs()
        return saved

    def _adapter_inputs(self):
        """Bytes per token of what the adapters read: shared, or with dropout a copy and a mask for each of them."""
        if self.dropout_mask:
            return sum(wide for wide, _ in matrices(self.config).values()) * (self.element + self.dropout_mask)
        # One for query, key and value, one for gate and up, one for down; attention's output is saved already.
        return self.element * (2 * self.config.hidden_size + self.config.intermediate_size)

    def _stored(self, frozen):
        return frozen * (NF4 if self.four_bit and self.train != "full" else self.element)

    def memory(self, gpus=1, sharded=False):
        """What each GPU holds.

        Parameters
        ----------
        gpus : int
        sharded : bool
            False: a copy on every GPU (one GPU, or DDP). True: weights, gradients and the optimiser's states are
            divided (FSDP's full shard, ZeRO-3); words, head and two layers at a time are gathered to work.

        Returns
        -------
        Memory
        """
        count, share = parameters(self.config), 1 / gpus if sharded else 1
        rest = self.element * (count.total - count.matrices)
        frozen = 0 if self.train == "full" else self._stored(count.matrices) + rest
        gathered = 0
        if sharded and gpus > 1:
            layers = self._stored(count.matrices) * 2 / self.config.num_hidden_layers
            gathered = (layers + self.element * (count.words + count.head)) * (1 - share)
        return Memory(
            weights=share * (frozen + FLOAT32 * self.trained),
            gradients=share * FLOAT32 * self.trained,
            optimiser=share * 2 * FLOAT32 * self.trained,
            gathered=gathered,
            activations=self.activations(),
        )


# --- one more token -----------------------------------------------------------------------------------------------


def cache_bytes(config, tokens, element=2):
    """Bytes of the keys and values of ``tokens`` tokens."""
    return 2 * config.num_hidden_layers * _widths(config)[1] * tokens * element


def decode_flops(config, batch, context):
    """Operations for one more token of each of ``batch`` answers, after ``context`` tokens."""
    count = parameters(config)
    attention = 4 * context * _widths(config)[0] * config.num_hidden_layers
    return batch * (2 * (count.matrices + (count.head or count.words)) + attention)


def decode_bytes(config, batch, context, element=2):
    """Bytes read for it: every weight once, whatever the batch, and each answer's own keys and values."""
    count = parameters(config)
    weights = count.matrices + count.norms + (count.head or count.words)
    return element * weights + batch * cache_bytes(config, context, element)


# --- time ---------------------------------------------------------------------------------------------------------


def seconds(flops, bytes_moved, machine, utilisation=ASSUMED_UTILISATION):
    """Time that a device needs at least: the slower of its arithmetic and its memory.

    Parameters
    ----------
    flops, bytes_moved : float
    machine : Machine
    utilisation : float
        Share of the peak of arithmetic that is reached.

    Raises
    ------
    ModelError
        If the utilisation is not above 0 and at most 1.
    """
    if not 0 < utilisation <= 1:
        raise ModelError(f"A utilisation of {utilisation} cannot be: give a share above 0 and at most 1.")
    return max(flops / (utilisation * machine.flops), bytes_moved / machine.bandwidth)


def windows(hours, length=6.0):
    """Number of windows of ``length`` seconds in ``hours`` of recording, without overlap."""
    return int(hours * 3600 / length)


def device_hours(step, samples, machine, utilisation=ASSUMED_UTILISATION):
    """Hours that one device needs for ``samples`` samples in steps like this one; divide by the devices.

    What several devices tell each other is not counted.
    """
    return samples / step.batch * seconds(step.flops(), step.bytes(), machine, utilisation) / 3600
