"Checkpoints under bad luck: a full disk, a kill in mid-write, damaged files, configurations that no model fits."
import contextlib, signal, subprocess, sys, time
import pytest, torch
from aclip.checkpoint import CheckpointError, load_tensors, read_meta, save_tensors
from aclip.config import Config
from aclip.zoo import create_model, load_model, save_model

resource = pytest.importorskip('resource', reason='limits on file sizes need POSIX')
OLD = dict(a=torch.arange(3.))

@pytest.fixture
def old(tmp_path):
    "A checkpoint that must outlive what follows."
    return save_tensors(tmp_path/'best.safetensors', OLD, dict(epoch=1))

def whole(path): return torch.equal(load_tensors(path)[0]['a'], OLD['a']) and read_meta(path) == dict(epoch=1)

@contextlib.contextmanager
def small_disk():
    "No file may grow over 20 kB, as on a full disk."
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try: yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

def test_full_disk_keeps_the_old_file(old):
    with small_disk(), pytest.raises(CheckpointError, match='could not save .*best.safetensors.*untouched.*Free some space'):
        save_tensors(old, dict(a=torch.zeros(100_000)), dict(epoch=2))
    assert whole(old) and [f.name for f in old.parent.iterdir()] == ['best.safetensors']

def test_full_disk_for_a_new_file(tmp_path):
    with small_disk(), pytest.raises(CheckpointError) as e: save_tensors(tmp_path/'new.safetensors', dict(a=torch.zeros(100_000)), {})
    assert 'untouched' not in str(e.value) and not list(tmp_path.iterdir())

def test_a_file_in_the_place_of_a_folder(old):
    with pytest.raises(CheckpointError, match='choose a folder'): save_tensors(old/'x.safetensors', OLD, {})
    assert whole(old)

def test_kill_in_the_middle(tmp_path):
    "Whenever the process dies, the file is one of those that it wrote."
    path = tmp_path/'last.safetensors'
    code = ('import sys, torch\nfrom aclip.checkpoint import save_tensors\n'
            'for i in range(10**6): save_tensors(sys.argv[1], dict(a=torch.full((1_000_000,), float(i))), dict(i=i))')
    p = subprocess.Popen([sys.executable, '-c', code, str(path)])
    try:
        end = time.time() + 60
        while not path.exists() and p.poll() is None and time.time() < end: time.sleep(.05)
        time.sleep(.3)
    finally: p.kill(); p.wait()
    tensors,meta = load_tensors(path)
    assert (tensors['a'] == meta['i']).all()

@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b[:7], lambda b: b'', lambda b: b'\x80\x04' + b, lambda b: b[:8] + b'?' + b[9:]],
                         ids=['half', 'header', 'empty', 'shifted', 'no JSON'])
def test_damaged_file(old, damage):
    old.write_bytes(damage(old.read_bytes()))
    for read in (read_meta, load_tensors, load_model):
        with pytest.raises(CheckpointError, match='best.safetensors.*not a whole safetensors file'): read(old)

CONFIG = Config(['left', 'right'], ['spiking', 'waiting'], step=2, backbone='test_resnet', d=16, relation=dict(n_graphs=2, d_k=4))

@pytest.mark.parametrize('change,says', [
    (dict(d=32), 'another configuration.*embedding.weight is'), (dict(step=1), 'another configuration.*unknown'), (dict(step=3, text=dict(r=2)), 'another configuration.*missing'),
    (dict(model='brg'), "no base model 'brg'"), (dict(backbone='nosuch'), "no model 'nosuch'"), (dict(colour='red'), 'does not know: colour'),
    (dict(relation=dict(knots=1)), 'knots'), (dict(step=3, text=dict(knots=1)), 'knots')])
def test_another_configuration(tmp_path, change, says):
    path = save_model(tmp_path/'m.safetensors', create_model(CONFIG), CONFIG)
    state,meta = load_tensors(path)
    load_model(path)
    save_tensors(path, state, dict(config={**meta['config'], **change}))
    with pytest.raises(CheckpointError, match=f'm.safetensors.*{says}'): load_model(path)

@pytest.mark.parametrize('meta', [{}, dict(config=None), dict(config=[]), dict(config={}), dict(labels=['a'])], ids=str)
def test_no_model_in_it(tmp_path, meta):
    with pytest.raises(CheckpointError, match='x.safetensors: no model'): load_model(save_tensors(tmp_path/'x.safetensors', OLD, meta))
