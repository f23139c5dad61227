"""LIMU-BERT: an encoder for six seconds of motion, trained without labels (Xu et al. 2021).

Notable features:

- the published network to the last detail: one block whose weights serve all four layers, no residual around
  the attention, the embedding's LayerNorm used twice;
- a real Transformers model: ``from_pretrained``, ``save_pretrained``, ``AutoModel``, fused attention;
- ``from_published`` and ``to_published`` read and write the authors' own checkpoints, bit for bit;
- span masking for a whole batch at once: the loop runs over spans, not over windows;
- norms are computed in float32 whatever the model's type, since eps = 1e-12 is 0 in half precision;
- windows are checked where they enter (:func:`llasa_lib.signals.check_windows`), not in ``forward``;
- ``load`` reads a folder whole or not at all, where ``from_pretrained`` fills gaps with random weights;
- every departure from the published network is a field of ``LimuBertConfig``: patches of time steps, residual or
  pre-norm blocks, standardised and fine channels, gravity-aligned input, a mask token;
- ``LimuBertForSequenceClassification``, ``fine_tune``, ``linear_probe``, ``nearest_neighbours`` and
  ``label_efficiency`` measure what it has learned, beside a random encoder and networks that never saw it.

Windows enter in SI units (m/s^2 with gravity, rad/s). ``normalise`` gives what the network reads.
"""

from llasa_lib.encoder.classification import (
    LimuBertForSequenceClassification,
    RawGru,
    classify,
    fine_tune,
    with_head,
)
from llasa_lib.encoder.efficiency import draw_labels, label_efficiency, random_like
from llasa_lib.encoder.loading import load
from llasa_lib.encoder.masking import hide, mask_spans
from llasa_lib.encoder.network import LimuBertConfig, LimuBertForPreTraining, LimuBertModel
from llasa_lib.encoder.pretraining import MaskedPretraining, embed, pretrain
from llasa_lib.encoder.probing import linear_probe, nearest_neighbours, pool, probe_across_people
from llasa_lib.encoder.windows import denormalise, normalise
