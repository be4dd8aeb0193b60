"""Two real processes on the CPU, started by torchrun: the losses, weights and metrics of one process on the whole batch, and a store that both fill.

What the two do is `work`, below; the tests look at what they left and at what one process leaves."""
import csv, json, os, random, subprocess, sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock
import pytest, torch
from aclip.checkpoint import load_tensors, read_meta
from aclip.cli import main
from aclip.train.run import RunConfig
from aclip.train.steps import train
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.data.source import ClipSource
from aclip.train.store import FeatureStore
from aclip.config import Config
from aclip.zoo import create_model, save_model

SIZE = (90, 160)
SPLITS = dict(train=[1], val=[0], trainval=[1, 0], test=[4])     # of the small datasets here
LABELS = list(ACTIVITIES),list(ACTIONS)
boxes = Config(*LABELS, model='dualai', features='boxes', d=16, text=dict(r=2, layers=1, heads=2, learn_tau=True))
image = Config(*LABELS, step=2, backbone='test_resnet', out_indices=[1], d=16, crop=3, size=SIZE, relation=dict(n_graphs=2, d_k=4))
on_frames = Config(*LABELS, backbone='test_resnet', out_indices=[1], d=16, crop=3, size=SIZE, relation=dict(n_graphs=2, d_k=4), text=dict(r=2, layers=1, heads=2))

def work(root, out):
    "Train on boxes, evaluate, fill a store, train from another one that is still empty. What each process draws for its own share is left out."
    kw,data = dict(protocol='best-on-test', teacher='tiny'),str(root/'boxes')
    with mock.patch('torch.nn.Dropout.forward', lambda self, x: x), mock.patch('aclip.data.augment.BoxAugment.__call__', lambda self, batch: batch):
        with mock.patch.dict('aclip.data.volleyball.SPLITS', SPLITS):
            train(RunConfig(ClipSource(data, workers=0), boxes, out/'run', recipe=dict(epochs=2, bs=6, lr=1e-3), **kw), progress=False)
            status = main(['evaluate', '--data', data, '--model', str(out/'run/3-text/last.safetensors'), '--split', 'trainval', '--out', str(out/'test'), '--json', '--quiet'])
        status |= main(['features', '--data', str(root/'world'), '--model', str(root/'image.safetensors'), '--out', str(out/'store'), '--available', '--per-shard', '2', '--workers', '0', '--quiet'])
        train(RunConfig(ClipSource(root/'world', available=True, workers=0), on_frames, out/'stored', [3], [root/'image.safetensors'],
                        recipe=dict(epochs=1, bs=3, lr=1e-3), store=FeatureStore(out/'store2', per_shard=2), **kw), progress=False)
    return status

def annotate(root, clips, rng):
    "Annotations of boxes, of seven to twelve people."
    for video,n in clips.items():
        line = lambda i: f"{i}.jpg {rng.choice(ACTIVITIES)} " + ' '.join(f'{rng.randint(0, 1200)} {rng.randint(200, 500)} {rng.randint(30, 70)} {rng.randint(60, 160)} {rng.choice(ACTIONS)}' for _ in range(rng.randint(7, 12)))
        (root/'videos'/str(video)).mkdir(parents=True)
        (root/'videos'/str(video)/'annotations.txt').write_text(''.join(line(100*i) + '\n' for i in range(1, n + 1)))

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('two')
    annotate(root/'boxes', {1: 8, 0: 5, 4: 7}, random.Random(0))
    make_world(root/'world', clips=7, videos=3, size=SIZE, workers=0, progress=False)
    torch.manual_seed(0)
    save_model(root/'image.safetensors', create_model(image), image)
    return root

@pytest.fixture(scope='module')
def one(root):
    "What one process leaves."
    assert work(root, root/'one') == 0
    return root/'one'

@pytest.fixture(scope='module')
def two(root):
    "What two processes leave, and what they print."
    if not find_spec('accelerate'): pytest.skip('several processes need accelerate: pip install accelerate')
    start = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--local-addr', '127.0.0.1', '--nproc-per-node', '2', __file__, root, root/'two']
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get('PYTHONPATH', '')])}
    r = subprocess.run([str(s) for s in start], capture_output=True, text=True, env=env)
    assert r.returncode == 0, r.stderr[-3000:]
    return root/'two',r.stdout

def history(run):
    "Losses and metrics of every epoch, by name."
    rows = list(csv.DictReader((run/'history.csv').open()))
    return {f'{k} {i}': float(v) for i,r in enumerate(rows) for k,v in r.items() if k not in ('epoch', 'time')}

@pytest.mark.parametrize('step', ['run/2-relation', 'run/3-text', 'stored/3-text'])
def test_losses_metrics_and_weights_are_those_of_one_process(one, two, step):
    a,b = history(one/step),history(two[0]/step)
    assert a.keys() == b.keys() and len(a) >= 8
    for k in a: assert b[k] == pytest.approx(a[k], rel=1e-4, abs=1e-5), k
    x,y = (load_tensors(o/step/'last.safetensors')[0] for o in (one, two[0]))
    assert x.keys() == y.keys()
    for k in x: assert (x[k] - y[k]).abs().max() < 1e-4, k

def test_files_of_a_run(one, two):
    for step in ('2-relation', '3-text'):
        assert {f.name for f in (two[0]/'run'/step).iterdir()} == {'best.safetensors', 'last.safetensors', 'history.csv', 'run.json'}
        said,alone = (json.loads((o/'run'/step/'run.json').read_text()) for o in (two[0], one))
        assert (said['processes'], alone['processes']) == (2, 1) and said['trainable'] == alone['trainable']
        assert read_meta(two[0]/'run'/step/'best.safetensors')['note'] == read_meta(one/'run'/step/'best.safetensors')['note']

def test_evaluation_counts_every_clip_once(one, two):
    "Thirteen clips: their one batch does not come out even."
    report = json.loads((two[0]/'test/evaluation.json').read_text())
    assert report['clips'] == sum(map(sum, report['confusion'])) == 13
    assert {k: v for k,v in report.items() if k != 'model'} == {k: v for k,v in json.loads((one/'test/evaluation.json').read_text()).items() if k != 'model'}
    printed,_ = json.JSONDecoder().raw_decode(two[1][two[1].index('{'):])
    assert printed['clips'] == 13 and two[1].count('"confusion"') == 1       # the second process says nothing

def test_both_fill_a_store(root, one, two):
    files = lambda folder: {f.name: f.read_bytes() for f in folder.iterdir()}
    assert files(two[0]/'store') == files(one/'store') and len(files(one/'store')) == 5
    assert files(two[0]/'store2') == files(one/'store2')

def test_without_accelerate(root, monkeypatch, tmp_path):
    monkeypatch.setattr('aclip.train.parallel.find_spec', lambda name: None)
    monkeypatch.setenv('WORLD_SIZE', '2'); monkeypatch.setenv('RANK', '0')
    with pytest.raises(ValueError, match='2 processes were started.*pip install accelerate'): train(RunConfig(ClipSource(root/'world'), boxes, tmp_path/'run'))

if __name__ == '__main__': sys.exit(work(*map(Path, sys.argv[1:])))
