"""The arrows of the house: which file of the package may know which, and where state may live.

Each rule is a function from the package's sources to complaints, one per offending line; each is also tried on sources
that break it.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "coalesce_kit"
ROOT = Path(__file__).parents[1]

# Floors, lowest first. A file may lean on its own floor and on those below; one that stands nowhere has no place yet.
FLOORS = {
    "ground": {"errors", "clock", "durations", "stats", "entry", "tickets", "sharing", "store_port", "records"},
    "ports": {"protocols", "fleet_port"},
    "rooms": {"keys", "cache", "backends", "stores"},
    "defaults": {"defaults"},
    "doors": {"decorators"},
    "roof": {"__init__"},
}
# The files behind keys.py are one room with it.
SAME_ROOM = dict.fromkeys(["freezing", "key_canonical", "key_recipe", "key_text", "templates"], "keys")
# Beside the house: what they may lean on, whatever the floor. Nobody leans on them.
BESIDE = {
    "testing": FLOORS["ground"] | FLOORS["ports"] | FLOORS["defaults"],
    "exporters": {"stats"},
    "cli": {"stats"},
    "__main__": {"cli"},
}
OWNERS = {
    "cachetools": "cache/",
    "redis": "stores/redis",
    "msgspec": "backends/codec.py",
    "prometheus_client": "exporters/prometheus.py",
    "opentelemetry": "exporters/opentelemetry.py",
    "rich": "cli/",
}
OPTIONAL = OWNERS.keys() - {"cachetools"}
TABLES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
TABLE_CALLS = {"list", "dict", "set", "fromkeys"}
STATEFUL_CALLS = {
    *("bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ChainMap", "iter", "count", "cycle", "local"),
    *("WeakSet", "WeakKeyDictionary", "WeakValueDictionary", "ContextVar"),
    *("Lock", "RLock", "Event", "Condition", "Semaphore", "Thread", "Queue", "ThreadPoolExecutor"),
}
WRITING = {
    *("append", "extend", "insert", "remove", "add", "discard", "update", "setdefault", "pop", "popitem", "clear"),
    *("difference_update", "intersection_update", "symmetric_difference_update", "sort", "reverse"),
}
MEMORISING = {"cache", "lru_cache", "cached"}


@dataclass(frozen=True)
class Import:
    """One imported module, and how: ``nested`` inside a function, ``hidden`` under TYPE_CHECKING."""

    line: int
    module: str
    nested: str | None
    hidden: bool

    @property
    def inside(self) -> str | None:
        """The path inside the package, such as ``stats.counters``; ``__init__`` for the facade; None for others."""
        if self.module == PACKAGE:
            return "__init__"
        return self.module.removeprefix(f"{PACKAGE}.") if self.module.startswith(f"{PACKAGE}.") else None


@dataclass(frozen=True)
class File:
    """One source of the package; ``path`` is relative to it."""

    path: str
    tree: ast.Module

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.removesuffix(".py").split("/"))

    @property
    def room(self) -> str:
        return room_of(".".join(self.parts))

    def at(self, line: int, complaint: str) -> str:
        return f"{PACKAGE}/{self.path}:{line}: {complaint}"


class House:
    """The package's sources, parsed."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.files = [File(path, ast.parse(text)) for path, text in sorted(sources.items())]
        self.modules = {".".join(file.parts) for file in self.files}
        self.packages = {module.removesuffix(".__init__") for module in self.modules}

    def imports(self, file: File) -> Iterator[Import]:
        """Every import of a file, resolved: a relative one to the module it means."""
        for node, nested, hidden in walk_imports(file.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [self._resolve(file, node, alias.name) for alias in node.names]
            for name in dict.fromkeys(names):
                yield Import(node.lineno, name, nested, hidden)

    def _resolve(self, file: File, node: ast.ImportFrom, name: str) -> str:
        if node.level == 0:
            module = node.module or ""
        else:
            package = (PACKAGE, *file.parts)[: -node.level]
            module = ".".join([*package, *([node.module] if node.module else [])])
        inside = f"{module}.{name}".removeprefix(f"{PACKAGE}.")
        return f"{module}.{name}" if module.split(".")[0] == PACKAGE and inside in self.packages else module


def walk_imports(
    tree: ast.AST, nested: str | None = None, *, hidden: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str | None, bool]]:
    """Every import below a node, with the function it stands in, and whether it stands under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, nested, hidden
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from walk_imports(node, node.name, hidden=hidden)
        else:
            checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from walk_imports(node, nested, hidden=hidden or checking)


def room_of(inside: str) -> str:
    """The room of a path inside the package."""
    top = inside.partition(".")[0]
    return SAME_ROOM.get(top, top)


def floor_of(room: str) -> int | None:
    """The number of the floor on which a room is; None when it is on none."""
    return next((number for number, rooms in enumerate(FLOORS.values()) if room in rooms), None)


def check_arrows(house: House) -> list[str]:
    """Rules 1, 2, 3: rooms do not know each other, arrows point down, the windows see numbers only."""
    complaints = []
    for file in house.files:
        floor = floor_of(file.room)
        if floor is None and file.room not in BESIDE:
            complaints.append(
                file.at(1, f"{file.room} has no place in the house: give it one in {Path(__file__).name}")
            )
            continue
        for found in house.imports(file):
            if found.inside is None or room_of(found.inside) == file.room:
                continue
            room = room_of(found.inside)
            complaint = why_not(file, floor, room)
            if complaint:
                complaints.append(file.at(found.line, f"imports {found.inside}: {complaint}"))
    return complaints


def why_not(file: File, floor: int | None, room: str) -> str | None:
    """Why ``file`` may not lean on ``room``; None when it may."""
    if room in BESIDE or room == "__init__":
        if (file.path, room) in {("cli/demo.py", "__init__"), ("__main__.py", "cli")}:
            return None
        return "nobody imports the facade" if room == "__init__" else f"nobody imports {room}/"
    if floor is None:
        return None if room in BESIDE[file.room] else f"{file.room}/ may lean on {sorted(BESIDE[file.room])} only"
    if file.room == "stats":
        return "stats/ imports nothing of the house"
    other = floor_of(room)
    if other is None:
        return f"{room} has no place in the house"
    if other > floor:
        return f"{file.room} stands below {room}"
    if other == floor and room in FLOORS["rooms"]:
        return "the working rooms do not know each other"
    return None


def check_circles(house: House) -> list[str]:
    """Rule 4: no circle, whether hidden or not."""
    names = {".".join(file.parts).removesuffix(".__init__"): file for file in house.files}
    graph = {
        name: {found.inside for found in house.imports(file) if found.inside in names and found.inside != name}
        for name, file in names.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"a circle of imports: {' ← '.join(error.args[1])}"]
    return []


def check_import_places(house: House) -> list[str]:
    """Rule 4: imports stand at the top, where they can be seen."""
    complaints = []
    for file in house.files:
        for found in house.imports(file):
            owned = is_owner(file, found.module) and found.module.split(".")[0] in OPTIONAL
            lazy_facade = file.path == "__init__.py" and found.nested == "__getattr__"
            if found.nested is not None and not owned and not lazy_facade:
                complaints.append(file.at(found.line, f"import inside {found.nested}() of {found.module}"))
            if found.hidden and found.inside is not None and file.path != "__init__.py":  # it shows lazy names' types
                complaints.append(file.at(found.line, f"{found.inside} is imported for the type checker only"))
    return complaints


def check_owners(house: House) -> list[str]:
    """Rule 5: one foreign library, one owner; the rest is the standard library."""
    complaints = []
    for file in house.files:
        for found in house.imports(file):
            library = found.module.split(".")[0]
            if library == PACKAGE or library in sys.stdlib_module_names:
                continue
            if library not in OWNERS:
                complaints.append(file.at(found.line, f"imports {library}: no file of the package owns it"))
            elif not is_owner(file, found.module):
                complaints.append(file.at(found.line, f"imports {library}, which {OWNERS[library]} owns"))
    return complaints


def is_owner(file: File, module: str) -> bool:
    """Whether a file is the one that owns the library of a module."""
    owner = OWNERS.get(module.partition(".")[0])
    return owner is not None and file.path.startswith(owner)


def check_state(house: House) -> list[str]:
    """Rule 6: mutable global state lives in defaults.py; the one ContextVar beside PendingRequest.

    A table of constants is no state: it is ``Final``, not empty, and nobody writes into it.
    """
    complaints = []
    for file in house.files:
        if file.path == "defaults.py":
            continue
        classes = {node.name for node in file.tree.body if isinstance(node, ast.ClassDef)}
        written = set(written_names(file.tree))
        for node in file.tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            called = call_name(node.value) if isinstance(node.value, ast.Call) else ""
            final = isinstance(node, ast.AnnAssign) and "Final" in ast.unparse(node.annotation)
            empty = ast.unparse(node.value) in {"[]", "{}", "list()", "dict()", "set()"}
            table = isinstance(node.value, TABLES) or called in TABLE_CALLS
            constant = name == "__all__" or (final and not empty and name not in written)
            the_one = called == "ContextVar" and "PendingRequest" in classes
            if (table and not constant) or (called in STATEFUL_CALLS and not the_one):
                complaints.append(file.at(node.lineno, f"{name} is mutable and global: that is for defaults.py"))
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Global):
                complaints.append(file.at(node.lineno, "global state is for defaults.py"))
            if isinstance(node, ast.FunctionDef) and any(call_name(it) in MEMORISING for it in node.decorator_list):
                complaints.append(file.at(node.lineno, f"{node.name}() remembers: that is global state"))
    return complaints


def written_names(tree: ast.Module) -> Iterator[str]:
    """The names whose contents are changed somewhere: by an item, an operator, or a method that writes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield ast.unparse(node.value)
        elif isinstance(node, ast.AugAssign):
            yield ast.unparse(node.target)
        elif isinstance(node, ast.Attribute) and node.attr in WRITING:
            yield ast.unparse(node.value)


def call_name(node: ast.expr) -> str:
    """The last name of a call or of a plain reference: ``ContextVar`` for ``contextvars.ContextVar("x")``."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Subscript):
        function = function.value
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_entry(file: File, node: ast.stmt) -> bool:
    """Whether this is what runs when the package is run as a program."""
    return (
        file.path == "__main__.py" and isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
    )


def check_quiet_import(house: House) -> list[str]:
    """Rule 6: a module defines things; it does not do anything when it is imported."""
    defining = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    complaints = []
    for file in house.files:
        statements = list(file.tree.body)
        for node in statements:
            if isinstance(node, ast.If) and any(word in ast.unparse(node.test) for word in ("TYPE_CH", "version_info")):
                statements.extend([*node.body, *node.orelse])
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            elif not isinstance(node, (*defining, ast.AnnAssign)) and not is_entry(file, node):
                complaints.append(file.at(node.lineno, f"does something at import: {ast.unparse(node)[:60]}"))
    return complaints


RULES = [check_arrows, check_circles, check_import_places, check_owners, check_state, check_quiet_import]


@pytest.fixture(scope="module")
def house():
    """The package as it stands on disk."""
    folder = ROOT / PACKAGE
    return House({str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.py")})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(house, rule):
    """No file of the package breaks the rule."""
    assert "\n".join(rule(house)) == ""


BROKEN = [
    (
        check_arrows,
        {"cache/memory.py": "from ..backends.in_process import x"},
        ":1: imports backends.in_process: the wor",
    ),
    (check_arrows, {"backends/flight.py": "from ..keys import x"}, "the working rooms do not know each other"),
    (
        check_arrows,
        {"stats/registry.py": "import sys\nfrom ..errors import x"},
        "registry.py:2: imports errors: stats/ imp",
    ),
    (check_arrows, {"protocols.py": "from .cache.memory import x"}, "protocols stands below cache"),
    (check_arrows, {"backends/flight.py": "from ..defaults import x"}, "backends stands below defaults"),
    (check_arrows, {"keys.py": "from .decorators.call import x"}, "keys stands below decorators"),
    (check_arrows, {"decorators/call.py": "from ..testing.clock import x"}, "nobody imports testing/"),
    (check_arrows, {"decorators/call.py": "from coalesce_kit import coalesced"}, "nobody imports the facade"),
    (check_arrows, {"keys.py": "from . import coalesced"}, "nobody imports the facade"),
    (check_arrows, {"exporters/log.py": "from ..defaults import x"}, "exporters/ may lean on ['stats'] only"),
    (check_arrows, {"__main__.py": "from .stats import x"}, "__main__/ may lean on ['cli'] only"),
    (check_arrows, {"cli/top.py": "from coalesce_kit import coalesced"}, "nobody imports the facade"),
    (check_arrows, {"helpers.py": ""}, "helpers has no place in the house"),
    (check_circles, {"errors.py": "from .clock import x", "clock.py": "from . import errors"}, "a circle of imports"),
    (check_import_places, {"keys.py": "def f():\n    from .errors import x"}, "keys.py:2: import inside f() of"),
    (check_import_places, {"backends/flight.py": "def f():\n    import redis"}, "import inside f() of redis"),
    (
        check_import_places,
        {"keys.py": "if TYPE_CHECKING:\n    from .errors import x"},
        "keys.py:2: errors is imported fo",
    ),
    (check_owners, {"backends/in_process.py": "import redis.asyncio"}, "imports redis, which stores/redis owns"),
    (check_owners, {"keys.py": "import numpy"}, "keys.py:1: imports numpy: no file of the package owns it"),
    (check_state, {"keys.py": "import os\nseen: dict[str, int] = {}"}, "keys.py:2: seen is mutable and global"),
    (check_state, {"keys.py": "seen: Final = {}"}, "seen is mutable and global"),
    (check_state, {"keys.py": "seen: Final = {1: 2}\ndef f(): seen[3] = 4"}, "seen is mutable and global"),
    (check_state, {"keys.py": "seen: Final = [1]\ndef f(): seen.append(4)"}, "seen is mutable and global"),
    (check_state, {"keys.py": "seen = weakref.WeakSet[int]()"}, "seen is mutable and global"),
    (check_state, {"keys.py": "current = ContextVar('current')"}, "current is mutable and global"),
    (check_state, {"keys.py": "def f():\n    global seen"}, "keys.py:2: global state is for defaults.py"),
    (check_state, {"keys.py": "@functools.lru_cache(5)\ndef f(): ..."}, "f() remembers"),
    (
        check_quiet_import,
        {"keys.py": "import os\nprint('loaded')"},
        "keys.py:2: does something at import: print('loaded')",
    ),
    (
        check_quiet_import,
        {"keys.py": "if sys.version_info > (3,):\n    f()"},
        "keys.py:2: does something at import: f()",
    ),
]


@pytest.mark.parametrize(("rule", "sources", "complaint"), BROKEN)
def test_a_broken_rule_names_the_line(rule, sources, complaint):
    """Each rule complains about what breaks it, and says where."""
    furniture = dict.fromkeys(["errors.py", "clock.py", "keys.py", "defaults.py", "protocols.py", "__init__.py"], "")
    rooms = {f"{room}/__init__.py": "" for room in ("cache", "backends", "stats", "testing", "decorators")}
    files = {"cache/memory.py": "", "backends/in_process.py": "", "testing/clock.py": "", "decorators/call.py": ""}
    (found,) = rule(House({**furniture, **rooms, **files, **sources}))
    assert complaint in found


ALLOWED = [
    {"stores/redis_signals.py": "def f():\n    import redis.asyncio"},
    {"__init__.py": "def __getattr__(name):\n    from .stores import redis", "stores/redis.py": "import redis"},
    {"backends/flight.py": "class PendingRequest: ...\ncurrent = ContextVar('current')"},
    {"defaults.py": "seen = set()", "keys.py": "__all__ = ['x']\nTABLE: Final[dict[int, int]] = {1: 2}"},
    {"testing/leaks.py": "from ..defaults import x", "defaults.py": ""},
    {"__main__.py": "from .cli.app import main\nif __name__ == '__main__':\n    main()", "cli/app.py": ""},
    {"cache/memory.py": "import cachetools\nfrom ..errors import x\nfrom .tags import y", "cache/tags.py": ""},
]


@pytest.mark.parametrize("sources", ALLOWED)
def test_what_the_rules_allow(sources):
    """The exceptions of the rules are exceptions."""
    house = House({"errors.py": "", **sources})
    assert [complaint for rule in RULES for complaint in rule(house)] == []


WATCH = """
import os, sys, threading, warnings
warnings.simplefilter("error")
import asyncio, concurrent.futures, contextvars, dataclasses, inspect, logging, random, typing, uuid, weakref

class Watched(dict):
    def __getitem__(self, name):
        frame = sys._getframe(1)
        while frame:
            package = frame.f_globals.get("__name__", "").partition(".")[0]
            if package == "coalesce_kit":
                print("environment:", name)
            elif package not in sys.stdlib_module_names:
                break  # a foreign library reads it for itself
            frame = frame.f_back
        return super().__getitem__(name)

os.environ._data = Watched(os.environ._data)
sys.addaudithook(lambda event, args: print("audit:", event, args) if event.startswith(
    ("socket.", "subprocess.", "os.exec", "os.fork", "os.system")) or event == "_thread.start_new_thread" else None)
import coalesce_kit
for name in sys.argv[1:]:
    __import__(name)
print("threads:", threading.active_count())
"""


def test_nothing_happens_at_import(house):
    """Importing every module starts no thread and no process, opens no socket and reads no environment."""
    modules = [".".join((PACKAGE, *file.parts)).removesuffix(".__init__") for file in house.files]
    command = [sys.executable, "-c", WATCH, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "threads: 1\n"


TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_states_its_fact(path):
    """Every test says in its docstring what is so."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [f"{node.lineno}: {node.name}" for node in functions if not ast.get_docstring(node)] == []
