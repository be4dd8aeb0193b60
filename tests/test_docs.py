"Pages have names and an order of their own, their outputs are worth showing, links and pictures lead somewhere, and the README is nbs/index.ipynb."
import ast, json, re, sys
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree
from typing import NamedTuple
import pytest, yaml
from fastai.callback.core import Callback
from make_readme import readme, render
from torch import nn

root = Path(__file__).resolve().parents[1]
nbs = sorted(p for p in (root/'nbs').glob('*.ipynb') if p.name[0] not in '_.')
index = root/'nbs/index.ipynb'
texts = [*nbs, *(root/f'{name}.md' for name in ('README', 'CONTRIBUTING', 'CHANGELOG'))]
needs_index = pytest.mark.skipif(not index.exists(), reason='nbs/index.ipynb is not written yet')

@lru_cache
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']

def source(cell): return ''.join(cell['source'])

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


# Quarto and the processors after nbdev's own

def quarto(): return yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))

def processed(path, *cells):
    "Cells after nbdev's processors and ours, without those that execute code."
    from fastcore.nbio import dict2nb, mk_cell
    from nbdev.processors import FilterDefaults
    from nbdev.process import NBProcessor
    nb = dict2nb(dict(cells=[mk_cell(s, kind) for kind, s in cells], metadata={}, nbformat=4, nbformat_minor=5))
    nb.path_ = path
    procs = [p for p in FilterDefaults().procs() if p.__name__ not in ('add_show_docs', 'exec_show_docs', 'insert_warning')]
    NBProcessor(nb=nb, procs=procs, rm_directives='quarto').process()
    return [c.source for c in nb.cells]

def test_code_can_be_opened_and_folded():
    html = quarto()['format']['html']
    assert html['code-tools'] is True, 'the menu </> Code of a page'
    assert html.get('code-fold', False) is False, 'checks and examples are open'
    assert (root/'nbs'/html['css']).exists()

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_source_is_open_on_the_pages_of_the_method(path):
    method = {*in_sidebar(next(s['contents'] for s in sidebar() if s['section'] == 'The method'))}
    out = processed(path, ('code', '#| exports\ndef f(): pass'), ('code', '#| code-fold: show\n1'))
    assert [s.splitlines()[0] for s in out] == ['#| code-fold: ' + ('show' if path.name in method else 'true'), '#| code-fold: show']
    assert '#| code-summary: "Exported source"' in out[0]

def test_one_tip_explains_folded_code():
    tips = [p.name for p in nbs for c in cells(p) if 'Exported source' in ''.join(c['source']) and 'callout-tip' in ''.join(c['source'])]
    assert tips == ['index.ipynb']

def lookup():
    "Names of our functions and classes that nbdev links."
    from nbdev.doclinks import NbdevLookup
    return {n for n in NbdevLookup().syms if '.' not in n}

def test_plain_words_are_not_linked():
    plain = sorted(n for n in lookup() if re.fullmatch('[a-z]+', n))
    assert 'train' in plain
    for name in plain:
        for word in (name, name + '()'):
            text = processed(root/'nbs/20_cli.ipynb', ('markdown', f'use `{word}` here'))
            assert text == [f'use `{word}` here'], 'a plain word is no link, except on the page that defines it'
            text = processed(root/'nbs/20_cli.ipynb', ('markdown', f'use `{word}` here'), ('code', f'show_doc({name})'))
            assert text[0].startswith(f'use [`{word}`](http')

def test_underscore_is_not_linked():
    "Functions that are only registered have this name; it is also a character that pages write about."
    assert processed(root/'nbs/20_cli.ipynb', ('markdown', 'write `_` here')) == ['write `_` here']

def test_names_of_arguments_are_not_linked():
    name = next(n for n in sorted(lookup()) if re.fullmatch('[a-z]+_[a-z]+', n))
    assert processed(root/'nbs/20_cli.ipynb', ('markdown', f'`{name}`'))[0].startswith('[')
    for code in (f'def f({name}): pass', f'{name} = 1'):
        assert processed(root/'nbs/20_cli.ipynb', ('markdown', f'`{name}`'), ('code', code))[0] == f'`{name}`'

class Point(NamedTuple):
    "A point."
    x:float

class PlainCallback(Callback): "Does nothing."

class PlainModule(nn.Module):
    "Its input."
    def forward(self, x): return x

class ProblemError(ValueError): "A problem."

@pytest.mark.parametrize('cls,empty', [(Point, True), (PlainCallback, True), (PlainModule, True), (ProblemError, True), (nn.Linear, False)])
def test_a_signature_without_a_field_gives_way_to_the_source(cls, empty):
    from fastcore.basics import AttrDict
    from nbdev.showdoc import show_doc
    from aclip.evidence.site import ShortSignatures
    output = dict(data={'text/markdown': show_doc(cls)._repr_markdown_()})
    cell = AttrDict(cell_type='code', source=f'show_doc({cls.__name__})', outputs=[output])
    exported = AttrDict(cell_type='code', source='#| code-fold: true\n#| code-summary: "Exported source"\nclass A: pass')
    process = ShortSignatures(None)
    process(cell)
    process(exported)
    assert ('```python' in output['data']['text/markdown']) == (not empty)
    assert exported.source.startswith('#| code-fold: ' + ('show' if empty else 'true'))

def definitions(path):
    "Exported functions and classes of a page, methods included."
    for c in cells(path):
        if c['cell_type'] == 'code' and re.search(r'^#\| *export', source(c), re.M):
            yield from ((n, source(c)) for n in ast.walk(ast.parse(source(c))) if isinstance(n, (ast.FunctionDef, ast.ClassDef)))

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_docs_of_a_definition_render(path):
    "nbdev puts a docstring between asterisks, and the comment of a result on one line."
    for node, text in definitions(path):
        doc = ast.get_docstring(node) or ''
        assert '*' not in re.sub(r'`[^`]*`', '', doc.splitlines()[0] if doc else ''), f'{path.name}: an asterisk in the docstring of {node.name} ends its italics'
        if isinstance(node, ast.FunctionDef) and node.name == '__repr__' and re.search(r'^@patch', text, re.M):
            assert doc, f'{path.name}: the docs of __repr__ are "Return repr(self)."'
    for cell in cells(path):
        many = re.findall(r'^ *#[^|].*\n *#.*\n\)->', source(cell), re.M) if cell['cell_type'] == 'code' else []
        assert not many, f'{path.name}: the comment of a result on one line, behind it: {many}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_a_page_starts_with_words(path):
    "Imports and other code come after the first sentences."
    visible = [c for c in cells(path) if c['cell_type'] == 'markdown' or c['cell_type'] == 'code' and not re.match(r'#\| *(hide|export\b|default_exp)', source(c))]
    title = next(i for i, c in enumerate(visible) if source(c).startswith('# '))
    assert visible[title + 1]['cell_type'] == 'markdown', f'{path.name}: code before the first sentence'

def test_links_are_not_nested():
    for before, after in (('', ''), ('the ', ' class')):
        text = f'[{before}`LoRALinear`{after}](07_text.lora.ipynb)'
        assert processed(root/'nbs/20_cli.ipynb', ('markdown', text)) == [text]


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

NARROW = 349 # pixels of a figure on a page of 400: Quarto keeps 1.5em of 17 pixels at either side
SMALLEST = 10 # pixels of a text

def drawings(path): return ElementTree.parse(path).getroot()

def text_sizes(svg):
    "Sizes of all texts in units of the drawing; a subscript is in percent and left out."
    own = [e.get('font-size', svg.get('font-size', '16')) for e in svg.iter() if e.tag.endswith(('}text', '}tspan'))]
    return [float(size) for size in own if not size.endswith('%')]

@pytest.mark.parametrize('path', [p for p in images if p.suffix == '.svg'], ids=lambda p: p.name)
def test_drawing_is_readable_on_a_narrow_and_on_a_dark_page(path):
    svg = drawings(path)
    width, height = map(float, svg.get('viewBox').split()[2:])
    small = [s for s in text_sizes(svg) if s*min(1, NARROW/width) < SMALLEST]
    assert not small, f'{path.name}: texts of size {sorted(set(small))} are below {SMALLEST} pixels on a page of 400'
    card = next(e for e in svg if e.tag.endswith('}rect'))
    assert (float(card.get('width')), float(card.get('height'))) == (width, height), f'{path.name}: a card of its own behind the drawing, for the dark theme'
    assert int(card.get('fill')[1:3], 16) > 0xe0, f'{path.name}: dark text needs a light card'

@pytest.mark.parametrize('path', texts, ids=lambda p: p.name)
def test_pictures_have_alt_text(path):
    bad = re.findall(r'!\[\s*\]\([^)]*\)', prose(path)) + [t for t in re.findall(r'<img[^>]*>', prose(path)) if not re.search(r'alt="[^"]+"', t)]
    assert not bad, f'{path.name}: describe the picture in words: {bad}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_drawings_have_a_caption(path):
    "Alone in its paragraph, a picture gets its alt text as caption; a line in italics below it is the caption."
    for c in cells(path):
        if c['cell_type'] != 'markdown': continue
        for part in re.split(r'\n\s*\n', ''.join(c['source'])):
            picture = re.match(r'!\[[^\]]*\]\((?!https?:)[^)]*\)(.*)', part.strip(), re.S)
            assert not picture or re.match(r'\\\n\*\S', picture[1]), f'{path.name}: end the line of the picture in a backslash, with the caption in italics below it: {part[-90:]!r}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_names_in_equations_are_upright(path):
    found = [m for c in cells(path) if c['cell_type'] == 'markdown' for m in re.findall(r'\\(?:mathrm|mathit|operatorname)\{\w{2,}\}', ''.join(c['source']))]
    assert not found, f'{path.name}: MathML writes the letters of \\mathrm{{...}} in italics, and GitHub does not know \\operatorname; use \\text: {found}'

def pictures(path):
    "Code cells that show a picture, each with the text of the next cell."
    for c, following in zip(cells(path), [*cells(path)[1:], dict(source='')]):
        if any(k.startswith('image/') for o in c.get('outputs', ()) for k in o.get('data', {})): yield ''.join(c['source']), ''.join(following['source'])

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_plots_have_alt_text_and_a_caption(path):
    for source, following in pictures(path):
        assert re.search(r'^#\| *fig-alt: *\S', source, re.M), f'{path.name}: #| fig-alt describes the picture: {source[:90]!r}'
        captioned = re.search(r'^#\| *fig-cap: *\S', source, re.M) or following.lstrip().startswith('*')
        assert captioned, f'{path.name}: #| fig-cap states the point of the picture: {source[:90]!r}'

SMALLEST_IN_PLOT = 9 # pixels of a text of a plot on a page of 400

def on_a_narrow_page(size, width):
    "Pixels of a text of `size` points, in a figure that is `width` inches wide."
    return size*NARROW/(72*width)

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_texts_of_a_plot_are_readable_on_a_narrow_page(path):
    "Where the cell of a plot gives its width and a size of letters."
    for text, _ in pictures(path):
        width = re.search(r'figsize=\(([\d.]+),', text)
        sizes = [float(size) for size in re.findall(r'(?:fontsize|labelsize)=([\d.]+)', text)]
        if not width or not sizes or float(width[1]) < 2: continue
        pixels = on_a_narrow_page(min(sizes), float(width[1]))
        assert pixels >= SMALLEST_IN_PLOT, f'{path.name}: texts of {pixels:.1f} pixels; draw a smaller figure, which is scaled up, or larger letters: {text[-90:]!r}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_cells_with_a_caption_store_a_picture(path):
    "A page that was run without the data or the weights loses the pictures that need them."
    for c in cells(path):
        if c['cell_type'] != 'code' or not re.search(r'^#\| *fig-cap:', source(c), re.M): continue
        shown_kinds = {k for o in c.get('outputs', ()) for k in o.get('data', {})}
        assert any(k.startswith('image/') for k in shown_kinds), f'{path.name}: the picture is not stored; run the page where its data is: {source(c)[:90]!r}'

def test_captions_are_in_double_quotes():
    "In single quotes nbdev shows the quotes too."
    quoted = [f.name for f in sorted((root/'nbs').glob('*.ipynb')) if re.search(r"#\| fig-(cap|alt): *'", f.read_text(encoding='utf-8'))]
    assert not quoted, quoted

def test_plots_of_the_package_are_readable_on_a_narrow_page():
    import torch
    from matplotlib.text import Text
    from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
    from aclip.evaluate.plots import plot_confusions, plot_differences, show_matrix
    from aclip.evaluate.visual import show_clip
    corners = torch.cartesian_prod(torch.arange(4)*.24 + .05, torch.arange(3)*.3 + .1)  # not crowded: letters shrink where labels would cover each other
    boxes = torch.cat([corners, corners + .1], 1)
    figures = dict(show_matrix=show_matrix(torch.eye(9), ACTIONS).figure, plot_confusions=plot_confusions({'one': torch.eye(8)}, ACTIVITIES, cols=1),
        plot_differences=plot_differences({'one': torch.zeros(3, 8)}, ACTIVITIES).figure, show_clip=show_clip(None, boxes, torch.zeros(12).long(), ACTIONS).figure)
    for name, figure in figures.items():
        smallest = min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text())
        assert on_a_narrow_page(smallest, figure.get_size_inches()[0]) >= SMALLEST_IN_PLOT, name


# Stored outputs

UNWANTED = {'a skip message': r'\bskip(?:ped|ping|s)?\b', 'an address in memory': r'\bat 0x[0-9a-f]{6,}', 'a warning': r'\b\w*Warning:',
            'nothing': r'^\s*$', 'a folder of this machine': r'(?<![\w.])/(?:tmp|root|home|work|var/folders|private/tmp|mnt|content)/'}

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

COLUMNS = 80
NARROW_COLUMNS = 48 # of an output on a page of 400 pixels
MATRIX = r'(?=.{40})\s*(?:tensor\(|array\()?\[+\s*[-\'\d]' # a row of a printed tensor; with its brackets at the end it may wrap

def printed(output):
    "Text that a page shows in a fixed width: not a picture, a table, Markdown or HTML."
    data = output.get('data', {})
    if output['output_type'] == 'stream': return ''.join(output['text'])
    rich = any(k.startswith('image/') or k in ('text/markdown', 'text/html') for k in data)
    return '' if rich else ''.join(data.get('text/plain', ''))

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_printed_lines_are_not_cut(path):
    wide = [l for c in cells(path) for o in c.get('outputs', ()) for l in printed(o).splitlines() if len(l) > COLUMNS]
    assert not wide, f'{path.name} prints lines of more than {COLUMNS} columns; wrap them with textwrap.fill, or show a table: {wide[:3]}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_columns_are_not_wrapped(path):
    "On a narrow page lines wrap, which destroys columns; a class of the cell keeps them."
    for c in cells(path):
        lines = '\n'.join(map(printed, c.get('outputs', ()))).splitlines()
        columns = [l for l in lines if re.search(r'\S {3,}\S', l) or re.match(MATRIX, l)]
        if len(columns) < 2 or max(map(len, lines)) <= NARROW_COLUMNS: continue
        assert re.search(r'^#\| *(classes: aligned|hide)', source(c), re.M), f'{path.name}: #| classes: aligned for a print in columns: {columns[0]!r}'

def test_styles_of_a_narrow_page():
    css = (root/'nbs/styles.css').read_text(encoding='utf-8')
    narrow = css[css.index('@media (max-width: 575px)'):]
    assert re.search(r'^ *\.cell-output pre.*pre-wrap', narrow, re.M) and re.search(r'^ *\.aligned \.cell-output pre.*white-space: pre;', narrow, re.M)

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_html_is_not_wider_than_a_narrow_page(path):
    shown_html = [''.join(o.get('data', {}).get('text/html', '')) for c in cells(path) for o in c.get('outputs', ())]
    wide = [tag for html in shown_html for tag in re.findall(r'<iframe[^>]*?width="\d+"[^>]*?srcdoc', html) if 'max-width:100%' not in tag]
    assert not wide, f'{path.name}: {wide}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_one_equation_a_line(path):
    "Two equations in one line are wider than a page of 400 pixels."
    found = [m for c in cells(path) if c['cell_type'] == 'markdown' for m in re.findall(r'\$\$(.*?)\$\$', source(c), re.S)
             if '\\qquad' in m.partition('\\qquad s \\in')[0] and len(m) > 60]
    assert not found, f'{path.name}: a display of its own for each equation: {found}'

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_outputs_are_not_empty_without_data(path):
    "An output that has neither text nor a picture, an error, or a repr in place of what it shows."
    for c in cells(path):
        for o in c.get('outputs', ()):
            assert o['output_type'] != 'error', f'{path.name} stores an error'
            assert o['output_type'] == 'stream' or o.get('data'), f'{path.name} has an output without data: {"".join(c["source"])[:90]!r}'
            only = set(o.get('data', {})) == {'text/plain'} and ''.join(o['data']['text/plain'])
            assert not only or not re.fullmatch(r'<[\w.]+( object.*|.*Axes.*)?>', only.strip()), f'{path.name} shows {only!r}'


# Tables

def tables(markdown):
    "Separator and rows of each pipe table."
    for m in re.finditer(r'^(\|.*\|)\n(\|[-:| ]+\|)\n((?:\|.*(?:\n|$))+)', markdown, re.M):
        split = lambda line: re.split(r'(?<!\\)\|', line.strip()[1:-1])
        yield [c.count('-') for c in split(m[2])], [split(line) for line in (m[1], *m[3].splitlines())], max(map(len, m[0].splitlines()))

@pytest.mark.parametrize('path', nbs, ids=lambda p: p.name)
def test_columns_of_wide_tables_fit_their_text(path):
    "Where a line is longer than 72, Pandoc gives the columns widths in proportion to the dashes: three each are columns of one width."
    for c in cells(path):
        for markdown in map(''.join, rendered(c)):
            for dashes, rows, longest in tables(markdown):
                text = [max(len(re.sub(r'\]\([^)]*\)|<[^>]*>|[`*\[\]]', '', row[k]).strip()) for row in rows) for k in range(len(dashes))]
                if longest <= 72 or max(text) < 16: continue
                assert set(dashes) != {3}, f'{path.name}: write more dashes below the columns with more text: {rows[0]}'


def own_functions(path):
    "Functions that a page defines for itself, as text."
    for c in cells(path):
        src = ''.join(c['source'])
        if c['cell_type'] != 'code' or re.search(r'^#\| *export', src, re.M): continue
        try: body = ast.parse(re.sub(r'^[!%].*$', '', src, flags=re.M)).body
        except SyntaxError: continue
        yield from (ast.unparse(n) for n in body if isinstance(n, ast.FunctionDef) and len(ast.unparse(n).splitlines()) > 2)

def test_results_pages_share_their_helpers():
    where = {}
    for p in nbs:
        if p == index or p.name.startswith('3'):
            for text in set(own_functions(p)): where.setdefault(text, []).append(p.name)
    twice = {text.splitlines()[0]: names for text, names in where.items() if len(names) > 1}
    assert not twice, f'these functions are on several pages; put them into aclip.evidence.pages: {twice}'


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
    nb = dict(cells=[code('#| default_exp index'), md('::: {.callout-tip}\nabout the site\n:::'), md('# A\n\n[x](01_a.ipynb#b) [y](../LICENSE) [z](https://z.org) ![p](images/p.png)'), code('#| hide\n1/0'),
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
    assert 'pip install' in commands[0] and 'aclip demo' in commands[1]
    assert 'bash tests/all.sh' in (root/'README.md').read_text(encoding='utf-8')
