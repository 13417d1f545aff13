"""`README.md` of an export: the model card, as hubs read it. It names no folder of this machine.

What is not known is said to be unknown; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fea.datasets.known import dataset_of
from fea.export.formats import Format
from fea.export.history import Stage
from fea.export.scores import scores_of
from fea.model.checkpoints import Stored
from fea.model.families.general import Manner
from fea.model.families.known import FAMILIES
from fea.model.load import is_known
from fea.prompts.prompt import system_prompt, user_prompt
from fea.reports.tables import markdown
from fea.rollouts.rollout import Rollout

CARD = "README.md"
# What hubs call the licenses of bases; any other one is "other".
_LICENSES = {"Apache-2.0": "apache-2.0", "MIT": "mit"}
_LIBRARY = {"merged": "transformers", "peft": "peft", "gguf": "gguf"}
_RELATION = {"merged": "finetune", "peft": "adapter", "gguf": "quantized"}
_SHOWN = 1200  # characters of the instructions; those with the knowledge of all units are longer and stand in fea.json


class Facts(NamedTuple):
    """What a card tells.

    Attributes:
        name: of the export.
        version: of fea.
        format: of the export.
        told: what the checkpoint says.
        base: what others call the base.
        stages: that made the policy.
        scored: the faces that the answers of the run are scored on, in words; "" if they are no validation faces.
        machine: that the export was made on.
        manner: in which the chat template is told a question.
        compared: the gap between run and export, in lines.
    """

    name: str
    version: str
    format: Format
    told: Stored
    base: str
    stages: Sequence[Stage]
    scored: str
    machine: str
    manner: Manner
    compared: Sequence[str]


def card(facts: Facts, rollouts: Sequence[Rollout]) -> str:
    """The text of the card.

    Args:
        facts: what it tells.
        rollouts: greedy answers of the run, for the scores.
    """
    parts = [
        _front(facts),
        f"# {facts.name}\n\nNames the Action Units (FACS) of a face, reasons from them, and answers its emotion. Made with fea "
        f"{facts.version} from {_base(facts)}.",
        *_use(facts),
        *_training(facts),
        *_protocol(facts),
        *(scores_of(rollouts, facts.told.emotions, facts.scored) if facts.scored else [_UNSCORED]),
        "## Read back\n",
        *(f"- {line}" for line in facts.compared),
        "",
        _LIMITS,
        *_licenses(facts),
    ]
    return "\n".join(parts) + "\n"


_UNSCORED = (
    "## Scores\n\nNot measured here: the validation faces of the run could not be read, or it had none. `fea test --run RUN` "
    "measures on test faces.\n"
)
_LIMITS = """\
## Intended use and limits

For research on facial expressions and on how they are described. It tells how a face looks, not what a person feels: the same
movements occur in many states, and people show them differently. It is not made for decisions about people, such as in hiring,
education, policing, medicine or at borders, where reading emotions is in part forbidden by law. It has seen the faces that are
named above; errors differ between groups of people, and were not measured by group. It reads one face in one picture. Texts may
name units that are not there.
"""


def _front(facts: Facts) -> str:
    """What hubs sort cards by."""
    terms = license_of_base(facts.base)
    lines = ["---", f"license: {_LICENSES.get(terms, 'other')}"]
    if terms not in _LICENSES:
        lines.append(f"license_name: {'-'.join(terms.lower().split()) or 'unknown'}")
    if "/" in facts.base:  # of a hub; others mean nothing to it
        lines += [f"base_model: {facts.base}", f"base_model_relation: {_RELATION[facts.format]}"]
    lines += [f"library_name: {_LIBRARY[facts.format]}", "pipeline_tag: image-text-to-text", "language: en"]
    tags = ("fea", "facial-emotion-analysis", "action-units", "facs")
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def license_of_base(base: str) -> str:
    """What is known of the license of a base; "" if nothing is."""
    known = {hub.rpartition("/")[2].lower(): terms for family in FAMILIES for hub, terms in family.licenses.items()}
    name = base.rpartition("/")[2].lower()
    return next((terms for start, terms in known.items() if name.startswith(start)), "")


def _base(facts: Facts) -> str:
    return f"`{facts.base}`" if facts.base != "tiny" else "a tiny model with random weights"


def _use(facts: Facts) -> Iterator[str]:
    folded = facts.manner == "folded"
    yield f"\n## Use\n\n{_USE[facts.format].format(base=facts.base, asked=_ASKED[facts.manner])}"
    yield f"\nWhat to say is in `fea.json`: `system` and `user`. {_FOLDED if folded else _PLAIN} Answers are greedy.\n"


_PLAIN = "The picture stands before the text of the user."
_FOLDED = (
    "The chat template knows no system: what it would say begins the turn of the user, with an empty line behind it; then come "
    "the picture and the text of the user."
)
_READ = """\
```python
import json

from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
{more}
processor = AutoProcessor.from_pretrained("FOLDER")     # asks for torchvision, which resizes pictures in a way of its own
processor.image_processor = AutoImageProcessor.from_pretrained("FOLDER", backend="pil")     # in the way of the run
model = {model}
said = json.load(open("FOLDER/fea.json"))
{{asked}}
text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
inputs = processor(text=[text], images=[Image.open("face.jpg").convert("RGB")], return_tensors="pt")
written = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(processor.decode(written[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```
"""
_ASKED: Mapping[Manner, str] = {
    "parts": """\
system = [{"type": "text", "text": said["system"]}]
user = [{"type": "image"}, {"type": "text", "text": said["user"]}]
messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]""",
    "text": """\
user = [{"type": "image"}, {"type": "text", "text": said["user"]}]
messages = [{"role": "system", "content": said["system"]}, {"role": "user", "content": user}]""",
    "folded": """\
system = {"type": "text", "text": said["system"] + "\\n\\n"}
messages = [{"role": "user", "content": [system, {"type": "image"}, {"type": "text", "text": said["user"]}]}]""",
}
_USE: Mapping[str, str] = {
    "merged": _READ.format(more="", model='AutoModelForImageTextToText.from_pretrained("FOLDER", dtype="auto")')
    + "\nThe folder is a whole model, for transformers, vLLM and SGLang, and for `fea` as `policy.base`. Its generation\n"
    "config has no penalty, and leaves out tokens that are no text.",
    "peft": _READ.format(
        more="from transformers import GenerationConfig\nfrom peft import PeftModel\n",
        model='PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained("{base}", dtype="auto"), "FOLDER")\n'
        'model.generation_config = GenerationConfig.from_pretrained("FOLDER")   # that of the base may have a penalty',
    )
    + "\nvLLM reads it with `--enable-lora`, but only the layers of the language model: what it holds for the vision tower, if "
    "anything, is left out there.",
    "gguf": "`llama-server -m model.gguf --mmproj mmproj.gguf`, or `ollama create NAME -f Modelfile` (not tried here).\n"
    "llama.cpp makes pictures smaller in a way of its own: give it pictures of the size that is named below. It does not\n"
    "leave out tokens that are no text.\n",
}


def _training(facts: Facts) -> Iterator[str]:
    yield "## Training\n"
    yield markdown(["stage", "steps", "trained on", "validated on", "seed", "hardware"], map(_row, facts.stages))
    if lora := facts.told.policy.lora:
        bits = "; the base was in 4 bits meanwhile" if facts.told.policy.four_bit else ""
        yield f"\nAn adapter was trained (rank {lora.rank}, alpha {lora.alpha}){bits}."
    else:
        tower = "" if facts.told.policy.train_vision else ", and the vision tower left as it was"
        yield f"\nAll weights of the language model were trained{tower}."
    yield f"Exported and read back on {facts.machine}. Runs do not record on which cards they were trained.\n"


def _row(stage: Stage) -> list[object]:
    trained, validated = stage.data["train"] or "unknown", stage.data["val"] or "nothing"
    return [stage.module, stage.steps, trained, validated, stage.seed, stage.hardware]


def _protocol(facts: Facts) -> Iterator[str]:
    policy, told = facts.told.policy, facts.told
    system = system_prompt(policy.knowledge, policy.form, policy.numbers)
    yield "## Protocol\n"
    yield f"- prompt version {told.prompt}, knowledge: {policy.knowledge}, answer: {policy.form}"
    if policy.numbers:
        yield f"- numbers beside the words: {', '.join(policy.numbers)}"
    if len(told.forms) > 1:
        yield f"- trained to answer in several forms, so that it can be asked in each: {', '.join(sorted(told.forms))}"
    yield f"- allowed emotions: {', '.join(told.emotions) or 'any'}"
    sized = (
        f"with {policy.min_pixels} to {policy.max_pixels} pixels" if is_known(policy) else "sized by the processor here"
    )
    shown = "whole" if policy.faces == "none" else "cut to the face (`crop` in `fea.json`)"
    yield f"- pictures are shown {shown}, {sized}"
    yield f"- system: {system}" if len(system) <= _SHOWN else "- system: `system` in `fea.json`"
    yield f"- user: {user_prompt('', told.emotions)}\n"


def _licenses(facts: Facts) -> Iterator[str]:
    yield "## Licenses\n"
    terms = "free, made here" if facts.base == "tiny" else license_of_base(facts.base) or "unknown; see its own card"
    yield f"- base `{facts.base}`: {terms}"
    for name in sorted(facts.told.datasets):
        known = dataset_of(name)
        yield f"- data set `{name}`: {(known.license if known else '') or 'unknown'}"
    yield "\nThe export is a derivative of the base; the terms of base and data sets hold for it."
