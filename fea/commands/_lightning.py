"""What Lightning says, and what of that a user is told."""

from __future__ import annotations

import logging
import traceback
import warnings

from fea.errors import FEAError

_BUILDERS = ("lightning", "jsonargparse", "contextlib")  # what stands between a setting and the trainer that refuses it


def mistake(error: BaseException, builder: str) -> str:
    """What the user did wrong, if the trainer refuses a setting or a constructor raised FEAError; "" if it is a bug.

    Args:
        error: that came up.
        builder: module that puts together what was asked for.
    """
    chain = [error]
    while chain[-1].__cause__:
        chain.append(chain[-1].__cause__)
    own = [cause for cause in chain if isinstance(cause, FEAError)]
    if own:
        return str(own[0])
    called = [frame.f_globals["__name__"] for cause in chain for frame, _ in traceback.walk_tb(cause.__traceback__)]
    refused = all(name == builder or name.partition(".")[0] in _BUILDERS for name in called)
    return f"trainer: {' '.join(str(error).split())}" if refused else ""


def quiet(measuring: bool) -> None:
    """Drops notes that no user of fea can act on.

    Args:
        measuring: weights are only asked, so that it does not matter which checkpoints were the best ones where they lie.
    """
    for message in (
        *([".*The dirpath has changed.*"] if measuring else []),
        ".*LeafSpec.*",
        ".*is_gradient_checkpointing.*",
        ".*LightningCLI's args parameter.*",
        ".*num_workers.*",
        ".*sync_dist=True.*",  # scores are those of all processes already
    ):
        warnings.filterwarnings("ignore", message=message)
    for handler in logging.getLogger("lightning.pytorch").handlers:  # a filter of the logger misses those below it
        handler.addFilter(_no_tip)


def _no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
