"""Every regular expression in the code: written out where it is used, none that a text can hold up, none that takes a
newline for the end."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]

import pytest

REPO = Path(__file__).parents[2]
FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
# of what its own machine or the build says, line by line, or made of parts that are escaped
MADE = {
    "nova0/controller/compute/extra_specs.py": 2,  # of a fixed table
    "nova0/controller/compute/server_filters.py": 1,  # the user's, by RE2
    "nova0/host/network/dnsmasq.py": 1,  # of labels that stand beside it
}
LINES = {"nova0/host/image/tiny/packages.py"}  # reads apt's answer to the machine that builds an image
OURS = {"nova0/mesh/describing.py"}  # reads annotations of the code itself
CPU_MOST_S = 0.05


class Found:
    """`ways`: how it is tried, by methods of a compiled pattern."""

    def __init__(self, path: str, line: int, ways: set[str], pattern: str | bytes, call: str) -> None:
        self.path, self.line, self.ways, self.pattern, self.flags = path, line, ways, pattern, call

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.pattern!r}"


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    for path in sorted([*REPO.glob("nova0/**/*.py"), *REPO.glob("agents/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("re", "re2")
                and node.func.attr in FUNCTIONS
            ):
                yield str(path.relative_to(REPO)), node, node.func.attr


def found() -> list[Found]:
    return [
        Found(path, node.lineno, _ways(path, node, function), node.args[0].value, ast.unparse(node))
        for path, node, function in calls()
        if node.args and isinstance(node.args[0], ast.Constant)
    ]


def _ways(path: str, node: ast.Call, function: str) -> set[str]:
    """Of one compiled under a name, all that is done with the name in its file."""
    if function != "compile":
        return {function}
    text = (REPO / path).read_text()
    name = text.splitlines()[node.lineno - 1].partition(" = ")[0].strip()
    return set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", text)) & FUNCTIONS or {"match", "fullmatch"}


def test_every_pattern_is_written_out_where_it_is_used():
    """One made at run time is one of the few that are known, and why they are safe."""
    made: dict[str, int] = {}
    for path, node, _ in calls():
        if not (node.args and isinstance(node.args[0], ast.Constant)):
            made[path] = made.get(path, 0) + 1
    assert made == {path: count for path, count in MADE.items() if count}


@pytest.mark.parametrize("one", found(), ids=str)
def test_it_takes_no_newline_for_the_end(one):
    """`$` stands before a newline at the end, too: `fullmatch` or \\Z is what is meant."""
    if one.path in LINES or "MULTILINE" in one.flags:
        return
    pattern = one.pattern.decode("latin-1") if isinstance(one.pattern, bytes) else one.pattern
    assert not any(op is c.AT and where is c.AT_END for op, where in flat(_parser.parse(pattern))), one


@pytest.mark.parametrize("one", found(), ids=str)
def test_it_reads_ascii_digits_and_letters_only(one):
    """\\d takes the digits of every script, and int() them too; \\w takes every letter."""
    if isinstance(one.pattern, bytes) or "ASCII" in one.flags or one.path in OURS or "/host/" in one.path:
        return  # bytes are ASCII anyhow; a host reads what its own kernel and tools say
    for op, value in flat(_parser.parse(one.pattern)):
        assert not (op is c.CATEGORY and value in (c.CATEGORY_DIGIT, c.CATEGORY_WORD)), one


def flat(parsed) -> Iterator[tuple[object, object]]:
    for op, value in parsed:
        yield op, value
        parts = list(value) if isinstance(value, tuple | list) else [value]
        for part in parts:
            for one in part if isinstance(part, list) else [part]:
                if isinstance(one, _parser.SubPattern):
                    yield from flat(one)
                elif isinstance(one, tuple) and len(one) == 2:
                    yield one


def letters(parsed) -> set[str]:
    """Characters that the pattern tells from others: one of each literal and range, and one that is in none."""
    some = {"!", "\n"}
    for op, value in flat(parsed):
        if op is c.LITERAL:
            some.add(chr(value))
        elif op is c.RANGE:
            some.add(chr(value[0]))
        elif op is c.CATEGORY:
            some |= {"0", "a", " "}
        elif op in (c.ANY, c.NOT_LITERAL, c.NEGATE):
            some.add("a")
    return some


def held_up(pattern: str | bytes, *ways: str, length: int = 6_000) -> str | None:
    """The text that holds the pattern up, shown short; None where each is linear. Texts are one letter, or two in turn,
    many times, with a start that the pattern likes and an end that it does not."""
    compiled = re.compile(pattern)
    tries = [getattr(compiled, way if way in ("match", "fullmatch") else "search") for way in ways]
    parsed = _parser.parse(pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern)
    repeats = [value for op, value in flat(parsed) if op in (c.MAX_REPEAT, c.MIN_REPEAT)]
    if not any(most is c.MAXREPEAT for _, most, _ in repeats):
        return None  # a bounded part of the text is all it looks at
    some = sorted(letters(parsed))[:8]
    units = [*some, *(a + b for a in some[:5] for b in some[:5] if a != b)]
    for size in (20, 24, 28, 32, 36, 60, 300, 600, 1500, length):  # what is worse than quadratic shows early
        for unit in units:
            for start in ("", "".join(some)):
                for end in ("!", "\0"):
                    text = start + unit * (size // len(unit)) + end
                    sent = text.encode() if isinstance(pattern, bytes) else text
                    begun = time.thread_time()
                    for attempt in tries:
                        attempt(sent)
                    if time.thread_time() - begun > CPU_MOST_S:
                        return f"{start!r} + {unit!r} * {size} + {end!r}"
    return None


@pytest.mark.parametrize("one", found(), ids=str)
def test_no_text_holds_it_up(one):
    """Six thousand letters: what is quadratic takes a tenth of a second and more for them, what is linear no time."""
    assert held_up(one.pattern, *one.ways) is None, one


@pytest.mark.slow
def test_the_search_for_slow_ones_finds_them():
    for slow in (r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$", r"(a+)+b", r"(a|aa)*b", r"a*a*a*b", r"(.*),(.*),(.*)x"):
        assert held_up(slow, "match") is not None, slow
    for quick in (r"[a-z]{8}-[0-9]+\Z", r"a+b", r'"[^"\\]*(?:\\.[^"\\]*)*"?'):
        assert held_up(quick, "match") is None, quick
