"""Results as rows of a table, ours or that of another program, and as records."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

from fea.analysis import foreign
from fea.analysis.foreign import Foreign, Value
from fea.analysis.tables import COLUMNS, Result
from fea.errors import FEAError
from fea.facs import PROMPTED_AUS
from fea.prompts.numbers import AFFECT, Numbers

# What a spreadsheet would take for a formula, and may run; numbers are none.
_FORMULA = re.compile(r"(?![-+]?\d+(\.\d*)?([eE][-+]?\d+)?$)(\t|[\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
Format = Literal["fea", Foreign]
_FACE = ("face_id", "x", "y", "width", "height", "score")
_FRAME = ("frame", "time")
# Columns that hold text; all others hold numbers, but for `valid`.
TEXTS = frozenset(("image", "AUs", "emotion", "reasoning", "text", "error"))
TEXTS |= {"input", "input_image_path", "facial_expression"}
# Those that hold whole numbers, where they hold any.
WHOLE = frozenset(("face_id", "x", "y", "width", "height", "frame", "frame_idx", "success"))


class Layout(NamedTuple):
    """Which columns a table has; all of its rows have the same.

    Attributes:
        format: ours, or that of another program (`fea.analysis.foreign`).
        faces: whether faces were looked for: `face_id`, `x`, `y`, `width`, `height` and `score`.
        film: whether a film is among what was asked about: `frame` and `time`.
        samples: whether there are several answers to each face: `vote_AU1`, ..., `vote_happiness`, ..., as shares.
        emotions: that may be answered.
        known: FACS numbers that the model has learned; without any, all units are unknown.
        likelihood: whether each allowed emotion has its likelihood: `likelihood_happiness`, ...
        numbers: that are asked for beside the words: `valence`, `arousal`, and `intensity_AU1`, ..., 0 for what is not claimed.
    """

    format: Format = "fea"
    faces: bool = False
    film: bool = False
    samples: bool = False
    emotions: tuple[str, ...] = ()
    known: frozenset[int] = frozenset(PROMPTED_AUS)
    likelihood: bool = False
    numbers: Numbers = ()

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns of a table."""
        if self.format != "fea":
            return foreign.columns(self.format, self.film)
        votes = [f"vote_{name}" for name in (*self._units, *self.emotions)]
        likely = [f"likelihood_{name}" for name in self.emotions]
        numbers = [name for name in AFFECT if name in self.numbers]
        grades = [f"intensity_{code}" for code in self._units if "intensity" in self.numbers]
        shown = (*COLUMNS, *_FACE * self.faces, *_FRAME * self.film, *numbers, *grades)
        return (*shown, *votes * self.samples, *likely * self.likelihood)

    def record(self, result: Result) -> dict[str, Any]:
        """All that is told of a face, for JSON."""
        found = result.row if self.known else result.row | {"AUs": None}
        if self.faces:
            found |= {"face_id": result.face_id, "box": result.box, "score": result.score}
        if self.film:
            found |= {"frame": result.frame, "time": result.time}
        if self.samples:
            found |= {"votes": result.votes if self.known else None, "emotion_votes": result.emotion_votes}
        if self.likelihood:
            found |= {"likelihood": result.likelihood or None}
        found |= {name: getattr(result, name) for name in AFFECT if name in self.numbers}
        if "intensity" in self.numbers:
            found |= {"intensities": dict(result.intensities) if self.known else None}
        return found

    def cells(self, result: Result) -> list[Value]:
        """The row of a table, by its header; None is an empty cell."""
        if self.format != "fea":
            values: dict[str, Value] = foreign.values(self.format, result, self.known, self.emotions)
        else:
            values = {**result.row, "AUs": " ".join(result.aus), "frame": result.frame, "time": result.time}
            if result.box:
                values |= dict(zip(_FACE, (result.face_id, *result.box, result.score), strict=True))
            values |= {"valence": result.valence, "arousal": result.arousal}
            values |= {} if result.error else self._grades(result)
            values |= self._votes(result)
            values |= {f"likelihood_{name}": share for name, share in (result.likelihood or {}).items()}
        return [values.get(column) for column in self.header]

    def _grades(self, result: Result) -> dict[str, Value]:
        """What is claimed without a grade is not known, and what is not claimed is 0, but in an answer that cannot be read."""
        if not result.aus and not result.valid:
            return {}
        grades = {code: None if code in result.aus else 0.0 for code in self._units}
        return {f"intensity_{code}": grade for code, grade in (grades | dict(result.intensities)).items()}

    def _votes(self, result: Result) -> dict[str, Value]:
        shares = {**(result.votes or {}), **(result.emotion_votes or {})}
        names = (*self._units, *self.emotions) if result.votes is not None else ()
        return {f"vote_{name}": shares.get(name, 0.0) for name in names}

    @property
    def _units(self) -> list[str]:
        return [f"AU{number}" for number in sorted(self.known)]


class Results(list[Result]):
    """Results in the order of the images, those of one image by the size of the face.

    Attributes:
        layout: of a table of them.
    """

    layout = Layout()

    def to_frame(self, format: Format = "fea") -> Any:
        """The same as a `pandas.DataFrame`, a row a face; a number that is not known is NaN, a whole one `pandas.NA`.

        Args:
            format: "fea", or the columns of "pyfeat", "openface" or "libreface".

        Raises:
            FEAError: there is no such format.
        """
        import pandas

        if format not in get_args(Literal["fea"]) + get_args(Foreign):
            raise FEAError(f"format: '{format}'; choose fea, {', '.join(get_args(Foreign))}")
        layout = self.layout._replace(format=format)
        frame = pandas.DataFrame([layout.cells(result) for result in self], columns=list(layout.header))
        numbers = [name for name in layout.header if name not in TEXTS and name != "valid"]
        frame[numbers] = frame[numbers].apply(pandas.to_numeric)  # None becomes NaN
        whole = WHOLE & set(layout.header if format == "fea" else ())  # other programs read numbers as they know them
        return frame.astype(dict.fromkeys(whole, "Int64"))


def to_csv(results: Sequence[Result], header: bool = True, layout: Layout | None = None) -> str:
    """A table; the Action Units of a row are separated by spaces, and what a spreadsheet would run begins with a quote."""
    layout = layout or Layout()
    rows: list[Sequence[Value]] = [layout.header] if header else []
    rows += [layout.cells(result) for result in results]
    buffer = io.StringIO()
    for row in rows:
        cells = [f"'{cell}" if _FORMULA.match(str(cell)) else cell for cell in row]
        torn = any("\r" in str(cell) for cell in cells)  # which some readers take for the end of a line
        csv.writer(buffer, quoting=csv.QUOTE_ALL if torn else csv.QUOTE_MINIMAL, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
