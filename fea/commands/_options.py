"""A function's signature as options of the command line."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from fea.errors import FEAError


def options_of(function: Callable[..., Any], argv: list[str], program: str) -> dict[str, Any]:
    """A function's arguments from the command line: its signature is the command's, its docstring the help.

    Its first parameter stands by itself if it has no default, and so do further ones before a `*`. All others are options, as
    are those of a signature without a `*`: "--dry_run", or "--dry-run"; "-o" is "--out". A needed one that would be a word of
    Python is written with an underscore behind it: `in_` is "--in".
    """
    import inspect
    from typing import get_type_hints

    import docstring_parser
    from jsonargparse import ArgumentParser

    from fea.commands._refusals import sentence

    parameters = inspect.signature(function).parameters

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise FEAError(sentence(message, parameters, f"see {program} --help"))

    told = docstring_parser.parse(inspect.getdoc(function) or "")
    help_of = {entry.arg_name: entry.description for entry in told.params}
    kind_of = get_type_hints(function)
    parser = Parser(prog=program, description=told.short_description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="file with options; those that follow it win")
    special: set[str | int] = set()
    starred = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    for position, (name, parameter) in enumerate(parameters.items()):
        needed = parameter.default is parameter.empty
        if kind_of[name] == list[str]:
            parser.add_argument(name, nargs="+", type=str, help=help_of[name])
        elif kind_of[name] is bool and not parameter.default:
            parser.add_argument(f"--{name}", action="store_true", help=help_of[name])
        elif needed:
            alone = not position or (starred and parameter.kind is not parameter.KEYWORD_ONLY)
            option = {} if alone else {"required": True}
            shown = name.rstrip("_")
            parser.add_argument(name if alone else f"--{shown}", type=kind_of[name], help=help_of[name], **option)
        else:
            continue
        special.add(name)
    parser.add_function_arguments(_resolved(function, kind_of), skip=special, fail_untyped=True)
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name until jsonargparse 4.48
    options = vars(build(parser.parse_args([_spelled(word, parameters) for word in argv])))
    return {name: options[name.rstrip("_")] for name in parameters}


def _spelled(word: str, names: Container[str]) -> str:
    """A word of the command line, an option in the spelling of the parameters."""
    option, equals, value = word.partition("=")
    if option == "-o" and "out" in names:
        return f"--out{equals}{value}"
    name = option[2:].replace("-", "_")
    return f"--{name}{equals}{value}" if option.startswith("--") and name in names else word


def _resolved(function: Callable[..., Any], kind_of: dict[str, Any]) -> Callable[..., Any]:
    """The like of a function with its types in place of their names, which the parser would look up for itself.

    In some modules it trips over other objects that it finds there.
    """
    import types

    like = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    like.__kwdefaults__, like.__annotations__ = function.__kwdefaults__, kind_of
    like.__doc__, like.__module__, like.__qualname__ = function.__doc__, function.__module__, function.__qualname__
    return like
