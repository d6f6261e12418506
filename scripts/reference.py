"""Write the pages of reference, docs/reference_*.md, from the code: command line, settings, problem codes, Python.

    python -m scripts.reference            # writes them
    python -m scripts.reference --check    # says which are not as they would be written, and ends with 1

tests/unit/test_reference.py does the latter.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import typer

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "<!-- written by scripts/reference.py; change the code and run `python -m scripts.reference` -->\n"
PYTHON_NAMES = ("AsyncClient", "Client", "AsyncJobHandle", "JobHandle", "NewJob", "Worker", "job", "Retry", "Discard", "Snooze")


def pages() -> dict[str, str]:
    """Make every page, by its file's name."""
    return {
        "reference_cli.md": cli_page(),
        "reference_settings.md": settings_page(),
        "reference_problems.md": problems_page(),
        "reference_python.md": python_page(),
    }


# ------------------------------------------------------------------------------------------------ command line


def cli_page() -> str:
    """Tell every command with its arguments and options."""
    from jobqueue.cli.main import commands

    root = typer.main.get_command(commands)
    parts = [
        "# Command line\n",
        NOTE,
        "Exit codes: 0 done, 1 the thing failed, 2 wrong usage or configuration, with one line on stderr that says what to change.\n",
    ]
    for path, command in _commands(root, "jobqueue"):
        parts.append(_command(path, command))
    return "\n".join(parts)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _command(path: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden]
    usage = " ".join([path, *(_usage(argument) for argument in arguments), *(["[options]"] if options else [])])
    rows = [f"| `{argument.metavar or argument.name.upper()}` | {_cell(argument.help)} |" for argument in arguments]
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" `{option.metavar or option.name.upper()}`"
        default = "" if option.is_flag or option.default in (None, ()) or callable(option.default) else f" ({_plain(option.default)})"
        environment = f" [`{option.envvar}`]" if option.envvar else ""
        rows.append(f"| {names}{value}{environment} | {_cell(option.help)}{default} |")
    table = "\n".join(["| | |", "| --- | --- |", *rows, ""]) if rows else ""
    return f"## {path}\n\n{command.help.strip()}\n\n```\n{usage}\n```\n\n{table}"


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _plain(default: Any) -> str:
    return str(getattr(default, "value", default))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


# ------------------------------------------------------------------------------------------------ settings


def settings_page() -> str:
    """Tell every setting's kind and bounds; what each does is in settings.md."""
    from jobqueue.config import OLDER_NAMES, PREFIX, Settings

    lines = [
        "# Settings: kinds and bounds\n",
        NOTE,
        "What each does: [settings](settings.md). Durations are in seconds; lists are comma-separated.\n",
        "| variable | older name | kind | bounds | default |",
        "| --- | --- | --- | --- | --- |",
    ]
    hints = get_type_hints(Settings)
    for name, field in Settings.model_fields.items():
        variable = PREFIX + ("API_SECRET_KEY" if name == "api_secret_keys" else name.upper())
        older = f"`{OLDER_NAMES[name]}`" if name in OLDER_NAMES else ""
        bounds = ", ".join(_bound(rule) for rule in field.metadata if _bound(rule))
        default = field.default
        text = "none" if default in (None, []) else ",".join(default) if isinstance(default, list) else str(default).lower()
        lines.append(f"| `{variable}` | {older} | {_kind(hints[name])} | {bounds} | {text} |")
    return "\n".join(lines) + "\n"


def _bound(rule: Any) -> str:
    for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("min_length", "at least")):
        value = getattr(rule, attribute, None)
        if value is not None:
            return f"{sign} {value:,}" if isinstance(value, int) and abs(value) >= 10_000 else f"{sign} {value:g}"
    return ""


def _kind(hint: Any) -> str:
    text = re.sub(r"typing\.|Annotated\[|, BeforeValidator\(.*?\)\]|, AfterValidator\(.*?\)\]", "", str(hint))
    for name, kind in (
        ("Literal", ""),
        ("list[str]", "list"),
        ("bool", "true or false"),
        ("int", "whole number"),
        ("float", "number"),
        ("str", "text"),
    ):
        if name == "Literal" and name in text:
            return " or ".join(f"`{value}`" for value in re.findall(r"'([^']+)'", text))
        if name != "Literal" and name in text:
            return kind
    return text


# ------------------------------------------------------------------------------------------------ problems


def problems_page() -> str:
    """Tell every problem code with its status, and the class that the client raises for it."""
    from jobqueue.api.problems import PROBLEMS
    from jobqueue.client.problems import kinds

    classes = kinds()
    lines = [
        "# Problem codes\n",
        NOTE,
        "Errors are RFC 9457 `application/problem+json` with `type title status detail code request_id`; `errors` names the fields that",
        "are wrong. The Python client raises the class beside the code.\n",
        "| code | status | class | means |",
        "| --- | --- | --- | --- |",
    ]
    documented = {kind.code: problem for kind, problem in PROBLEMS.items()}
    for code, kind in sorted(classes.items()):
        problem = documented.get(code)
        if problem is not None:
            lines.append(f"| `{code}` | {problem.status} | `{kind.__name__}` | {_first_line(kind)} |")
    lines += ["", "Only a client meets these:\n", "| code | class | means |", "| --- | --- | --- |"]
    for code, kind in sorted(classes.items()):
        if code not in documented and kind.__module__ == "jobqueue.client.problems":
            lines.append(f"| `{code}` | `{kind.__name__}` | {_first_line(kind)} |")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ Python


def python_page() -> str:
    """Tell the public names with their signatures and what their docstrings say."""
    import jobqueue

    parts = [
        "# Python\n",
        NOTE,
        "`from jobqueue import ...`. Everything is typed; every error is a `JobQueueError` ([codes](reference_problems.md)).\n",
    ]
    for name in PYTHON_NAMES:
        thing = getattr(jobqueue, name)
        parts.append(f"## {name}\n")
        parts.append(f"```python\n{_signature(name, thing)}\n```\n")
        parts.append(f"{_doc(thing)}\n")
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            parts += [_method(method, found) for method, found in _methods(thing)]
    return "\n".join(parts)


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, found in vars(kind).items():
        if not name.startswith("_") and (inspect.isfunction(found) or isinstance(found, property)):
            yield name, found


def _method(name: str, found: Any) -> str:
    if isinstance(found, property):
        return f"- **`{name}`** {_sentence(found.fget)}\n"
    prefix = "await " if inspect.iscoroutinefunction(found) else "async for ... in " if inspect.isasyncgenfunction(found) else ""
    return f"- **`{prefix}{name}{_arguments(found)}`** {_sentence(found)}\n"


def _arguments(function: Any) -> str:
    signature = inspect.signature(function)
    shown = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    text = str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))
    return re.sub(r": '([^']*)'", r": \1", text)


def _signature(name: str, thing: Any) -> str:
    target = thing.__init__ if inspect.isclass(thing) else thing
    text = f"{name}{_arguments(target)}"
    if len(text) < 120:
        return text
    inside = text[len(name) + 1 : -1]
    return f"{name}(\n    " + re.sub(r", (?=[*\w]+(:|$|,))", ",\n    ", inside) + "\n)"


def _doc(thing: Any) -> str:
    words = inspect.getdoc(thing) or ""
    made = (inspect.getdoc(thing.__init__) or "") if inspect.isclass(thing) and "__init__" in vars(thing) else ""
    return words if not made or made == words or made.startswith("Initialize self") else f"{words}\n\n{made}"


def _sentence(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0].replace("|", "\\|")


def main() -> int:
    """Write the pages, or with --check compare them."""
    wrong = []
    for name, text in pages().items():
        file = DOCS / name
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            wrong.append(name)
    if wrong:
        print(f"not as the code says: {', '.join(wrong)}; run python -m scripts.reference")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
