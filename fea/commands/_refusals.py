"""What a parser of settings refuses, told in one sentence: which setting, what is wrong with it, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from itertools import pairwise

_KEY = re.compile(r'Parser key "([\w.]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_UNKNOWN = re.compile(r"(?:Option|Key) '([^']+)' is not accepted|option '([^']+)'$|unrecognized arguments: -*([^\s=]+)")
_NO_FILE = re.compile(r"(?:File does not exist|Path is not a file): '([^']+)'")
_NO_CLASS = re.compile(r"has no attribute|No module named")
_NO_KIND = re.compile(r"does not correspond to a subclass of (\w+)")
_WRONG = re.compile(r"Expected an? (?!<class 'NoneType'>|path)(.+?)(?:\. Got value: .*)?$")
_VALUE = re.compile(r"Got value: (.+)|val='([^']*)'|Given value: (.+)")
_YAML_WORDS = ("True", "False", "None")
_OF_A_FILE = ("image_root", "wrap", "weight")
# What other tools call the folder of the images.
_ELSEWHERE = dict.fromkeys(("image_folder", "images_folder", "image_dir", "img_dir", "media_dir"), "image_root")
_OWN = ("data.val", "data.test", "data.predict")  # files, which those who draw faces have no setting for
_REQUIRED = re.compile(r"arguments are required: (.+)")


def sentence(message: str, names: Collection[str], help: str) -> str:
    """The first refusal in a parser's message.

    Args:
        message: what the parser says: many lines, nested settings indented below those that hold them.
        names: the settings there are, for a suggestion; nested ones with a dot, "trainer.devices" or ".rank".
        help: where all of them are listed.
    """
    read = list(_lines(message))
    for text, place, kind in read:
        if found := _UNKNOWN.search(text):
            return _unknown(".".join(filter(None, [place, *found.groups()])), names, help)
        if found := _REQUIRED.search(text):
            missing = [name.rpartition(".")[2] for name in found[1].split(", ")]
            return f"nothing is given for {' and '.join(missing)}; {help}"
        if found := _NO_FILE.search(text):
            return f"there is no file '{found[1]}'; check the path"
        if _NO_CLASS.search(text):
            return f"{place}: cannot load '{kind}' ({text}); a file of your own has to lie in the working directory"
        if found := _NO_KIND.search(text):
            return f"{place}: '{_value(message)}' is no {found[1]}"
    wanted = {found[1]: place for text, place, _ in read if (found := _WRONG.match(text))}
    if wanted:
        value = _value(message)
        quotes = "; YAML takes no, yes, on, off and null for other things than words: put them in quotes"
        return f"{next(iter(wanted.values()))}: expected {' or '.join(map(_type, wanted))}, found '{value}'" + (
            quotes if value in _YAML_WORDS and any("str" in kind for kind in wanted) else ""
        )
    for (head, *_), (reason, place, _) in pairwise(read):
        if head == "Errors:":  # the module that holds a class fails by itself
            return f"{place}: cannot load '{_value(message)}' ({reason}); mend it"
    return " ".join(message.split())


def _lines(message: str) -> Iterator[tuple[str, str, str]]:
    """Each line with the setting that it is about, and the last class named before it."""
    keys: dict[int, str] = {}  # by indentation, the settings that the present line lies in
    kind = ""
    for line in filter(str.strip, message.splitlines()):
        text = line.strip(" -")
        indent = len(line) - len(line.lstrip(" -"))
        keys = {depth: key for depth, key in keys.items() if depth < indent}
        place = ".".join(keys.values())
        if key := _KEY.match(text):
            keys[indent] = key[1]
        if named := _CLASS.search(text):
            kind = named[1]
        yield text, place, kind


def _unknown(setting: str, names: Collection[str], help: str) -> str:
    """Says that there is no such setting, and which one may have been meant."""
    first, *rest = setting.split(".")
    known = {name.partition(".")[0] for name in names}
    wrong = first
    if first in known and rest:
        known = {"init_args"} | {part for name in names for part in name.split(".")[1:]}
        wrong = next((part for part in rest if part not in known), rest[-1])
    if setting in _OWN:
        return f"there is no setting '{setting}' of drawn faces; name your own by --data FEADataModule --{setting} '[FILE]'"
    near = [_ELSEWHERE[wrong]] if _ELSEWHERE.get(wrong) in known else difflib.get_close_matches(wrong, known, 1)
    if first == "data" and near and near[0] in _OF_A_FILE and len(rest) == 1:
        return (
            f"there is no setting '{setting}'; give it with its file: --data.train '[{{file: FILE, {near[0]}: ...}}]'"
        )
    return f"there is no setting '{setting}'; " + (f"did you mean '{near[0]}'?" if near else help)


def _value(message: str) -> str:
    found = _VALUE.search(message)
    return next(filter(None, found.groups()), "") if found else ""


def _type(shown: str) -> str:
    """A type as a person would name it: "int", "one of 'a', 'b'"."""
    choice = re.fullmatch(r"typing\.Literal\[(.*)\]", shown)
    plain = re.fullmatch(r"<class '(.*)'>", shown)
    return f"one of {choice[1]}" if choice else plain[1] if plain else shown
