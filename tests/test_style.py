"How code and prose look, measured on the notebooks as they are: width, length of cells, one statement a line, shown bodies, plain words."
import ast
import json
import re
import statistics
from functools import lru_cache
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]
nbs = sorted(p for p in (root/'nbs').glob('*.ipynb') if p.name[0] not in '_.')
each_notebook = pytest.mark.parametrize('path', nbs, ids=lambda p: p.stem)

EXPORTED_WIDTH = 100
SHOWN_WIDTH = 88
LONGEST_CELL = 30
MEDIAN_CELL = 10
LONGEST_PROSE = 60
# Two values that are one thing may be assigned together.
PAIRS = [{'x', 'y'}, {'h', 'w'}, {'H', 'W'}, {'width', 'height'}, {'low', 'high'}, {'B', 'N'}, {'T', 'N'}]
# Definitions of these packages show their bodies on the page.
TAUGHT = ('text.', 'models.', 'data.', 'core', 'layers')
# Words that the style guide replaces, what to write instead, and how often a page may use them in their plain sense.
WORDS = {r'learnt by heart': ('overfit', 0), r'holds zero': ('includes zero', 0), r'nobody(?:\'s)?|everybody(?:\'s)?': ('no actor, all actors', 0),
         r'whom|told|have a say': ('which, is given', 0), r'at once': ('atomically, immediately', 0),
         r'he|his|him': ('the player, they', 0), r'says?|said': ('predicts, returns, prints', 1), r'stands?': ('is at, is in', 2),
         r'looks?': ('comparison', 2), r'rooms?': ('module, notebook', 0)}

def source(cell): return ''.join(cell['source'])

@lru_cache
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']

def code_cells(path): return [c for c in cells(path) if c['cell_type'] == 'code' and source(c).strip()]
def has(cell, names): return re.search(rf'^#\|\s*({names})\b', source(cell), re.M)
def exported(path): return [c for c in code_cells(path) if has(c, 'exports?')]
# Cells without exported code, also those that only the notebook shows.
def unexported(path): return [c for c in code_cells(path) if not has(c, 'exports?')]
def shown(path): return [c for c in code_cells(path) if not has(c, 'exports?|hide|default_exp|echo: *false')]
def lines(cell): return [l for l in source(cell).splitlines() if not l.startswith('#|')]
def tree(cell): return ast.parse('\n'.join(l for l in lines(cell) if not l.startswith(('!', '%'))))
def module(path): return path.stem.split('_', 1)[-1]

@each_notebook
def test_width(path):
    wide = [l for c in exported(path) for l in lines(c) if len(l) > EXPORTED_WIDTH]
    wide += [l for c in unexported(path) for l in lines(c) if len(l) > SHOWN_WIDTH]
    assert not wide, f'{path.name}: {len(wide)} lines are too wide (exported {EXPORTED_WIDTH}, shown {SHOWN_WIDTH}):\n' + '\n'.join(wide[:5])

@each_notebook
def test_exported_cells_are_short(path):
    sizes = {sum(bool(l.strip()) for l in lines(c)): lines(c)[0] for c in exported(path)}
    long = {n: first for n, first in sizes.items() if n > LONGEST_CELL}
    assert not long, f'{path.name}: exported cells of more than {LONGEST_CELL} lines: {long}'

def test_median_of_exported_cells():
    sizes = [sum(bool(l.strip()) for l in lines(c)) for p in nbs for c in exported(p)]
    assert statistics.median(sizes) <= MEDIAN_CELL

def statements_on_one_line(cell):
    "Lines of an exported cell that hold two statements."
    seen = set()
    for node in ast.walk(tree(cell)):
        if isinstance(node, ast.stmt):
            if node.lineno in seen and not isinstance(node, ast.Pass): yield node.lineno
            if not hasattr(node, 'body'): seen.add(node.lineno)

@each_notebook
def test_one_statement_a_line(path):
    found = [lines(c)[n - 1] for c in exported(path) for n in statements_on_one_line(c)]
    assert not found, f'{path.name}: two statements in a line:\n' + '\n'.join(found[:5])

def joined_assignments(cell):
    "Assignments of several values to several names that are not one thing."
    for node in ast.walk(tree(cell)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple):
            names = {ast.unparse(t) for t in node.targets[0].elts}
            swap = names == {ast.unparse(v) for v in node.value.elts}
            if names not in PAIRS and not swap: yield ast.unparse(node)

@each_notebook
def test_one_assignment_a_line(path):
    found = [a for c in exported(path) for a in joined_assignments(c)]
    assert not found, f'{path.name}: write one assignment a line:\n' + '\n'.join(found[:5])

def definitions(cell): return [n for n in tree(cell).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]

@each_notebook
def test_the_code_is_on_the_page(path):
    if not module(path).startswith(TAUGHT): return
    hidden = [n.name for c in exported(path) if has(c, 'export') and not has(c, 'exports') for n in definitions(c)]
    assert not hidden, f'{path.name}: use #| exports, so that the page shows the body of {", ".join(hidden)}'

def test_most_bodies_are_shown():
    defined = [(bool(has(c, 'exports'))) for p in nbs for c in exported(p) if definitions(c)]
    assert defined.count(False) <= len(defined)/4

def plain(text): return re.sub(r'^>.*$|^\|.*$|```.*?```|`[^`]*`|\$[^$]*\$', '', text, flags=re.M|re.S)
def prose(path): return [plain(source(c)) for c in cells(path) if c['cell_type'] == 'markdown']

@each_notebook
def test_prose_is_short(path):
    long = [p.strip() for p in prose(path) if len(p.split()) > LONGEST_PROSE]
    assert not long, f'{path.name}: prose cells over {LONGEST_PROSE} words:\n' + '\n'.join(f'{len(p.split())}: {p[:90]}' for p in long)

@each_notebook
def test_plain_words(path):
    wrong = []
    for word, (instead, allowed) in WORDS.items():
        found = [f'...{p[max(0, m.start() - 30):m.end() + 30]!r}' for p in prose(path) for m in re.finditer(rf'\b(?:{word})\b', p, re.I)]
        if len(found) > allowed: wrong.append(f'{word} -> {instead}: {found[:4]}')
    assert not wrong, f'{path.name}:\n' + '\n'.join(wrong)
