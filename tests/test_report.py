"The report in one file: all text is escaped, HTML is not escaped twice, and a page that cannot be written is an error."
import pytest
from aclip.evaluate.plots import new_ax
from aclip.evidence.demo_report import DOCS, MODELS, introduction, result_note, table_rows
from aclip.evidence.report import Html, code, escape, link, paragraph, picture, side_by_side, table, write_page
from aclip.files import FileError

MARKUP = '<script>alert("x")</script> & more'
SAFE = '&lt;script&gt;'

@pytest.mark.parametrize('part', [MARKUP, '<p>' + MARKUP, paragraph(MARKUP), paragraph('see ', code(MARKUP)), code(MARKUP), link(MARKUP, MARKUP),
    table([{'a': MARKUP}]), table([{MARKUP: 1}]), table([{'a': MARKUP, 'b': 1, 'c': 2, 'd': 3}]), picture(new_ax(), MARKUP), side_by_side(picture(new_ax(), MARKUP), MARKUP)],
    ids=lambda p: type(p).__name__ + p[:12])
def test_text_is_escaped(tmp_path, part):
    page = write_page(tmp_path/'r.html', MARKUP, {MARKUP: [part]}).read_text()
    assert '<script' not in page and page.count(SAFE) >= 4 and '&amp;lt;' not in page       # title, h1, h2, the part

def test_html_is_inserted_as_it_is(tmp_path):
    page = write_page(tmp_path/'r.html', 'x', {'y': [Html('<b>bold</b>'), paragraph('a ', Html('<i>b</i>'))]}).read_text()
    assert '<b>bold</b>' in page and '<p>a <i>b</i></p>' in page and '<p><b>' not in page

@pytest.mark.parametrize('value,cell', [(1234567, '1,234,567'), (.5, '0.5'), ('a', 'a'), (Html('<b>a</b>'), '<b>a</b>'), (None, 'None')])
def test_cells(value, cell):
    assert f'<span>{cell}</span>' in table([{'x': value}]) and ('class="n"' in table([{'x': value}])) == isinstance(value, (int, float))

@pytest.mark.parametrize('n', [1, 3, 4, 7])
def test_wide_tables_are_stacked_on_a_phone(n):
    t = table([{f'column {k}': k for k in range(n)}]*2)
    assert ('class="wide"' in t) == (n > 3) and all(t.count(f'data-name="column {k}"') == 2 for k in range(n))

TERMS = ('Group activity recognition', 'image branch', 'text branch', 'MCA', 'MPCA', 'L_KD', 'gain', 'trainable', '12.5 %')

def test_introduction_of_the_demo_defines_the_terms_of_its_table():
    parts = introduction(dict(rows=[dict(clips=180)]))
    text = ' '.join(parts)
    assert all(term in text for term in TERMS) and '180 clips' in text
    assert parts[0].count('. ') == 1 and all(w in parts[0] for w in ('Group activity recognition', 'ActivityCLIP'))  # task and method, a sentence each
    assert f'href="{DOCS}"' in text and f'href="{DOCS}/walkthrough.html"' in text
    row = dict(model=MODELS[1], MCA=70., MCA_sd=1., MPCA=69., MPCA_sd=1., gain=2., gain_sd=1., text_branch=50., trainable=7, seconds=1.)
    heads = [head.removesuffix(' %') for head in table_rows([row])[0]]
    assert not [h for h in heads if h not in ('model', 'seconds') and h not in text]

@pytest.mark.parametrize('seeds', [[0], [0, 1, 2]])
def test_note_on_seeds(seeds): assert ('chance' in result_note(dict(seeds=seeds))) == (len(seeds) == 1)

def test_unwritable_page(tmp_path):
    (tmp_path/'file').write_text('x')
    with pytest.raises(FileError, match='cannot be written'): write_page(tmp_path/'file/report.html', 'x', {})

def test_escape(): assert escape(escape(MARKUP)) == escape(MARKUP) and escape(3) == '3'
