"""What a trained policy can be exported as. Read for help, so it needs no torch."""

from __future__ import annotations

from typing import Literal

Format = Literal["merged", "peft", "gguf"]
