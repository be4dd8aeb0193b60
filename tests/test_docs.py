"Pages have names and an order of their own, their outputs are worth showing, links and pictures lead somewhere, and the README is nbs/index.ipynb."
import ast, json, re, sys
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree
import pytest, yaml
from make_readme import readme, render

root = Path(__file__).resolve().parents[1]
nbs = sorted(p for p in (root/'nbs').glob('*.ipynb') if p.name[0] not in '_.')
index = root/'nbs/index.ipynb'
texts = [*nbs, *(root/f'{name}.md' for name in ('README', 'CONTRIBUTING', 'CHANGELOG'))]
needs_index = pytest.mark.skipif(not index.exists(), reason='nbs/index.ipynb is not written yet')

@lru_cache
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']

def rendered(cell):
    "The markdown of a cell: its source, or the markdown that it put out."
    if cell['cell_type'] == 'markdown': yield cell['source']
    for o in cell.get('outputs', ()): yield o.get('data', {}).get('text/markdown', '')

@lru_cache
def prose(path):
    "The markdown of a page, code blocks and inline code taken out."
    text = path.read_text(encoding='utf-8') if path.suffix == '.md' else '\n\n'.join(''.join(t) for c in cells(path) for t in rendered(c))
    return re.sub(r'`[^`\n]*`', '', re.sub(r'^(```+|~~~+).*?^\1[ \t]*$', '', text, flags=re.M|re.S))

def slug(heading):
    "The anchor that Quarto, and GitHub too, gives a heading."
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', re.sub(r'\{[^}]*\}\s*$', '', heading)).replace('`', '').strip().lower()
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s', '-', re.sub(r'[^\w\s.-]', '', text)))

@lru_cache
def anchors(path):
    "All that `page#...` may name: headings, written ids, labels of cells, exported names."
    raw = path.read_text(encoding='utf-8') if path.suffix == '.md' else '\n\n'.join(''.join(c['source']) for c in cells(path))
    found = {slug(h) for h in re.findall(r'^#{1,6} (.+)$', raw, re.M)} | set(re.findall(r'\{#([\w:.-]+)', raw)) | set(re.findall(r'<\w+ id="([\w:.-]+)"', raw)) | set(re.findall(r'^#\| *label: *(\S+)', raw, re.M))
    for c in cells(path) if path.suffix == '.ipynb' else ():
        src = ''.join(c['source'])
        if re.search(r'^#\| *export', src, re.M): found |= {n.name.lower() for n in ast.parse(src).body if hasattr(n, 'name')}
    return found

def links(path): # (text, target) of links and pictures
    yield from re.findall(r'!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)', prose(path))
    yield from (('img', t) for t in re.findall(r'<img[^>]*?src="([^"]+)"', prose(path)))
    yield from (('ref', t) for t in re.findall(r'^\[[^\]^]+\]:\s*(\S+)', prose(path), re.M))


# Names and order of the pages

PARTS = ['The method', 'Use it', 'Results', 'Reference']

def sidebar(): return yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']

def in_sidebar(items):
    "Names of the notebooks below entries of the sidebar."
    for i in items:
        if isinstance(i, str): yield i
        else: yield from in_sidebar(i['contents'])

def output_name(path):
    "The name of a page in the docs: nbdev takes the number away, and lower-cases."
    return re.sub(r'^\d+[a-z0-9]*_', '', path.stem.lower())

def test_output_name_is_the_rule_of_nbdev():
    from nbdev.config import nbpath2html
    for p in nbs: assert nbpath2html(p).name == output_name(p) + '.html'

def test_every_page_has_an_output_name_of_its_own():
    names = {}
    for p in nbs: names.setdefault(output_name(p), []).append(p.name)
    same = [ns for ns in names.values() if len(ns) > 1]
    assert not same, f'these pages overwrite each other in the docs: {same}'

def test_names_are_numbered():
    bad = [p.name for p in nbs if p != index and not re.fullmatch(r'\d\d[a-z]?_[a-z][\w.]*', p.stem)]
    assert not bad, f'a notebook is named NN_package.module.ipynb, not {bad}'
    numbers = [p.stem.partition('_')[0] for p in nbs if p != index]
    assert len(numbers) == len(set(numbers)), 'two notebooks have one number'

def test_sidebar_has_four_parts():
    assert [s.get('section') for s in sidebar()] == PARTS

def test_numbers_sidebar_and_files_have_one_order():
    order = list(in_sidebar(sidebar()))
    assert order[0] == 'index.ipynb', 'the sidebar starts with the home page'
    assert order[1:] == sorted(order[1:]), 'the sidebar is in the order of the numbers'
    assert order[1:] == [p.name for p in nbs if p != index], 'the sidebar has every notebook once'


# Run all, on Colab and elsewhere

METHOD, USE = (part['contents'] for part in sidebar()[:2])
# A letter after the number: the plumbing of a tutorial.
RUN_ALL = [*METHOD, *(n for n in USE if re.match(r'\d\d_', n))]
# The home page is read, not run: its badge opens the page to start with.
OPENS = {'index.ipynb': '01_walkthrough.ipynb'}
COLAB = 'https://colab.research.google.com/github/aclip-gar/aclip/blob/main/nbs/'
INSTALL = '''#| hide
try: import aclip
except ImportError:
    %pip install -Uqq git+https://github.com/aclip-gar/aclip'''

def source(cell): return ''.join(cell['source'])

@pytest.mark.parametrize('name', RUN_ALL)
def test_colab_badge(name):
    page = cells(root/'nbs'/name)
    title = next(i for i, c in enumerate(page) if c['cell_type'] == 'markdown' and source(c).startswith('# '))
    badge = page[title + 1]
    opened = re.findall(r'\]\((https://colab[^)]*ipynb)\)', source(badge))
    assert badge['cell_type'] == 'markdown' and opened == [COLAB + OPENS.get(name, name)], f'{name}: the cell below the title is the badge that opens the page, not {opened}'

@pytest.mark.parametrize('name', RUN_ALL)
def test_install_cell(name):
    code = [source(c) for c in cells(root/'nbs'/name) if c['cell_type'] == 'code' and not source(c).startswith('#| default_exp')]
    assert code[0] == INSTALL, f'{name}: the first code cell installs aclip where it is missing'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_slow_cells_ask_the_environment(path):
    "Jupyter and Colab do not know the mark of a slow cell."
    slow = [source(c) for c in cells(path) if c['cell_type'] == 'code' and re.search(r'^#\| *slow', source(c), re.M)]
    assert all(re.search(r"if os\.environ\.get\('ACLIP_\w+'\)", s) for s in slow), f'{path.name}: a slow cell runs only where an environment variable is set'

@pytest.mark.parametrize('there', [True, False])
def test_install_cell_acts_only_where_aclip_is_missing(there, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager
    done = []
    shell = type('Shell', (), dict(run_line_magic=lambda self, *command: done.append(command)))()
    if not there: monkeypatch.setitem(sys.modules, 'aclip', None)
    exec(TransformerManager().transform_cell(INSTALL), dict(get_ipython=lambda: shell))
    assert done == ([] if there else [('pip', 'install -Uqq git+https://github.com/aclip-gar/aclip')])


# Pictures

images = sorted((root/'nbs/images').glob('*.*'))

@pytest.mark.parametrize('path', images, ids=lambda p: p.name)
def test_picture(path):
    assert any(path.name in t for p in nbs for _, t in links(p)), f'{path.name} is on no page'
    assert path.stat().st_size < 200_000
    if path.suffix == '.svg': assert ElementTree.parse(path).getroot().get('viewBox'), f'{path.name} needs a viewBox, to be scaled'

@pytest.mark.parametrize('path', texts, ids=lambda p: p.name)
def test_pictures_have_alt_text(path):
    bad = re.findall(r'!\[\s*\]\([^)]*\)', prose(path)) + [t for t in re.findall(r'<img[^>]*>', prose(path)) if not re.search(r'alt="[^"]+"', t)]
    assert not bad, f'{path.name}: describe the picture in words: {bad}'


# Stored outputs

UNWANTED = {'a skip message': r'\bskip(?:ped|ping|s)?\b', 'an address in memory': r'\bat 0x[0-9a-f]{6,}', 'a warning': r'\b\w*Warning:',
            'nothing': r'^\s*$', 'a folder of this machine': r'/(?:tmp|root|home|work)/'}

def shown(output):
    "What a reader sees of an output, as text."
    if output['output_type'] == 'stream': return ''.join(output['text'])
    data = output.get('data', {})
    if any(k.startswith('image/') for k in data): return 'a picture'
    return ''.join(next((data[k] for k in ('text/markdown', 'text/html', 'text/plain') if k in data), ''))

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_stored_outputs(path):
    outputs = [o for c in cells(path) for o in c.get('outputs', ())]
    assert not [o for o in outputs if o.get('name') == 'stderr'], f'{path.name} shows what was printed to standard error'
    found = [f'{what}: {shown(o)[:90]!r}' for o in outputs for what, pattern in UNWANTED.items() if re.search(pattern, shown(o))]
    assert not found, f'{path.name} shows ' + '; '.join(found)


# Links

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_written_ids_are_unique(path):
    ids = re.findall(r'<\w+ id="([\w:.-]+)"|\{#([\w:.-]+)', prose(path))
    ids = [a or b for a, b in ids]
    assert len(ids) == len(set(ids)), f'{path.name}: an anchor is there twice: {sorted({i for i in ids if ids.count(i) > 1})}'

@pytest.mark.parametrize('path', texts, ids=lambda p: p.name)
def test_links(path):
    bad = []
    for text,target in links(path):
        if re.match(r'[a-z]+:', target):
            attached = {a for c in cells(path) for a in c.get('attachments', {})} if target.startswith('attachment:') else None
            if attached is not None and target[11:] not in attached: bad.append(f'{text}: no {target}')
            continue
        name,_,anchor = target.partition('#')
        to = (path.parent/name).resolve() if name else path
        if not to.exists(): bad.append(f'[{text}]({target}): there is no {name}')
        elif root not in to.parents: bad.append(f'[{text}]({target}) leads out of the project')
        elif anchor and to.suffix in ('.ipynb', '.md') and anchor not in anchors(to): bad.append(f'[{text}]({target}): {to.name} has no #{anchor}')
    assert not bad, f'{path.name}:\n' + '\n'.join(bad)

def test_readme_is_rendered_by_rules():
    md = lambda s: dict(cell_type='markdown', source=[s])
    code = lambda s, *outs: dict(cell_type='code', source=[s], outputs=list(outs))
    nb = dict(cells=[code('#| default_exp index'), md('# A\n\n[x](01_a.ipynb#b) [y](../LICENSE) [z](https://z.org) ![p](images/p.png)'), code('#| hide\n1/0'),
                     code('1+1', dict(output_type='execute_result', data={'text/plain': ['2']}))])
    assert render(nb) == ('# A\n\n[x](nbs/01_a.ipynb#b) [y](LICENSE) [z](https://z.org) ![p](nbs/images/p.png)\n\n'
                          '```python\n1+1\n```\n\n```text\n2\n```\n')

@needs_index
def test_readme_is_the_home_page():
    assert (root/'README.md').read_text(encoding='utf-8') == readme(), 'run: python tests/make_readme.py'

@needs_index
def test_readme_sets_up_in_two_commands():
    blocks = re.findall(r'^```(?:sh|bash|shell)\n(.*?)^```', (root/'README.md').read_text(encoding='utf-8'), re.M|re.S)
    assert blocks, 'README.md has no shell block'
    commands = [l.strip() for l in blocks[0].replace('\\\n', ' ').splitlines() if l.strip() and not l.lstrip().startswith('#')]
    assert len(commands) == 2, f'the first shell block of README.md holds the two commands that do all set-up, not {commands}'
    assert any('bash tests/all.sh' in c for c in commands)
