"Only what the program wrote is deleted or replaced: by a list for folders, by the kind of content for single files."
import json, shutil, warnings
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st
from helpers import aclip, refused
from aclip.data.ownership import LIST, FileList, file_digest
from aclip.data.synthetic import make_world, world_files
from aclip.evidence.bench import run_bench
from aclip.evidence.demo import demo_files, open_folder
from aclip.text.bank import TextBank
from aclip.text.teachers import make_bank

pytestmark = pytest.mark.filterwarnings('ignore:.*aclip did not write')
SMALL = dict(clips=4, videos=3, size=(90, 160), seed=3, workers=0, progress=False)
NEW = SMALL | dict(seed=4)

def tree(root): return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob('*')) if f.is_file()}

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return make_world(tmp_path_factory.mktemp('w')/'world', **SMALL)

@pytest.fixture
def world(drawn, tmp_path): return shutil.copytree(drawn, tmp_path/'world')

# --- a list -------------------------------------------------------------------

names = st.text(st.sampled_from('abc.-_ é'), min_size=1, max_size=6).filter(lambda n: n.strip('.') and n == n.strip())

@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.lists(names, min_size=1, max_size=2).map('/'.join), st.sampled_from(['ours', 'changed', 'foreign', 'lost']), max_size=6))
def test_only_unchanged_files_of_the_list_go(tmp_path_factory, files):
    root = tmp_path_factory.mktemp('list')
    fates = {}
    for name, fate in files.items():
        try:
            (root/name).parent.mkdir(parents=True, exist_ok=True)
            (root/name).write_text('content')
        except OSError: continue                      # a file is where a folder should be
        fates[name] = fate
    mine = FileList(root)
    mine.add((n, file_digest(root/n)) for n, fate in fates.items() if fate != 'foreign')
    for name, fate in fates.items():
        if fate == 'changed': (root/name).write_text('changed')
        if fate == 'lost': (root/name).unlink()
    stays = {n for n, fate in fates.items() if fate in ('changed', 'foreign')}
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter('always')
        mine.clear()
    assert {*tree(root)} == stays if stays else not root.exists() or not tree(root)
    assert bool(noted) == bool(stays)

@pytest.mark.parametrize('line', ['../precious', '/etc/hostname', 'a/../../precious'])
def test_a_list_never_leads_out_of_its_folder(tmp_path, line):
    (tmp_path/'precious').write_text('mine'); (tmp_path/'in').mkdir()
    files = FileList(tmp_path/'in')
    files.add([(line, '-'*64), (line, file_digest(tmp_path/'precious'))])
    files.clear()
    assert (tmp_path/'precious').read_text() == 'mine'

def test_a_link_is_not_followed(tmp_path):
    (tmp_path/'precious').write_text('mine'); (tmp_path/'in').mkdir()
    (tmp_path/'in/a').symlink_to(tmp_path/'precious')
    FileList(tmp_path/'in').add([('a', file_digest(tmp_path/'precious'))])
    FileList(tmp_path/'in').clear()
    assert (tmp_path/'precious').read_text() == 'mine' and (tmp_path/'in/a').is_symlink()

# --- worlds -------------------------------------------------------------------

def test_a_world_lists_its_files(world):
    assert {*FileList(world).own()} == {*world_files(json.loads((world/'world.json').read_text()))} == {*tree(world)} - {LIST}

@pytest.mark.parametrize('name', ['videos/3/mine.txt', 'videos/mine/1.jpg', 'captions/notes', 'notes.md', '.partial/draft.txt', 'videos/0/1000/extra.jpg'])
def test_overwrite_leaves_foreign_files(world, name):
    (world/name).parent.mkdir(parents=True, exist_ok=True)
    (world/name).write_text('mine')
    with pytest.warns(UserWarning, match='aclip did not write'): make_world(world, **NEW, overwrite=True)
    assert (world/name).read_text() == 'mine' and json.loads((world/'world.json').read_text())['seed'] == 4

@pytest.mark.parametrize('name', ['videos/0/1000/1000.jpg', 'videos/0/annotations.txt', 'captions/0/1000.txt', 'world.json'])
def test_a_changed_file_in_the_way_keeps_everything(world, name):
    (world/name).write_bytes((world/name).read_bytes() + b' ')
    before = tree(world)
    with pytest.raises(ValueError, match='move it elsewhere|is not of a synthetic world'): make_world(world, **NEW, overwrite=True)
    assert tree(world) == before

@pytest.mark.parametrize('card', ['{}', '{"kind": "my world"}', '[]', 'text'])
def test_a_foreign_card_keeps_everything(world, card):
    (world/'world.json').write_text(card)
    before = tree(world)
    refused('world', '--out', world, '--clips', 4, '--videos', 3, '--overwrite', says=['world.json', 'nothing is deleted'])
    assert tree(world) == before

def test_without_a_list_nothing_is_deleted(world):
    (world/LIST).unlink()
    before = tree(world)
    refused('world', '--out', world, '--clips', 4, '--videos', 3, '--overwrite', says=[LIST, 'delete it yourself'])
    assert tree(world) == before

def test_a_changed_annotation_is_not_replaced(world):
    path = world/'videos/0/annotations.txt'
    path.write_text(path.read_text() + '# mine\n')
    before = tree(world)
    with pytest.raises(ValueError, match='was changed since it was drawn'): make_world(world, **SMALL)
    assert tree(world) == before

# --- demo ---------------------------------------------------------------------

CARD = dict(kind='aclip demo', seeds=[0])

def a_demo(out):
    open_folder(out, CARD, False)
    with FileList(out).recorded(demo_files([0])):
        for name in demo_files([0])[1:]:
            (out/name).parent.mkdir(parents=True, exist_ok=True)
            (out/name).write_text('ours')
    make_world(out/'seed-0/world', **SMALL)
    return out

@pytest.mark.parametrize('seeds', [[0], [1]])
def test_a_demo_goes_by_its_lists(tmp_path, seeds):
    out = a_demo(tmp_path/'demo')
    (out/'seed-7').mkdir(); (out/'seed-7/mine').write_text('mine'); (out/'seed-0/mine').write_text('mine')
    open_folder(out, CARD | dict(seeds=seeds, clips=5), True)
    assert {*tree(out)} == {'seed-7/mine', 'seed-0/mine', 'demo.json', LIST} and json.loads((out/'demo.json').read_text())['clips'] == 5

@pytest.mark.parametrize('name', ['seed-0/world/mine.txt', 'report.html', 'seed-0/with/3-text/best.safetensors'])
def test_what_is_in_the_way_of_a_demo(tmp_path, name):
    out = a_demo(tmp_path/'demo')
    (out/name).write_text('mine')
    before = tree(out)
    with pytest.raises(ValueError, match='move it elsewhere'): open_folder(out, CARD | dict(clips=5), True)
    assert tree(out) == before

@pytest.mark.parametrize('card', ['{}', '[]', '{"kind": "aclip demo"}', json.dumps(CARD)])
def test_a_foreign_demo(tmp_path, card):
    (tmp_path/'demo.json').write_text(card)
    (tmp_path/'seed-0').mkdir(); (tmp_path/'seed-0/mine').write_text('mine')
    before = tree(tmp_path)
    status, out, err = aclip('demo', '--out', tmp_path, '--overwrite', '--quiet')
    assert status == 1 and len(err.splitlines()) == 1 and tree(tmp_path) == before, err

# --- single files -------------------------------------------------------------

FOREIGN = [b'notes', b'{"port": 80}', b'[1]', b'\x89PNG\r\n\x1a\n', b'epoch', b'{"split": 1}']

def outputs(tmp_path):
    "Name of the file -> command line that writes it."
    from aclip.data.synthetic import make_world
    bank = ['text-bank', '--out', tmp_path/'notes.txt', '--clip', 'none']
    evaluate = ['evaluate', '--model', tmp_path/'model', '--data', tmp_path/'world', '--out', tmp_path/'out']
    (tmp_path/'model').write_text('')
    make_world(tmp_path/'world', **SMALL)
    return {'notes.txt': bank, 'out/evaluation.json': evaluate, 'out/confusion.png': evaluate, 'bench.json': ['bench', '--results', tmp_path/'bench.json'],
            'results.json': ['table', '1', '--show', '--results', tmp_path/'results.json', '--out', tmp_path/'runs']}

@pytest.mark.parametrize('name', ['notes.txt', 'out/evaluation.json', 'out/confusion.png', 'bench.json', 'results.json'])
def test_a_foreign_file_is_not_replaced(tmp_path, monkeypatch, name):
    argv = outputs(tmp_path)[name]
    monkeypatch.setattr('aclip.evidence.bench.bench', None)           # it is never called
    monkeypatch.setattr('aclip.text.bank.load_open_clip', None)
    for content in FOREIGN:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_bytes(content)
        status, out, err = aclip(*argv, '--quiet')
        assert status == 1 and len(err.splitlines()) == 1 and name in err and ('--overwrite' in err or '--results' in err), err
        assert (tmp_path/name).read_bytes() == content

def test_own_files_are_replaced(tmp_path, monkeypatch):
    bank = TextBank.random(['a', 'b'])
    monkeypatch.setattr(TextBank, 'build', lambda *a, **k: bank)
    (tmp_path/'notes.txt').write_text('mine')
    make_bank(tmp_path/'notes.txt', overwrite=True)
    make_bank(tmp_path/'notes.txt')
    monkeypatch.setattr('aclip.evidence.bench.bench', lambda *a: dict(sizes={}, rows=[], machine={}))
    for _ in range(2): run_bench(results=tmp_path/'b.json', progress=False)

@pytest.mark.parametrize('name', ['config.json', '1-backbone/run.json', '1-backbone/history.csv', '1-backbone/best.safetensors', '1-backbone/last.safetensors'])
def test_a_run_replaces_no_foreign_file(drawn, tmp_path, name):
    file = tmp_path/'run'/name
    file.parent.mkdir(parents=True); file.write_text('{"mine": 1}')
    part = file.with_name(f'.{file.name}.mine.part'); part.write_text('mine')
    tmp = file.with_name('.tmpabcdef'); tmp.write_text('mine')
    argv = ['train', '--tiny', '--data', drawn, '--out', tmp_path/'run', '--steps', 1, '--epochs', 1, '--warmup', 0, '--size', 90, 160, '--available', '--protocol', 'overfit', '--workers', 0]
    refused(*argv, says=[file])
    assert file.read_text() == '{"mine": 1}' and part.exists() and tmp.exists()
    status, _, err = aclip(*argv, '--overwrite', '--quiet')
    assert status == 0 and part.exists() and tmp.exists(), err
