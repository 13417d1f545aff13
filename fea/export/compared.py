"""What came of reading an export back, in numbers and in words."""

from __future__ import annotations

from typing import NamedTuple

from fea.export.gap import Gap, Limits
from fea.model.families.general import Manner


class Closer(NamedTuple):
    """The gap from the run as a reader computes it that rounds, and may leave out something which is in the files.

    Attributes:
        gap: that remains.
        without: what is left out, in words; "" if nothing is.
    """

    gap: Gap
    without: str


class Compared(NamedTuple):
    """What came of reading an export back.

    Attributes:
        gap: between run and export.
        closer: where the gap is wider than allowed, what explains it; else None.
        limits: that it is within.
        reader: what the files were read with.
        kept: faces that the run answers alike in its own precision and in fp32 on the unquantized base.
        own: that precision, in words; "" where it is fp32 on an unquantized base.
        manner: in which the chat template was told the questions.
        machine: that all of it was computed on.
    """

    gap: Gap
    closer: Closer | None
    limits: Limits
    reader: str
    kept: int
    own: str
    manner: Manner
    machine: str

    def told(self, faces: str) -> list[str]:
        """In lines.

        Args:
            faces: that were asked about, in words.
        """
        gap, limits = self.gap, self.limits
        ties = f"; {gap.ties} part where two tokens are as good as equal" if gap.ties else ""
        lines = [
            f"read back by {self.reader}, and compared with the run in fp32 on its own greedy answers about {faces}",
            f"log-probabilities of their {gap.tokens} tokens differ by {gap.largest:.1e} at most and by {gap.mean:.1e} on the "
            f"mean; {limits.largest:.1e} is allowed ({limits.why})",
            f"the same greedy answer on {gap.same} of {gap.faces} faces{ties}",
        ]
        if self.closer:
            left, without = self.closer
            omitted = f"leaves out {without}, which is in the files, and " if without else ""
            lines.append(
                f"the reader {omitted}rounds patches and GELUs to 16 bits: from the run computed so log-probabilities differ "
                f"by {left.largest:.1e} at most, with the same greedy answer on {left.same} of {left.faces} faces"
            )
        if self.own:
            lines.append(f"computed {self.own}, the run itself gives these answers on {self.kept} of {gap.faces} faces")
        return lines
