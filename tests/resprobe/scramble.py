"""The same networks under other names: a source file whose every own name is replaced.

What a file defines (classes, functions, arguments, attributes, submodules, locals) gets another
name; what it imports, `forward`, dunder names and the arguments of imported functions stay. The
structure of the program is untouched, so whoever looks only at what runs sees no difference.
"""

import ast
import builtins
import random
import sys
import types
from itertools import count
from pathlib import Path

from torch import nn

KEPT = {"forward", "backward", "super", *dir(builtins)}
NAMING_CALLS = {"register_buffer", "register_parameter", "setattr", "getattr", "hasattr"}


def is_kept(name):
    return name in KEPT or (name.startswith("__") and name.endswith("__"))


class Defined(ast.NodeVisitor):
    """Collects a file's own names, its attributes and callables, and what it imports."""

    def __init__(self):
        self.names, self.attributes, self.callables, self.imported = set(), set(), set(), set()

    def visit_Import(self, node):
        self.imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_ClassDef(self, node):
        self.callables.add(node.name)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef):
                self.attributes.add(statement.name)
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                names = [child for child in ast.walk(statement) if isinstance(child, ast.Name)]
                self.attributes |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        self.generic_visit(node)

    def visit_FunctionDef(self, node):
        self.callables.add(node.name)
        self.generic_visit(node)

    def visit_arg(self, node):
        self.names.add(node.arg)
        self.generic_visit(node)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Store):
            self.names.add(node.id)

    def visit_Attribute(self, node):
        if isinstance(node.ctx, ast.Store):
            self.attributes.add(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node):
        if named_by_a_string(node):
            place = naming_place(node)
            self.attributes.add(node.args[place].value)
        self.generic_visit(node)


def naming_place(call):
    return 0 if isinstance(call.func, ast.Attribute) else 1


def named_by_a_string(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    place = naming_place(call)
    return (
        name in NAMING_CALLS
        and len(call.args) > place
        and isinstance(call.args[place], ast.Constant)
    )


class Renamed(ast.NodeTransformer):
    """Puts the new names in place of the old ones."""

    def __init__(self, own, words):
        self.own, self.words = own, words

    def visit_ClassDef(self, node):
        node.name = self.words.get(node.name, node.name)
        return self.generic_visit(node)

    visit_FunctionDef = visit_ClassDef  # noqa: N815

    def visit_arg(self, node):
        node.arg = self.words.get(node.arg, node.arg)
        return self.generic_visit(node)

    def visit_Name(self, node):
        node.id = self.words.get(node.id, node.id)
        return node

    def visit_Attribute(self, node):
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        from_outside = isinstance(root, ast.Name) and root.id in self.own.imported
        if node.attr in self.own.attributes and not from_outside:
            node.attr = self.words.get(node.attr, node.attr)
        return self.generic_visit(node)

    def visit_Call(self, node):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        outside = isinstance(node.func, ast.Attribute) and called not in self.own.attributes
        if called in self.own.callables and not outside:
            for keyword in node.keywords:
                keyword.arg = self.words.get(keyword.arg, keyword.arg)
        if named_by_a_string(node):
            constant = node.args[naming_place(node)]
            constant.value = self.words.get(constant.value, constant.value)
        return self.generic_visit(node)


def nonsense(draw):
    """Give pronounceable words that mean nothing."""
    for number in count():
        syllables = (draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(4))
        yield "".join(syllables) + str(number)


def misleading(names, draw):
    """Give each name another one of the same file: a norm is called a branch, a branch a gate.

    Names of `nn.Module`'s own methods are left out, an attribute of that name would hide one;
    so is `self`, which a keyword of `forward` cannot be called.
    """
    order = sorted(names - set(dir(nn.Module)) - {"self"})
    draw.shuffle(order)
    return dict(zip(order, order[1:] + order[:1], strict=True))


def scramble(path, seed, mislead=False):
    """Run a source file under other names.

    Args:
        path: of the file, which must not use a name of its own for an attribute of torch's.
        seed: of the draw of names.
        mislead: give the names to one another instead of drawing nonsense.

    Returns:
        The module that the renamed source defines, and the dictionary from old to new names.
    """
    tree = ast.parse(Path(path).read_text())
    own = Defined()
    own.visit(tree)
    names = {
        name
        for name in own.names | own.attributes | own.callables
        if not is_kept(name) and name not in own.imported
    }
    draw = random.Random(seed)
    words = dict(zip(sorted(names), nonsense(draw), strict=False))
    if mislead:
        words |= misleading(names, draw)
    source = ast.unparse(ast.fix_missing_locations(Renamed(own, words).visit(tree)))
    module = types.ModuleType(f"scrambled_{Path(path).stem}_{seed}_{int(mislead)}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, f"<{module.__name__}>", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module, words
