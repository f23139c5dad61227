"""LLaSA: a language model that reads six seconds of motion.

Notable features:

- three small Transformers classes, as LLaVA has them: ``LlasaConfig``, ``LlasaProcessor``,
  ``LlasaForConditionalGeneration``; composed of two existing models, registered with the Auto classes;
  ``generate``, ``save_pretrained`` and ``from_pretrained`` are inherited;
- all normalisation lives in the processor: windows in SI units go in, nobody divides by 9.8 elsewhere;
- the projector makes two kinds of soft tokens: *time-step tokens* from the encoder's states (``steps_per_token=1`` on
  the published LIMU-BERT is the published 120-token ``mlp2x_gelu``) and a few *summary tokens* from the window's
  named statistics; either can be off;
- ``transformers.pipeline("imu-text-to-text", model=folder)`` asks in one call;
- a language model is refused, by name, where it would give other logits behind the sensor than alone;
- in training, logits are computed only where there is a label, and a frozen encoder reads each window once.
"""

from llasa_lib.model import familiarity
from llasa_lib.model.alignment import (
    CAPTION_PROMPT,
    align,
    alignment_samples,
    build,
    contrastive_loss,
    nearest_words,
    recognised,
    step_seconds,
    warm_up,
    word_targets,
)
from llasa_lib.model.configuration import LlasaConfig
from llasa_lib.model.conversations import Conversations, collate, read_once
from llasa_lib.model.generation import answers, answers_and_scores, score_activities, score_sentences
from llasa_lib.model.modeling import LlasaForConditionalGeneration, freeze_mask_token
from llasa_lib.model.pipelines import ImuTextToTextPipeline
from llasa_lib.model.plain import Prompt
from llasa_lib.model.processing import (
    IGNORE,
    IMU_TOKEN,
    ImuFeatureExtractor,
    LlasaProcessor,
    said_placement,
    with_measurements,
    with_placement,
)
from llasa_lib.model.projectors import LlasaProjector
from llasa_lib.model.storing import load, save
