"""An export on a hub, for those who ask for it."""

from __future__ import annotations

import re
from pathlib import Path

from fea.errors import FEAError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str) -> None:
    """Refuses a name that no hub has, and an upload by nobody, before the work.

    Raises:
        FEAError: with the way out.
    """
    from huggingface_hub import get_token

    if not _NAME.fullmatch(name):
        raise FEAError(f"push: '{name}' is no name on the hub; give one such as me/model")
    if get_token() is None:
        raise FEAError("push: nobody is logged in to the hub; do so with 'hf auth login', or set HF_TOKEN")


def upload(folder: Path, name: str) -> str:
    """Uploads a folder; a model that is not there yet is made, for its owner alone to see.

    Args:
        folder: of an export.
        name: on the hub.

    Returns:
        The address.

    Raises:
        FEAError: the hub refused; the folder is still there.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        address = str(api.create_repo(name, private=True, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder)
    except (OSError, ValueError) as error:  # all refusals of the hub are of these kinds
        why = " ".join(str(error).split()) or type(error).__name__
        raise FEAError(
            f"push: the hub did not take it ({why}); the export is at '{folder}', upload it later"
        ) from error
    return address
