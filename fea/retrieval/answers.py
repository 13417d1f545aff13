"""What a policy says of faces, kept on the disk part by part, so that faces can be searched by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fea.data.example import Example
from fea.model.cache import Trunk
from fea.model.checkpoints import Stored
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.sampling import Generation
from fea.rollouts.rollout import ask
from fea.system.files import write_atomically
from fea.system.progress import progress

_PART = 64  # faces: some minutes of a large model's work, which is what a kill may cost


def answers(
    policy: Policy, trained: Stored, identity: str, examples: Sequence[Example], folder: Path, max_tokens: int = 256
) -> list[str]:
    """Greedy answers about faces; those that were written before are read.

    Args:
        policy: in eval mode, on its device.
        trained: what its checkpoint says about it.
        identity: changes with its weights.
        examples: the faces.
        folder: where answers are kept; those about other files, or of other weights, are removed.
        max_tokens: length limit of an answer.

    Raises:
        FEAError: an image cannot be read.
    """
    parts = [examples[start : start + _PART] for start in range(0, len(examples), _PART)]
    files = list(_files(parts, f"{identity} {max_tokens}", folder))
    kept = [_kept(file) for file in files]
    trunk, found = Trunk(), list[str]()
    with progress(len(examples), "faces", sum(map(len, filter(None, kept)))) as advance:
        for part, file, texts in zip(parts, files, kept, strict=True):
            if texts is None:
                with computing(trained.precision, policy.network.device):
                    prompts = policy.look([policy.encoder(example) for example in part])
                    texts = ask(policy, prompts, 1, Generation(max_tokens), None, trunk).completions.texts
                write_atomically(file, json.dumps(texts).encode())
                advance(len(part))
            found += texts
    for other in set(folder.glob("*.answers.json")) - set(files):
        other.unlink(missing_ok=True)
    return found


def _files(parts: Sequence[Sequence[Example]], identity: str, folder: Path) -> Iterator[Path]:
    """Names that change with the images, what is asked, and who answers."""
    for number, part in enumerate(parts):
        told = json.dumps([identity, *([e.image, *_state(e.image), e.question, e.emotions] for e in part)])
        yield folder / f"{number:06}-{hashlib.sha256(told.encode()).hexdigest()[:32]}.answers.json"


def _state(image: str) -> list[int]:
    with suppress(OSError):  # whoever shows it says that it is not there
        stat = Path(image).stat()
        return [stat.st_size, stat.st_mtime_ns]
    return []


def _kept(file: Path) -> list[str] | None:
    """The texts of a part; None if they are not there, or something has happened to them."""
    with suppress(OSError, ValueError):
        texts: list[str] = json.loads(file.read_bytes())
        return texts
    return None
