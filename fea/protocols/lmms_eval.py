"""A folder with which lmms-eval measures any model that it knows: with our prompt, to the numbers of `fea score`.

fea_disfa_8.yaml   the task, as lmms-eval 0.7 reads it; the prompt stands in it
utils.py           the functions that it names, each a call of `fea.protocols.lmms_task.Task`
faces.jsonl        a line a face that the protocol judges
README.md          how it is run
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from fea.data.example import Example
from fea.errors import FEAError
from fea.facs import EMOTION_SETS
from fea.prompts.answer import parse, render
from fea.prompts.prompt import PROMPT_VERSION, system_prompt, user_prompt
from fea.protocols.cases import case_of, codes, line_of
from fea.protocols.fitting import Fitted
from fea.protocols.known import Protocol
from fea.protocols.lmms_task import FACES, LENIENT
from fea.protocols.scoring import score
from fea.system.files import common_root, write_atomically
from fea.system.lines import jsonl
from fea.system.sets import together

CARD, FUNCTIONS = "README.md", "utils.py"

_MOST = 256  # tokens of an answer: the limit of `fea test`
_LOWER = ("invented",)  # scores that are better when they are lower
_READ_FREELY = ("score", "au_f1", "emotion_f1", "accuracy")  # are shown for texts that are read leniently, too


class Written(NamedTuple):
    """What was written.

    Attributes:
        task: its name.
        faces: that it asks about.
        metrics: names of its scores.
    """

    task: str
    faces: int
    metrics: tuple[str, ...]


def task_name(protocol: Protocol) -> str:
    """The name of the task of a protocol: "fea_disfa_8"."""
    return "fea_" + re.sub(r"\W+", "_", protocol.name.replace("+", "_plus"))


def write_task(folder: Path, protocol: Protocol, faces: Fitted) -> Written:
    """Writes the folder of a task, whole or not at all.

    Args:
        folder: that is not there yet, or empty.
        protocol: by which answers are scored.
        faces: that it judges.

    Raises:
        FEAError: an image is not there, or the images lie on several drives.
        OSError: it cannot be written.
    """
    images = [truth.example.image for truth in faces.truths]
    missing = [image for image in images if not Path(image).is_file()]
    if missing:
        raise FEAError(
            f"{len(missing)} of {len(images)} images are not there, such as '{missing[0]}'; name their folder with --image_root"
        )
    root = common_root(images, folder)
    emotions = _emotions(protocol, faces)
    written = Written(task_name(protocol), len(images), _metrics(protocol, faces))
    with together(folder, f"{written.task}.yaml") as part:
        write_atomically(part / FACES, b"".join(_lines(faces, emotions, root)))
        write_atomically(part / FUNCTIONS, _functions(protocol, emotions, written.metrics).encode())
        write_atomically(part / CARD, _card(protocol, written, root).encode())
        write_atomically(part / f"{written.task}.yaml", _config(protocol, written, root).encode())
    return written


def _emotions(protocol: Protocol, faces: Fitted) -> tuple[str, ...]:
    """The allowed ones of the question: where nothing is judged of them, those that `fea test` asks for by default."""
    return faces.emotions or (faces.truths[0].example.emotions if protocol.any_emotion else EMOTION_SETS["basic7"])


def _lines(faces: Fitted, emotions: tuple[str, ...], root: Path) -> Iterable[bytes]:
    for example, fold in faces.truths:
        image = Path(os.path.relpath(Path(example.image).resolve(), root)).as_posix()
        known = line_of(case_of(example._replace(image=image), parse(""), fold))
        line = {
            "id": example.id,
            "image": image,
            "question": user_prompt(example.question, emotions),
            "target": _target(example),
            "known": json.dumps(known, ensure_ascii=False),
        }
        yield jsonl([line])


def _target(example: Example) -> str:
    """What is known of a face, for people who look at logs."""
    units = ", ".join(codes(example.present)) or "no unit"
    return "; ".join([*([units] if example.coded else []), *([" or ".join(example.labels)] if example.labels else [])])


def _metrics(protocol: Protocol, faces: Fitted) -> tuple[str, ...]:
    """The scores that right answers have, which are those that can be made of any answers."""
    cases, reference = [], next((truth for truth in faces.truths if truth.example.analysis), None)
    for truth in faces.truths:  # one comparison of texts is enough to know of them: they take long
        example, fold = truth if truth is reference else (truth.example._replace(analysis=None), truth.fold)
        right = render(f"There is {', '.join(codes(example.present))}.", (example.labels or ("neutral",))[0])
        cases.append(case_of(example, parse(right, faces.emotions), fold))
    found = score(cases, protocol, faces, {}, draws=0).scores
    first = [name for name in _READ_FREELY if name in found]
    return (*first, *(name for name in found if name not in first), *(f"{LENIENT}{name}" for name in first))


# --- files ------------------------------------------------------------------------------------------------------------


class _Function(str):
    """The name of a function of `utils.py`."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes names of functions with their tag, and long texts line by line."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", f"utils.{name}"))
_Dumper.add_representer(str, _text)


def _config(protocol: Protocol, written: Written, root: Path) -> str:
    lower = {name for name in written.metrics if name.removeprefix(LENIENT) in _LOWER}
    config: dict[str, Any] = {
        "task": written.task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": FACES}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_visual": _Function("doc_to_visual"),
        "doc_to_text": _Function("doc_to_text"),
        "doc_to_messages": _Function("doc_to_messages"),
        "doc_to_target": "target",
        "process_results": _Function("process_results"),
        # By default lmms-eval cuts answers at an empty line, and takes the thinking away, in which the units stand.
        "generation_kwargs": {
            "max_new_tokens": _MOST,
            "temperature": 0,
            "do_sample": False,
            "num_beams": 1,
            "until": [],
        },
        "reasoning_tags": "none",
        "metric_list": [
            {"metric": name, "aggregation": _Function(name), "higher_is_better": name not in lower}
            for name in written.metrics
        ],
        "lmms_eval_specific_kwargs": {
            "default": {"image_root": str(root), "pre_prompt": system_prompt(), "post_prompt": ""}
        },
        "metadata": {"version": 1.0, "protocol": protocol.name, "prompt": PROMPT_VERSION, "fea": version("fea")},
    }
    text: str = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _functions(protocol: Protocol, emotions: Sequence[str], metrics: Sequence[str]) -> str:
    scores = "".join(f"\n\ndef {name}(items):\n    return TASK.score(items, {name!r})\n" for name in metrics)
    return _FUNCTIONS.format(protocol=protocol.name, emotions=tuple(emotions), metrics=tuple(metrics)) + scores


_FUNCTIONS = '''\
"""What the YAML file beside this one names. Answers are read, and scores are made, by fea."""

from pathlib import Path

from fea.protocols.lmms_task import Task

TASK = Task(Path(__file__).resolve().parent, {protocol!r}, {emotions!r})
METRICS = {metrics!r}


def doc_to_visual(doc, lmms_eval_specific_kwargs):
    return TASK.visual(doc, lmms_eval_specific_kwargs)


def doc_to_text(doc, lmms_eval_specific_kwargs):
    return TASK.text(doc, lmms_eval_specific_kwargs)


def doc_to_messages(doc, lmms_eval_specific_kwargs):
    return TASK.messages(doc, lmms_eval_specific_kwargs)


def process_results(doc, results):
    return dict.fromkeys(METRICS, {{"id": doc["id"], "text": results[0]}})
'''


def _card(protocol: Protocol, written: Written, root: Path) -> str:
    return _CARD.format(
        task=written.task, protocol=protocol.name, source=protocol.source, faces=written.faces, root=root, most=_MOST,
        metrics=", ".join(f"`{name}`" for name in written.metrics), version=version("fea"), prompt=PROMPT_VERSION,
    )  # fmt: skip


_CARD = """\
# {task}

A task for [lmms-eval](https://github.com/EvolvingLMMs-Lab/lmms-eval) (0.7.3 or later), written by fea {version}: {faces} faces
by the protocol `{protocol}` ({source}), asked about with version {prompt} of its prompt.
Beside lmms-eval, `fea` has to be installed: it reads and scores the answers, so that the numbers are those of `fea score`.

    python -m lmms_eval --model qwen2_5_vl --model_args pretrained=Qwen/Qwen2.5-VL-3B-Instruct \\
        --include_path FOLDER --tasks {task} --batch_size 1 --log_samples --output_path logs

FOLDER is this one. Models that are asked by messages are told the instructions as the system; others read them before the
question.

- Scores: {metrics}. Those that begin with `lenient_` read texts without the blocks that are asked for as free text.
- The images are read where they lie, as they are: change `image_root` in `{task}.yaml` where that is not `{root}`.
- Answers are greedy and end after {most} tokens (`--gen_kwargs max_new_tokens=1024` for models that think longer).
- `reasoning_tags: none` has to stay: lmms-eval would take the thinking away, in which the units stand.
- Intervals, units one by one, groups and a report come from the logged answers, with FILE, of which this folder was written:
  `fea score logs/*_samples_{task}.jsonl --protocol {protocol} --labels FILE -o OUT`.
- With `--limit` the scores are those of the faces that were asked about.
- `faces.jsonl` holds labels of your data set: pass it on only as its license allows.
"""
