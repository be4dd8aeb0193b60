"The structure of the project: which module may import which, what a notebook looks like, what every exported name documents."
import ast, io, json, re, sys, tokenize
from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path
import pytest, yaml

root = Path(__file__).resolve().parents[1]
nbs = sorted(p for p in (root/'nbs').glob('*.ipynb') if p.name[0] not in '_.')
modules = {'.'.join(p.relative_to(root/'aclip').with_suffix('').parts): p
           for p in sorted((root/'aclip').rglob('*.py')) if p.name not in ('__init__.py', '_modidx.py')}

# Imports point down: a module imports from its own package or from one of a lower rank.
RANK = {name: rank for rank, names in enumerate(('files layers metrics', 'checkpoint', 'data', 'text', 'models', 'core', 'config', 'zoo',
                                                 'train', 'evaluate', 'evidence', 'command_line', 'cli')) for name in names.split()}
BASES = {p.stem for p in (root/'aclip/models').glob('*.py') if 'BASE = ' in p.read_text(encoding='utf-8')} # modules of concrete base models

def rank(module): return RANK.get(module.split('.')[0], -1)

TOP = {'nbs', 'aclip', 'tests', 'settings.ini', 'setup.py', '_quarto.yml', 'README.md', 'pyproject.toml', 'LICENSE', 'MANIFEST.in',
       'constraints.txt', 'CONTRIBUTING.md', 'CHANGELOG.md', 'CITATION.cff'}

@lru_cache
def tree(room): return ast.parse(modules[room].read_text(encoding='utf-8'))

@lru_cache
def notebook(path): return json.loads(path.read_text(encoding='utf-8'))

def source(cell): return ''.join(cell['source'])
def directive(cell, names): return re.search(rf'^#\|\s*({names})\b', source(cell), re.M)
def code_cells(path): return [c for c in notebook(path)['cells'] if c['cell_type'] == 'code' and source(c).strip()]
def exported(path): return [c for c in code_cells(path) if directive(c, 'exports?')]
def settings(): config = ConfigParser(delimiters=['=']); config.read(root/'settings.ini'); return config['DEFAULT']

each_room = pytest.mark.parametrize('room', modules)
each_notebook = pytest.mark.parametrize('path', nbs, ids=lambda p: p.stem)


# Imports

def imported(room):
    "Absolute names of all that a module imports, inside functions too, with their lines."
    package = ['aclip', *room.split('.')[:-1]]
    for n in ast.walk(tree(room)):
        if isinstance(n, ast.Import): yield from ((a.name, n.lineno) for a in n.names)
        elif isinstance(n, ast.ImportFrom):
            module = '.'.join(package[:len(package) - n.level + 1] + [n.module or '']).strip('.') if n.level else n.module
            yield from ((f'{module}.{a.name}', n.lineno) for a in n.names)

def rooms_of(room):
    "Rooms of the house that a module imports, with their lines."
    for name,line in imported(room):
        if name.split('.')[0] != 'aclip': continue
        inner = name.split('.')[1:]
        hits = [r for r in ('.'.join(inner[:i]) for i in (1, 2)) if r in modules]
        if hits: yield hits[-1],line
        elif inner and inner[0] not in ('__version__', 'assets', 'data', 'text', 'models', 'train', 'evaluate', 'evidence', 'command_line'): pytest.fail(f'aclip/{room}: line {line} imports {name}, which is no room of aclip')

@each_room
def test_module_has_a_rank(room): assert rank(room) >= 0, f'{modules[room].relative_to(root)}: add its package to RANK in this test'

@each_room
def test_imports_point_down(room):
    for other,line in rooms_of(room):
        assert rank(other) <= rank(room), f'{modules[room].relative_to(root)}:{line} imports {other}, which is above it: imports only point down'

def test_few_modules_at_the_root():
    assert len([m for m in modules if '.' not in m]) <= 8, 'at most eight modules at the root of the package'

@each_room
def test_no_private_name_crosses_modules(room):
    found = [f'line {line}: {name}' for name,line in imported(room) if name.startswith('aclip.') and name.rpartition('.')[2].startswith('_') and not name.endswith('__')]
    assert not found, f'{modules[room].relative_to(root)} imports private names: {found}; make them public in one place'

@each_room
def test_module_is_short(room):
    n = len(modules[room].read_text(encoding='utf-8').splitlines())
    assert n <= 300, f'{modules[room].relative_to(root)}: {n} lines; two jobs are two modules'

def test_no_circles():
    from graphlib import CycleError, TopologicalSorter
    try: TopologicalSorter({r: {o for o,_ in rooms_of(r)} for r in modules}).prepare()
    except CycleError as e: pytest.fail('imports run in a circle: ' + ' -> '.join(e.args[1]))

@pytest.mark.parametrize('room', sorted({'core'} | {f'models.{b}' for b in BASES}))
def test_knows_no_concrete_base(room):
    found = [f'{modules[room].relative_to(root)}:{line} imports {other}' for other,line in rooms_of(room) if other.removeprefix('models.') in BASES and other != room]
    assert not found, 'one more base must touch nothing: ' + '; '.join(found)

@each_room
def test_no_star_imports(room):
    lines = [n.lineno for n in ast.walk(tree(room)) if isinstance(n, ast.ImportFrom) and n.names[0].name == '*']
    assert not lines, f'{modules[room].relative_to(root)}: star import in line {lines}'

def test_third_party_imports_are_required():
    distribution = {'open_clip': 'open_clip_torch', 'PIL': 'pillow'}
    required = {re.match(r'[\w-]+', r)[0] for r in settings()['requirements'].split()}
    used = {name.split('.')[0] for room in modules for name,_ in imported(room)} - set(sys.stdlib_module_names) - {'aclip'}
    assert {distribution.get(u, u) for u in used} <= required, 'settings.ini does not require everything that aclip imports'


# One place for each fact

def test_version():
    import aclip
    assert settings()['version'] == aclip.__version__

def test_python_version():
    text = (root/'pyproject.toml').read_text()
    assert f'requires-python = ">={settings()["min_python"]}"' in text

def test_constraints_cover_the_requirements():
    pinned = {re.match(r'[\w-]+', l)[0] for l in (root/'constraints.txt').read_text().splitlines() if l and l[0] != '#'}
    required = {re.match(r'[\w-]+', r)[0] for r in settings()['requirements'].split()}
    assert required <= pinned, f'not pinned in constraints.txt: {required - pinned}'

def test_top_level():
    extra = {p.name for p in root.iterdir() if p.name[0] != '.'} - TOP - {'_proc', '_docs', 'build', 'dist', 'runs', 'aclip.egg-info', 'PKG-INFO', 'setup.cfg'}
    assert not extra, f'not in the plan of the house: {extra}'

def test_quarto_file():
    link = root/'nbs/_quarto.yml'
    if (root/'.git').exists(): assert link.is_symlink() and str(link.readlink()) == '../_quarto.yml'
    assert link.read_text() == (root/'_quarto.yml').read_text()
    config = yaml.safe_load(link.read_text())
    known = set('title image description favicon site-url site-path repo-url repo-link-target repo-link-rel repo-subdir repo-branch issue-url '
                'repo-actions reader-mode google-analytics announcement comments cookie-consent open-graph twitter-card navbar sidebar body-header '
                'body-footer margin-header margin-footer page-navigation back-to-top-navigation bread-crumbs page-footer search other-links code-links '
                'drafts draft-mode'.split())
    assert set(config['website']) <= known, 'Quarto rejects a key of website'
    assert set(config) <= {'project', 'format', 'website', 'metadata-files'}
    for f in config['metadata-files']: assert (root/'nbs'/f).exists()

def pages():
    "Notebooks of the sidebar, in the reader's order."
    def walk(items):
        for i in items:
            if isinstance(i, str): yield i
            else: yield from walk(i['contents'])
    return list(walk(yaml.safe_load((root/'_quarto.yml').read_text())['website']['sidebar']['contents']))

def test_sidebar_shows_every_notebook():
    assert len(pages()) == len(set(pages())), 'a page stands twice in the sidebar of _quarto.yml'
    missing = {p.name for p in nbs} - set(pages())
    assert not missing, f'add to the sidebar of _quarto.yml: {sorted(missing)}'

def test_sidebar_shows_nothing_else():
    dead = set(pages()) - {p.name for p in nbs}
    assert not dead, f'the sidebar of _quarto.yml names notebooks that do not exist: {sorted(dead)}'


# Notebooks

def default_exp(path):
    return next((m[1] for c in code_cells(path) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', source(c), re.M))), None)

def test_every_room_has_a_notebook():
    rooms = [default_exp(p) for p in nbs if default_exp(p)]
    assert sorted(rooms) == sorted(modules), 'rooms without a notebook, or notebooks without a room'

@each_notebook
def test_name_and_title(path):
    room = default_exp(path)
    if room: assert re.fullmatch(rf'\d\d[a-z]?_{re.escape(room)}', path.stem), f'{path.name} exports to {room}'
    first = next(c for c in notebook(path)['cells'] if c['cell_type'] == 'markdown')
    assert re.fullmatch(r'# [^\n]+\n\n> [^\n]+(\n\n?(- [\w-]+: [^\n]+\n?)+)?', source(first).strip()), (
        f'{path.name}: the first markdown cell is `# Title`, an empty line, `> one line`, and nothing else')

@each_notebook
def test_size(path):
    assert path.stat().st_size < 400_000, f'{path.name}: {path.stat().st_size//1000} kB'

def speaks(stmt):
    "Does a run of this statement print for sure?"
    if isinstance(stmt, ast.Expr): return isinstance(stmt.value, ast.Call) and getattr(stmt.value.func, 'id', '') == 'print'
    if isinstance(stmt, (ast.For, ast.With)): return any(map(speaks, stmt.body))
    if isinstance(stmt, ast.Try): return any(speaks(s) for h in stmt.handlers for s in h.body)
    return False

def shows(code):
    "Must a cell with this code have an output once it was run?"
    if any(l.lstrip()[:1] in ('!', '%') for l in code.splitlines()): return False
    body = ast.parse(code).body
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) and not code.rstrip().endswith(';') else None
    return any(map(speaks, body)) or isinstance(last, (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.BinOp, ast.Compare, ast.JoinedStr))

@each_notebook
def test_committed_executed(path):
    plain = [c for c in code_cells(path) if not directive(c, 'exports?|hide|default_exp|eval: *false|slow|cuda|data|weights')]
    for c in code_cells(path):
        assert not any(o['output_type'] == 'error' for o in c['outputs']), f'{path.name}: saved with an error: {source(c)[:80]!r}'
    for c in plain: assert c['outputs'] or not shows(source(c)), f'{path.name}: saved without the output of: {source(c)[:80]!r}'
    if plain: assert any(c['outputs'] for c in plain), f'{path.name}: saved without any output'

@each_notebook
def test_flagged_cells_import_nothing_of_ours(path):
    "The docs run every cell that imports the package, flagged or not: a slow one would run for minutes, and write its results."
    flagged = [c for c in code_cells(path) if directive(c, 'slow|cuda|data|weights')]
    for c in flagged: assert not re.search(r'^\s*(from|import) aclip\b', source(c), re.M), f'{path.name}: move the import to a cell of imports: {source(c)[:80]!r}'

@each_notebook
def test_no_machine_in_it(path):
    found = re.search(r'/(?:root|home|work|tmp)/[\w./-]+', path.read_text(encoding='utf-8'))
    assert not found, f'{path.name} shows a path of the machine it ran on: {found[0]}'


# What every exported name says of itself

def comments(room):
    "Line -> comment of a module; a comment on lines of its own belongs to the line below it."
    text = modules[room].read_text(encoding='utf-8')
    found, above = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith('# ') and not line.startswith('# %%'): above.append(line.strip().lstrip('# '))
        else:
            if above: found[number] = ' '.join(above)
            above = []
    toks = tokenize.generate_tokens(io.StringIO(text).readline)
    return found | {t.start[0]: t.string.lstrip('# ') for t in toks if t.type == tokenize.COMMENT}

def definitions(room):
    "(name, node, class node or None) of all public functions, classes and methods, patched ones too."
    for n in tree(room).body:
        if not isinstance(n, (ast.FunctionDef, ast.ClassDef)) or n.name[0] == '_': continue
        yield n.name,n,None
        for m in n.body if isinstance(n, ast.ClassDef) else ():
            if isinstance(m, ast.FunctionDef) and (m.name == '__init__' or m.name[0] != '_'): yield f'{n.name}.{m.name}',m,n

def parameters(f):
    "Parameters that need a comment: all but self, *args and **kwargs."
    args = [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
    return [a for a in args if a.arg not in ('self', 'cls') and a.arg[0] != '_']

# Methods of a contract of torch, fastai or pickle: what they take and give is said there.
CONTRACTS = ('.forward', '.reset', '.accumulate', '.value', '.name', '.find_class')

def is_record(c): # class node
    return any(getattr(b, 'id', '') == 'NamedTuple' for b in c.bases) or any('dataclass' in ast.unparse(d) for d in c.decorator_list)

@each_room
def test_docments(room):
    said,wrong = comments(room),[]
    def check(line, what):
        text = said.get(line)
        if not text: wrong.append(f'line {line}: {what} has no comment')
        elif '|' in text or '*' in text: wrong.append(f'line {line}: `|` and `*` break the table of the docs: {text}')
    for name,n,_ in definitions(room):
        if isinstance(n, ast.ClassDef):
            for f in n.body if is_record(n) else ():
                if isinstance(f, ast.AnnAssign) and f.target.id[0] != '_': check(f.lineno, f'field {f.target.id} of {name}')
        elif n.name != 'forward' and not name.endswith(CONTRACTS):
            lines = [a.lineno for a in parameters(n)]
            for a in parameters(n):
                check(a.lineno, f'{a.arg} of {name}')
                if lines.count(a.lineno) > 1: wrong.append(f'line {a.lineno}: {a.arg} of {name} shares its line with another parameter')
            result = n.returns is not None and ast.unparse(n.returns) != 'None' and not any('property' in ast.unparse(d) for d in n.decorator_list)
            if result: check(n.returns.end_lineno, f'the result of {name}')
    assert not wrong, f'{modules[room].relative_to(root)}:\n' + '\n'.join(wrong)

@each_room
def test_docstrings(room):
    missing = [f'line {n.lineno}: {name}' for name,n,_ in definitions(room) if n.name != 'forward' and not name.endswith(('.__init__', *CONTRACTS)) and not ast.get_docstring(n)]
    assert not missing, f'{modules[room].relative_to(root)} has no docstring for:\n' + '\n'.join(missing)
