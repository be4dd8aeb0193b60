"Every clip that was asked for comes out of a loader, or an error names what is missing: lost batches, dead and stuck workers, little shared memory."
import os, random, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
import numpy as np
import pytest, torch
from fastai.data.load import DataLoader, SkipItemException
from aclip.config import Config
from aclip.data.clips import Clip
from aclip.data.loaders import ClipDataset, ClipLoader, LoaderError, clip_dl, clip_dls, collate
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.evaluate.scores import predict_scores
from aclip.models.arg import ARG
from aclip.train.frozen import FrozenPart
from aclip.train.learner import fit, relation_learner
from aclip.train.parallel import shard_loader
from aclip.train.store import FeatureStore
import aclip.train.extract
from aclip.zoo import create_model, save_model
from helpers import BoxFeatures

def clip(i, actors=2):
    boxes = np.tile(np.float32([.1, .1, .5 + i/100, .5]), (10, actors, 1))
    return Clip(f'v/{i}', tuple(Path(f'{t}.jpg') for t in range(10)), boxes, np.zeros(actors, np.int64), i % 2, (90, 160))

CLIPS = [clip(i) for i in range(12)]

class Kill(ClipDataset):
    "The process that reads clip 5 is killed, as for lack of memory."
    def item(self, i, positions):
        if i == 5: os.kill(os.getpid(), signal.SIGKILL)
        return super().item(i, positions)

class Exit(Kill):
    def item(self, i, positions): os._exit(3) if i == 5 else None; return ClipDataset.item(self, i, positions)

class Stuck(Kill):
    def item(self, i, positions): time.sleep(60) if i == 5 else None; return ClipDataset.item(self, i, positions)

class Skip(Kill):
    def item(self, i, positions):
        if i == 5: raise SkipItemException
        return ClipDataset.item(self, i, positions)

def loader(dataset=ClipDataset, **kw):
    return ClipLoader(dataset(CLIPS, size=None, train=False), **{**dict(bs=2, num_workers=2, create_batch=partial(collate, n_actors=2), device='cpu'), **kw})

@pytest.mark.parametrize('dataset,says', [(Kill, 'killed by signal|exited unexpectedly|Connection reset'), (Exit, 'exited unexpectedly'), (Stuck, 'timed out after 2 seconds'), (Skip, 'v/5')])
def test_workers_that_fail(dataset, says):
    start = time.time()
    with pytest.raises(LoaderError, match=says) as e: list(loader(dataset, timeout=2))
    assert '--workers 0' in str(e.value) and '/dev/shm' in str(e.value) and time.time() - start < 30

def lossy(monkeypatch, lost):
    "fastai's loader loses some of the batches that its workers send."
    whole = DataLoader.__iter__
    def some(self): return (b for k, b in enumerate(whole(self)) if k not in lost)
    monkeypatch.setattr(DataLoader, '__iter__', some)

LOST = [{0}, {2}, {5}, {1, 4}, {4, 5}, {*range(6)}]

@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('lost', LOST)
def test_lost_batches(monkeypatch, lost, workers):
    lossy(monkeypatch, lost)
    for train in (False, True):
        with pytest.raises(LoaderError, match='did not come') as e: list(clip_dl(CLIPS, 2, None, 3, train, workers, device='cpu'))
    with pytest.raises(LoaderError) as e: list(loader(num_workers=workers))
    assert f'v/{2*min(lost)}' in str(e.value)

def model(): return ARG(BoxFeatures(16), n_activities=2, n_actions=2, n_graphs=2, d_k=4, n_actors=2)
def evaluation(): predict_scores(model(), loader())
def bar(): predict_scores(model(), loader(), progress=True)
def share(): list(shard_loader(clip_dl(CLIPS, 4, None, 3, num_workers=0, device='cpu'), 1, 2))
def training(both=True):
    dls = clip_dls(CLIPS, CLIPS, bs=2, size=None, num_workers=0, device='cpu')
    learn = relation_learner(dls, model())
    with learn.no_bar(), learn.no_logging(): fit(learn, 1)

@pytest.mark.parametrize('use', [evaluation, bar, share, training])
def test_every_use_of_a_loader(monkeypatch, use):
    use()
    lossy(monkeypatch, {2})
    with pytest.raises(LoaderError): use()

def test_validation_in_training(monkeypatch):
    whole = DataLoader.__iter__
    def some(self): return (b for k, b in enumerate(whole(self)) if k != 2 or self.shuffle)
    monkeypatch.setattr(DataLoader, '__iter__', some)
    with pytest.raises(LoaderError): training()

SIZE = (120, 200)
def config(): return Config(list(ACTIVITIES), list(ACTIONS), step=2, backbone='test_resnet', out_indices=[1], d=16, crop=3, size=SIZE, relation=dict(n_graphs=2, d_k=4))

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp('w')/'world', clips=12, videos=4, size=SIZE, workers=0, progress=False)
    torch.manual_seed(0)
    save_model(root.parent/'image.safetensors', create_model(config()), config())
    return root

@pytest.mark.parametrize('lost', [{0}, {3}])
def test_no_feature_is_stored_under_the_name_of_another_clip(world, tmp_path, monkeypatch, lost):
    from aclip.data.volleyball import read_volleyball
    clips = [c for s in ('train', 'val', 'test') for c in read_volleyball(world, s, frames='available')]
    part = FrozenPart(create_model(config()).eval(), 'actors')
    lossy(monkeypatch, lost)
    store = FeatureStore(tmp_path/'s', per_shard=1)
    with pytest.raises(LoaderError, match=clips[min(lost)].name): store.fill(part, clips, SIZE, 12, workers=0)
    assert [store.shard_path(i).exists() for i in range(len(clips))] == [i < min(lost) for i in range(len(clips))]

def small_shared_memory(megabytes, *argv, timeout=100):
    "A command in a namespace of its own, where /dev/shm is small."
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs /dev/shm && exec "$@"'
    return subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', *map(str, argv)], capture_output=True, text=True, timeout=timeout)

def permitted():
    try: return small_shared_memory(4, 'true').returncode == 0
    except OSError: return False

unshare = pytest.mark.skipif(not permitted(), reason='a small /dev/shm needs the permission to mount one')

@unshare
@pytest.mark.parametrize('command', ['evaluate', 'features', 'train'])
def test_little_shared_memory(world, tmp_path, command):
    options = dict(evaluate=['--model', world.parent/'image.safetensors', '--split', 'test', '--bs', 4],
                   features=['--model', world.parent/'image.safetensors', '--out', tmp_path/'store'],
                   train=['--tiny', '--steps', 1, '--epochs', 1, '--bs', 8, '--out', tmp_path/'run', '--teacher', 'none'])[command]
    r = small_shared_memory(1, sys.executable, '-m', 'aclip.cli', command, '--data', world, '--available', '--quiet', *options)
    assert r.returncode == 1 and r.stdout == '', r
    line = r.stderr.splitlines()[-1]
    assert '--workers 0' in line and '/dev/shm' in line and 'Traceback' not in r.stderr, r.stderr

def test_iterations_of_one_loader_do_not_disturb_each_other():
    random.seed(0)
    dl = clip_dl(CLIPS, 2, None, 3, train=True, num_workers=0, device='cpu')
    pairs = [*zip(dl, dl)]
    assert len(pairs) == 6 and dl.one_batch()[1].shape == (2, 3, 2, 4)

def test_augmentation_stays_with_a_copy():
    double = lambda batch: (batch[0], 2*batch[1], *batch[2:])
    dl = clip_dl(CLIPS, 2, None, 3, num_workers=0, device='cpu', augment=double)
    for one, two, plain in zip(dl, dl.new(), loader(num_workers=0)):
        assert torch.equal(one[1], two[1]) and torch.equal(one[1], 2*plain[1])
