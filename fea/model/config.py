"""What a policy is: its settings, and which of them go together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from fea.errors import FEAError
from fea.faces.crops import Shown
from fea.model.families.known import FAMILIES, TINY, of_type
from fea.prompts.answer import FORMS, Form
from fea.prompts.numbers import NUMBERS, Number, Numbers, in_order
from fea.prompts.prompt import Knowledge

LayoutName = Literal["tree", "group", "rows"]
Device = Literal["auto", "cpu", "cuda"]
VisionAttention = Literal["sdpa", "flash_attention_2"]

# Settings that earlier releases had, and what became of them.
GONE = {"attention": "the language model's attention comes with policy.layout"}

_TOKEN_PIXELS = min(family.pixels for family in FAMILIES)  # of a visual token, whatever the base turns out to be


@dataclass
class TinySize:
    """Dimensions of the tiny model.

    Args:
        hidden: width of the language model.
        layers: its depth.
        heads: its attention heads.
        vision_hidden: width of the vision tower.
        vision_layers: its depth.
        spread: standard deviation of the random weights; wider than a large model's, so that a narrow one starts to learn.
        seed: of the random weights.
        family: whose architecture it has: "qwen2_5_vl", "qwen2_vl" or "qwen3_vl".
    """

    hidden: int = 128
    layers: int = 3
    heads: int = 4
    vision_hidden: int = 128
    vision_layers: int = 2
    spread: float = 0.05
    seed: int = 0
    family: str = TINY.model_type

    def __post_init__(self) -> None:
        if of_type(self.family) is None:
            known = ", ".join(family.model_type for family in FAMILIES)
            raise FEAError(f"policy.tiny.family: '{self.family}' is none that is known here; name one of {known}")
        if self.heads < 2 or self.heads % 2 or self.hidden < 1 or self.hidden % (16 * self.heads):
            raise FEAError(
                f"policy.tiny.hidden: {self.hidden} with heads {self.heads}; the number of heads is even, and hidden a "
                "multiple of 16 x heads"
            )
        if self.vision_hidden < 16 or self.vision_hidden % 16:
            raise FEAError(f"policy.tiny.vision_hidden: {self.vision_hidden}; use a multiple of 16")


@dataclass
class VisionLoRA:
    """Adapter on what sees: all linear layers of the vision tower and of the merger behind it.

    Args:
        rank: rank of the update; its scale is made from it and from `alpha` of the adapter that this one is a part of.
        lr: peak learning rate of this part; null: that of the stage (`optimization.lr`).
    """

    rank: int = 8
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise FEAError(f"policy.lora.vision.rank: {self.rank}; the rank of an adapter is at least 1")
        if self.lr is not None and self.lr < 0:
            raise FEAError(f"policy.lora.vision.lr: {self.lr}; give a number that is not negative, or null")


@dataclass
class LoRA:
    """Low-rank adapter (Hu et al., arXiv 2106.09685).

    It is kept in fp32, since in bf16 a small step changes nothing, and has no dropout, so that the log-probabilities of
    sampling and of training agree.

    Args:
        rank: rank of the update.
        alpha: its scale is alpha / rank.
        targets: regular expression of the layers that get one, whole names, in the language model alone; by default all of
            its linear layers.
        vision: adapter on the vision tower and the merger, too; null for none. Each image then goes through the tower in every
            pass, and in training the tower's activations are recomputed in the backward pass.
        rs: scale by alpha / sqrt(rank) instead, so that a higher rank learns as fast (rsLoRA, arXiv 2312.03732).
    """

    rank: int = 16
    alpha: int = 32
    targets: str = (
        TINY.lora_targets
    )  # the same in all families that are known; in others it stands for all linear layers
    vision: VisionLoRA | None = None
    rs: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise FEAError(f"policy.lora.rank: {self.rank}; the rank of an adapter is at least 1")

    def extends(self, earlier: LoRA) -> bool:
        """Whether weights of an earlier adapter mean the same in this one, which may have a vision part beside them.

        Learning rates are no part of what weights mean.
        """
        new, old = self.vision, earlier.vision
        same = replace(self, vision=None) == replace(earlier, vision=None)
        return same and (old is None or (new is not None and new.rank == old.rank))


@dataclass
class Numbered:
    """An answer with numbers beside its words.

    Args:
        form: where the answer stands.
        numbers: "valence" and "arousal" in the answer, "intensity" as the letter of each unit: "AU12C". Analyses that tell none
            are taught with those of the labels; what is asked for and cannot be read counts as the middle of its range.
    """

    form: Form = "after_thinking"
    numbers: list[Number] = field(default_factory=lambda: list(NUMBERS))

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise FEAError(f"policy.answer.form: there is no form '{self.form}'; use {', '.join(FORMS)}")
        for name in self.numbers:
            if name not in NUMBERS:
                raise FEAError(f"policy.answer.numbers: there is no '{name}'; use {', '.join(NUMBERS)}")


@dataclass
class PolicyConfig:
    """What the model is and what it is shown; stored with every checkpoint.

    Args:
        base: hub name or folder of a Qwen3-VL, Qwen2.5-VL or Qwen2-VL model; of SmolVLM2, InternVL or LLaVA-OneVision, which
            are asked part by part (`fea.model.causal`); of any other that transformers can ask about images, which is then
            asked as it comes (slower; `fea.model.stock`); or "tiny" for a small one with random weights.
        tiny: dimensions of that one.
        lora: adapter to train; null trains the whole language model.
        four_bit: load the base in 4 bits (bitsandbytes nf4, double quantization; QLoRA, arXiv 2305.14314); needs an adapter.
        train_vision: train the vision tower too; only without an adapter.
        dtype: type of the base's weights; "float32" to train them.
        layout: how completions stand in training: "tree" computes what prompts share once, "group" each prompt once for its
            completions, "rows" a copy of the prompt for every completion. All give the same numbers; of a base
            that is asked as it comes there are rows alone.
        vision_attention: attention of the vision tower; "flash_attention_2" needs a GPU and the package flash-attn.
        checkpointing: recompute activations in the backward pass, to save memory.
        min_pixels: smaller images are enlarged to this many pixels; a visual token is 32 * 32 of them in Qwen3-VL, and 28 * 28
            in Qwen2.5-VL and Qwen2-VL, where 224 * 224 are 64 visual tokens; other families go by their own processor.
        max_pixels: larger images are reduced to this many; 448 * 448 are 256 visual tokens in the latter. Of other families
            `fea plan` alone goes by it: it takes images for squares of so many.
        knowledge: "full" explains the Action Units in the prompt, "brief" does not.
        answer: where the prompt asks for the answer: "after_thinking"; "first", before the thinking; or "only", without any
            thinking, and so without Action Units. Analyses are taught in that form, however files have them. With numbers
            beside the words: {form: after_thinking, numbers: [valence, arousal, intensity]}.
        answers: forms that training prompts ask for, and how often each, as in {after_thinking: 1, only: 1}, so that one model
            can be asked quickly or with thinking (`fea analyze --answer only`); null: all ask for `answer`, which is among them
            and remains the one of validation and test. Prompts of different forms share less of what they begin with.
        faces: "none" shows images as they are, which is right where they are crops of faces already; "largest" shows the square
            around the largest face, here and in `fea analyze` (`fea.faces.crops`), or the whole image where none is found.
        face_model: file of the detector's model (`fea.faces.detectors`); null: Haar cascades, which need none.
    """

    base: str = "tiny"
    tiny: TinySize = field(default_factory=TinySize)
    lora: LoRA | None = None
    four_bit: bool = False
    train_vision: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    layout: LayoutName = "tree"
    vision_attention: VisionAttention = "sdpa"
    checkpointing: bool = False
    min_pixels: int = 224 * 224
    max_pixels: int = 448 * 448
    knowledge: Knowledge = "full"
    answer: Form | Numbered = "after_thinking"
    answers: dict[Form, float] | None = None
    faces: Shown = "none"
    face_model: str | None = None

    def __post_init__(self) -> None:
        if self.four_bit and self.lora is None:
            raise FEAError(
                "policy.four_bit: 4-bit weights cannot be trained; give policy.lora a rank, or set four_bit: false"
            )
        if self.lora and self.train_vision:
            raise FEAError(
                "policy.train_vision: beside an adapter the weights of the vision tower stay as they are; set lora: null to "
                "train them, or give the tower an adapter of its own (policy.lora.vision)"
            )
        if self.lora is None and self.dtype != "float32":
            raise FEAError(
                "policy.dtype: weights trained in bfloat16 lose small steps; set float32, or train an adapter (policy.lora)"
            )
        if self.four_bit and self.base == "tiny":
            raise FEAError(
                "policy.four_bit: with policy.base 'tiny' there is no file to load in 4 bits; name a saved model, "
                "or set it false"
            )
        if not _TOKEN_PIXELS <= self.min_pixels <= self.max_pixels:
            raise FEAError(
                f"policy.min_pixels: {self.min_pixels} with max_pixels {self.max_pixels}; one visual token needs "
                f"{_TOKEN_PIXELS} pixels, and the smaller bound comes first"
            )
        if isinstance(self.answer, Numbered) and not self.answer.numbers:
            self.answer = self.answer.form
        _check_answers(self.answers)
        if self.face_model is not None and self.faces == "none":
            raise FEAError(
                f"policy.face_model: '{self.face_model}', but faces are not looked for; set policy.faces: largest"
            )

    @property
    def forms(self) -> Mapping[Form, float]:
        """Forms that training prompts ask for, with how often each."""
        return self.answers or {self.form: 1.0}

    @property
    def form(self) -> Form:
        """Where prompts ask for the answer."""
        return self.answer.form if isinstance(self.answer, Numbered) else self.answer

    @property
    def numbers(self) -> Numbers:
        """What they ask for beside words."""
        return in_order(self.answer.numbers) if isinstance(self.answer, Numbered) else ()

    @property
    def trains_tower(self) -> bool:
        """Whether training changes what is seen, so that features of an image are good for a single pass."""
        return self.train_vision or (self.lora is not None and self.lora.vision is not None)


def _check_answers(answers: Mapping[Form, float] | None) -> None:
    """Refuses forms that cannot be drawn.

    Raises:
        FEAError: naming what is wrong.
    """
    for form, share in (answers or {}).items():
        if form not in FORMS:
            raise FEAError(f"policy.answers: there is no form '{form}'; use {', '.join(FORMS)}")
        if not 0 < share < math.inf:
            raise FEAError(f"policy.answers: {share} of '{form}'; give a number above 0, or leave the form out")
