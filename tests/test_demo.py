"`aclip demo`: its files, its numbers, a kill in the middle, folders that it must not touch, and its models on real frames."
import json, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest
from helpers import DATA, aclip, aclip_json
from aclip.checkpoint import CheckpointError, read_meta
from aclip.data.source import ClipSource
from aclip.evaluate.evaluation import evaluate
from aclip.evidence.demo import TRAINING, demo
from aclip.evidence.demo_report import IMAGE, WITH, WITHOUT, summary
from aclip.text.teachers import tiny_bank

SMALL = dict(seeds=[3], clips=16, videos=4, size=(90, 160), training={s: dict(epochs=2, warmup=.2) for s in TRAINING}, progress=False)

def numbers(result): return [{k: v for k,v in r.items() if k != 'seconds'} for r in result['rows']]
def weights(out): return {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.rglob('best.safetensors'))}

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('demo')/'demo'
    return out,demo(out, **SMALL)

def test_rows(made):
    out,r = made
    assert [row['model'] for row in r['rows']] == [IMAGE, WITHOUT, WITH] == [s['model'] for s in r['summary']]
    assert all(sum(map(sum, row['confusion'])) == row['clips'] for row in r['rows'])
    image,without,with_ = r['rows']
    assert without['trainable'] == with_['trainable'] > 0           # only L_KD differs
    assert image['text'] is None and without['text'] is not None
    assert without['action'] == with_['action'] == image['action']  # the image branch is frozen
    assert json.loads(json.dumps(r)) == r

def test_the_teacher_is_in_one_of_them(made):
    out,_ = made
    note = lambda d: read_meta(out/f'seed-3/{d}/3-text/best.safetensors')['note']
    assert note('without')['teacher'] is None and note('with')['teacher'] == tiny_bank().source
    columns = lambda d: (out/f'seed-3/{d}/3-text/history.csv').read_text().splitlines()[0]
    assert 'kd_loss' in columns('with') and 'kd_loss' not in columns('without')

def test_report_needs_nothing_else(made):
    text = Path(made[1]['report']).read_text()
    without_links = re.sub(r'<a href="https?://[^"]*"', '<a', text)              # a reader may follow them; the page needs none
    assert re.findall(r'(?:src|href)="(?!data:)', without_links) == [] and 'http' not in without_links
    assert '<link' not in text and '@import' not in text                         # its style is inside
    assert text.count('<figure>') == 9 and all(m in text for m in (IMAGE, WITHOUT, WITH))

def test_a_second_call_trains_nothing(made):
    out,r = made
    before,times = weights(out),{f: f.stat().st_mtime_ns for f in out.rglob('*.safetensors')}
    assert numbers(demo(out, **SMALL)) == numbers(r)
    assert weights(out) == before and {f: f.stat().st_mtime_ns for f in out.rglob('*.safetensors')} == times

@pytest.mark.parametrize('lost', ['seed-3/image/2-relation/run.json', 'seed-3/with', 'seed-3/without/3-text/best.safetensors', 'seed-3/world/videos/3'])
def test_what_is_lost_comes_back(made, tmp_path, lost):
    out,r = made
    copy = shutil.copytree(out, tmp_path/'demo')
    path = copy/lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert numbers(demo(copy, **SMALL)) == numbers(r)
    assert weights(copy) == weights(out)

RUN = 'import json, sys; from aclip.evidence.demo import demo; demo(sys.argv[1], **json.loads(sys.argv[2]))'

@pytest.mark.parametrize('after', ['seed-3/world/videos', 'seed-3/image/2-relation/last.safetensors', 'seed-3/with'])
def test_killed(made, tmp_path, after):
    "kill -9 as soon as a file is there; a second run ends as the undisturbed one."
    out,r = made
    copy = tmp_path/'demo'
    p = subprocess.Popen([sys.executable, '-c', RUN, str(copy), json.dumps(SMALL)], stderr=subprocess.DEVNULL)
    start = time.time()
    while p.poll() is None and not (copy/after).exists() and time.time() - start < 120: time.sleep(.02)
    p.send_signal(signal.SIGKILL); p.wait()
    assert numbers(demo(copy, **SMALL)) == numbers(r)
    assert weights(copy) == weights(out)

def test_other_arguments_are_an_error(made):
    out,_ = made
    before = weights(out)
    for change in (dict(clips=17), dict(seeds=[4]), dict(model='arg'), dict(teacher='random')):
        with pytest.raises(CheckpointError, match=f'other arguments .*{next(iter(change))}.*--overwrite'): demo(out, **SMALL | change)
    assert weights(out) == before

def test_overwrite_replaces_a_demo_and_nothing_else(made, tmp_path):
    copy = shutil.copytree(made[0], tmp_path/'demo')
    (copy/'notes.txt').write_text('mine')
    r = demo(copy, **SMALL | dict(seeds=[4]), overwrite=True)
    assert r['seeds'] == [4] and (copy/'notes.txt').read_text() == 'mine' and not (copy/'seed-3').exists()
    (tmp_path/'other').mkdir(); (tmp_path/'other/x').write_text('y')
    with pytest.raises(CheckpointError, match='something else'): demo(tmp_path/'other', **SMALL, overwrite=True)
    assert [f.name for f in (tmp_path/'other').iterdir()] == ['x']

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='no folder here that even root cannot write to')
def test_read_only_folder():
    with pytest.raises(CheckpointError, match='/proc/demo: cannot be made'): demo('/proc/demo', **SMALL)

def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path/'demo').write_text('a file')
    with pytest.raises(CheckpointError, match='something else'): demo(tmp_path/'demo', **SMALL)
    with pytest.raises(CheckpointError, match='cannot be made'): demo(tmp_path/'demo/below', **SMALL)

@pytest.mark.parametrize('argv,says', [('--clips 2', 'clips=2'), ('--videos 2', 'videos=2'), ('--size 10 10', 'size='), ('--difficulty 2', 'difficulty=2'), ('--teacher nowhere', 'nowhere')])
def test_impossible_arguments(tmp_path, argv, says):
    status,out,err = aclip('demo', '--out', tmp_path/'demo', '--quiet', *argv.split())
    assert status == 1 and says in err and not out and 'Traceback' not in err
    assert not list(tmp_path.iterdir())                             # nothing that a second, better call would stumble over

def test_by_the_command(made):
    "Other epochs are other arguments, and so are the command's defaults."
    out,_ = made
    status,_,err = aclip('demo', '--out', out, '--seeds', 3, '--clips', 16, '--videos', 4, '--size', 90, 160, '--quiet')
    assert status == 1 and 'training' in err

@pytest.mark.parametrize('model', ['arg', 'dualai'])
def test_other_base_models(tmp_path, model):
    r = demo(tmp_path/'demo', **SMALL | dict(model=model, clips=8, videos=3, training={s: dict(epochs=1, warmup=.2) for s in TRAINING}))
    assert read_meta(tmp_path/'demo/seed-3/image/2-relation/best.safetensors')['config']['model'] == model and len(r['rows']) == 3
    assert Path(r['report']).is_file()

@pytest.mark.skipif(not DATA.exists(), reason=f'no real frames at {DATA}')
def test_its_models_take_real_clips(made):
    "A model of the drawn world and the real clips go through the same evaluation."
    for name in ('image/2-relation', 'with/3-text'):
        e = evaluate(made[0]/f'seed-3/{name}/best.safetensors', ClipSource(DATA, available=True), 'train', progress=False)
        assert e['clips'] == 8 and sum(map(sum, e['confusion'])) == 8

def test_summary_is_paired():
    rows = [dict(seed=s, model=m, MCA=60. + 5*s + g, MPCA=50., text=None, trainable=1, seconds=1.) for s in range(3) for m,g in ((IMAGE, 0.), (WITHOUT, 1.), (WITH, 2. + s))]
    by = {s['model']: s for s in summary(rows)}
    assert by[WITHOUT]['gain'] == 1. and by[WITHOUT]['gain_sd'] == 0. and by[WITH]['gain'] == 3. and by[WITH]['gain_sd'] == 1.
    assert by[IMAGE]['MCA'] == 65. and by[IMAGE]['MCA_sd'] == 5.

def test_committed_results():
    "Numbers of the page come from a run with the defaults of today."
    r = json.loads((Path(__file__).resolve().parents[1]/'nbs/results/demo.json').read_text())
    assert len(r['seeds']) >= 5 and len(r['rows']) == 3*len(r['seeds'])
    today = json.loads(json.dumps(TRAINING))
    assert r['arguments']['training'] == today and (r['arguments']['clips'], r['arguments']['videos'], r['arguments']['difficulty'], r['arguments']['model']) == (600, 30, .3, 'aformer')
