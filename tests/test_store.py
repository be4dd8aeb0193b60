"The store of features: the same losses as from the frames, stores of something else, bad luck on the disk, kills, several processes."
import json, multiprocessing, os, random, shutil, signal, time
from dataclasses import replace
from pathlib import Path
import pytest, torch
from fastai.torch_core import set_seed
from aclip.checkpoint import CheckpointError, load_tensors
from aclip.text.bank import TextBank
from aclip.train.features import store_features
from aclip.train.run import RunConfig
from aclip.train.steps import train
from aclip.data.clips import DataError
from aclip.data.loaders import clip_dls
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.data.volleyball import read_volleyball
from aclip.train.frozen import FrozenPart
from aclip.train.learner import fit, relation_learner, text_learner
from aclip.train.store import FeatureStore
from aclip.train.extract import on_store
from aclip.config import Config
from aclip.zoo import create_model, save_model
from helpers import aclip, aclip_json, refused
from test_checkpoint import small_disk

SIZE,N = (90, 160),12
SPLITS = ('train', 'val', 'test')

def config(step=2, features='actor', **kw):
    return Config(list(ACTIVITIES), list(ACTIONS), step=step, features=features, backbone='test_resnet', out_indices=[1] if features == 'actor' else None, d=16, crop=3 if features == 'actor' else 24,
                  size=SIZE, relation=dict(n_graphs=2, d_k=4), text=dict(d2=16, r=2, layers=1, heads=2) if step == 3 else {}, **kw)

def made(step=2, seed=0, **kw):
    torch.manual_seed(seed)
    return create_model(config(step, **kw)).eval()

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp('world')/'world', clips=10, videos=5, size=SIZE, workers=0, progress=False)
    save_model(root.parent/'image.safetensors', made(), config())
    return root

@pytest.fixture(scope='module')
def clips(world): return [c for s in SPLITS for c in read_volleyball(world, s, frames='available')]

@pytest.fixture(scope='module')
def filled(world, clips):
    "A whole store of actors, which tests copy or only read."
    folder = world.parent/'filled'
    FeatureStore(folder, per_shard=2).fill(FrozenPart(made(), 'actors'), clips, SIZE, N, workers=0)
    return folder

@pytest.fixture
def copy(filled, tmp_path): return Path(shutil.copytree(filled, tmp_path/'store'))

def files(folder): return {f.name: f.read_bytes() for f in sorted(Path(folder).iterdir())}
def fill(folder, clips, model=None, kind='actors', size=SIZE, n=N, **kw): return FeatureStore(folder, **{'per_shard': 2, **kw}).fill(FrozenPart(model or made(), kind), clips, size, n, workers=0)


# The same losses

def losses(model, dls, step):
    "Of every batch of an epoch, and of validation; whoever asks draws the same."
    set_seed(0)
    for dl in dls.loaders: dl.rng.seed(0)                   # a loader draws its order from a source of its own
    learn = relation_learner(dls, model) if step == 2 else text_learner(dls, model, TextBank.random(ACTIONS, dim=16, seed=0))
    with learn.no_bar(), learn.no_logging(): fit(learn, 2, 1e-3)
    return torch.tensor([float(l) for l in learn.recorder.losses] + [v for row in learn.recorder.values for v in row[:3]])

@pytest.mark.parametrize('dtype,eps', [('float32', 1e-5), ('float16', 5e-3)])
@pytest.mark.parametrize('step,kind,features', [(2, 'crops', 'actor'), (3, 'crops', 'actor'), (3, 'actors', 'actor'), (2, 'crops', 'person'), (3, 'actors', 'person')])
def test_losses_are_those_from_frames(clips, tmp_path, step, kind, features, dtype, eps):
    dls = lambda: clip_dls(clips[:6], clips[6:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=N)
    direct = losses(made(step, features=features), dls(), step)
    model = made(step, features=features)
    width = FrozenPart(model, kind).width
    with on_store(model, dls(), FeatureStore(tmp_path/'store', kind, dtype), workers=0) as stored:
        assert stored.train.one_batch()[0].shape == (2, 3, N, width)
        there = losses(model, stored, step)
    assert len(direct) > 6 and (there - direct).abs().max() < eps*direct.abs().max(), (there, direct)
    assert 'embed' not in vars(getattr(model, 'base', model))

def test_asking_draws_nothing(clips, filled, tmp_path):
    "A run that finds its features and one that computes them leave the same chance behind."
    states = []
    for folder in (filled, tmp_path/'new'):
        set_seed(0); fill(folder, clips)
        states.append((torch.rand(1).item(), random.random()))
    assert states[0] == states[1]

@pytest.mark.parametrize('steps,open_kind', [((2,), 'crops'), ((3,), 'actors')])
def test_a_new_store_holds_what_the_step_allows(clips, tmp_path, steps, open_kind):
    store = FeatureStore(tmp_path/'s')
    with on_store(made(steps[0]), clip_dls(clips[:6], clips[6:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=N), store, workers=0): pass
    assert store.kind == open_kind

def test_what_cannot_be_stored(clips, filled):
    dls = clip_dls(clips[:6], clips[6:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=N)
    with pytest.raises(ValueError, match='embedding of this ARG trains; a store of crops'):
        with on_store(made(2), dls, FeatureStore(filled), workers=0): pass
    whole = create_model(Config(list(ACTIVITIES), list(ACTIONS), step=2, model='aformer', features='middle', backbone='test_resnet', d=16, size=SIZE))
    with pytest.raises(ValueError, match='MiddleFrame does not run a backbone over each frame by itself'):
        with on_store(whole, dls, FeatureStore(), workers=0): pass
    with pytest.raises(ValueError, match='training mode'): fill(None, clips, made().train())
    with pytest.raises(ValueError, match='needs a CUDA device'): fill(None, clips, precision='fp16')


# Stores of something else

def other_boxes(clips):
    return [replace(clips[0], boxes=clips[0].boxes*.99), *clips[1:]]

@pytest.mark.parametrize('change,says', [
    (dict(model=made(seed=1)), 'model ActorFeatures-3-.* instead of ActorFeatures-3-'), (dict(size=(72, 128)), r'size \[90, 160\] instead of \[72, 128\]'), (dict(kind='crops'), 'kind actors instead of crops'),
    (dict(n=13), 'n_actors 12 instead of 13'), (dict(dtype='float32'), 'dtype float16 instead of float32'), (dict(per_shard=3), 'per_shard 2 instead of 3'), (dict(precision='bf16'), 'precision fp32 instead of bf16')], ids=lambda c: next(iter(c)) if isinstance(c, dict) else None)
def test_stale(copy, clips, change, says):
    before = files(copy)
    kind = change.get('kind', 'actors')
    with pytest.raises(CheckpointError, match=f'{says}.*choose another folder, or delete this one'): fill(copy, clips, **{'kind': kind, **change})
    assert files(copy) == before

def test_stale_kind_given_to_the_store(copy, clips):
    with pytest.raises(CheckpointError, match='kind actors instead of crops'): FeatureStore(copy, 'crops').fill(FrozenPart(made(), 'crops'), clips, SIZE, N)

def test_other_data(copy, clips):
    before = files(copy)
    with pytest.raises(CheckpointError, match=f'other boxes or frames in 1 clip, such as {clips[0].name}'): fill(copy, other_boxes(clips))
    assert files(copy) == before

def test_other_version(copy, clips):
    m = json.loads((copy/'manifest.json').read_text())
    (copy/'manifest.json').write_text(json.dumps({**m, 'version': 2}))
    with pytest.raises(CheckpointError, match='a store of version 2, this aclip reads version 1'): fill(copy, clips)

@pytest.mark.parametrize('text', ['', '{', '[]', '{"format": "zarr"}'])
def test_no_manifest(copy, clips, text):
    (copy/'manifest.json').write_text(text)
    before = files(copy)
    with pytest.raises(CheckpointError, match='manifest.json.*(cannot be read|not the manifest)'): fill(copy, clips)
    assert files(copy) == before

def test_frames_it_does_not_hold(clips, tmp_path):
    fill(tmp_path/'s', clips[:4])
    before = files(tmp_path/'s')
    with pytest.raises(CheckpointError, match=f'holds 4 clips, but not {clips[4].name} and {len(clips) - 5} more'): fill(tmp_path/'s', clips)
    assert files(tmp_path/'s') == before
    assert fill(tmp_path/'s', clips[:2])['computed'] == 0   # some of what it holds may be asked for

def test_a_missing_shard_of_clips_that_were_not_asked_for(copy, clips):
    (copy/'shard-00000.safetensors').unlink()
    with pytest.raises(CheckpointError, match='shard-00000.*is missing, and clip .* was not asked for'): fill(copy, clips[:1])

def test_a_shard_of_another_store(copy, clips, tmp_path):
    fill(tmp_path/'other', clips, made(seed=1))
    shutil.copy(tmp_path/'other/shard-00001.safetensors', copy)
    with pytest.raises(CheckpointError, match='shard-00001.safetensors: a shard of another store'): fill(copy, clips)
    shutil.copy(copy/'shard-00000.safetensors', copy/'shard-00001.safetensors')
    with pytest.raises(CheckpointError, match='shard-00001.safetensors: a shard of another store, or of another place'): fill(copy, clips)


# Bad luck

@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b[:5], lambda b: b'', lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]], ids=['half', 'header', 'empty', 'a bit'])
def test_damaged_shard(copy, clips, filled, damage):
    path = copy/'shard-00001.safetensors'
    path.write_bytes(damage(path.read_bytes()))
    before = files(copy)
    with pytest.raises(CheckpointError, match='shard-00001.safetensors.*delete this file and run again'): fill(copy, clips)
    assert files(copy) == before
    path.unlink()
    assert fill(copy, clips)['computed'] == 2 and files(copy) == files(filled)

def test_leftovers_are_harmless(copy, clips, filled):
    whole = (copy/'shard-00002.safetensors').read_bytes()
    (copy/'shard-00002.safetensors').unlink()
    (copy/'.shard-00002.safetensors.1.part').write_bytes(whole[:100]); (copy/'.manifest.1.part').write_text('{')
    os.utime(copy/'.shard-00002.safetensors.1.part', (0, 0))
    (copy/'.shard-00002.safetensors.2.part').write_bytes(whole[:100])                 # young: another run may be writing it now
    fill(copy, clips)
    (copy/'.manifest.1.part').unlink(); (copy/'.shard-00002.safetensors.2.part').unlink()
    assert files(copy) == files(filled)

def test_full_disk(clips, tmp_path, filled):
    kw = dict(per_shard=4, dtype='float32')                  # 31 kB a shard
    fill(tmp_path/'s', clips[:8], **kw)
    (tmp_path/'s/shard-00001.safetensors').unlink()
    before = files(tmp_path/'s')
    with small_disk(), pytest.raises(CheckpointError, match='could not save .*shard-00001.*Free some space'): fill(tmp_path/'s', clips[:8], **kw)
    assert files(tmp_path/'s') == before

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='no folder here that even root cannot write to')
def test_read_only_folder(clips):
    with pytest.raises(CheckpointError, match='/proc/store/manifest.json: cannot be written.*choose a folder you can write to'): fill('/proc/store', clips)

def test_something_else(world, clips, tmp_path):
    with pytest.raises(CheckpointError, match='no manifest.json, so it is no store'): fill(world, clips)
    (tmp_path/'file').write_text('a file')
    with pytest.raises(CheckpointError, match='file'): fill(tmp_path/'file', clips)

def extract(world, out, said, env):
    "Extraction in a process of its own; what it reports goes to a file."
    os.environ.update(env); torch.set_num_threads(1)
    r = store_features(world.parent/'image.safetensors', ClipSource(world, available=True, workers=0), out, split=SPLITS, progress=False, per_shard=2)
    said.write_text(json.dumps(r))

processes = multiprocessing.get_context('forkserver')        # they start at once: the server has imported everything
processes.set_forkserver_preload(['aclip.train.features', 'aclip.train.steps', 'fastai.torch_core'])

def start(world, out, said, **env):
    p = processes.Process(target=extract, args=(world, out, said, env))
    p.start()
    return p

def test_killed_five_times(world, filled, tmp_path):
    "kill -9 in five places, from before the first shard to some way into the last; in the end the same bytes as undisturbed."
    out,killed,chance = tmp_path/'store',0,random.Random(0)
    for k in range(5):
        p,begun = start(world, out, tmp_path/'said'),time.time()
        while p.is_alive() and len(list(out.glob('shard-*'))) < k and time.time() - begun < 60: time.sleep(.001)
        time.sleep(chance.uniform(0, .02))
        p.kill(); p.join()
        killed += p.exitcode == -signal.SIGKILL
    assert killed >= 4                                      # the last may have been too quick
    p = start(world, out, tmp_path/'said'); p.join()
    assert p.exitcode == 0
    assert {k: v for k,v in files(out).items() if k[0] != '.'} == files(filled)

def test_two_processes(world, filled, tmp_path):
    "Each does its share and says what is missing; together they have done all."
    two = [start(world, tmp_path/'store', tmp_path/f'said{r}', RANK=str(r), WORLD_SIZE='2') for r in range(2)]
    for p in two: p.join()
    assert [p.exitcode for p in two] == [0, 0]
    reports = [json.loads((tmp_path/f'said{r}').read_text()) for r in range(2)]
    assert [r['computed'] for r in reports] == [6, 4] and any(r['missing'] == [] for r in reports)
    assert files(tmp_path/'store') == files(filled)

def test_one_of_two_processes(world, clips, tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1'); monkeypatch.setenv('WORLD_SIZE', '2')
    status,out,err = aclip('features', '--data', world, '--model', world.parent/'image.safetensors', '--out', tmp_path/'store', '--available', '--per-shard', 2, '--workers', 0, '--quiet')
    assert status == 0 and 'missing: shards 0 2 4' in out, err
    with pytest.raises(CheckpointError, match='shards 0, 2, 4 are missing'): FeatureStore(tmp_path/'store').rows(clips)
    monkeypatch.undo()
    assert fill(tmp_path/'store', clips)['computed'] == 6


# Training is killed

STEPS23 = dict(model=replace(config(), text=dict(r=2, layers=1, heads=2)), steps=(2, 3), teacher='random', protocol='best-on-test', recipe=dict(epochs=3, lr=1e-3, bs=2))

def train_on(world, out, start, workers=0, **kw):
    "Train steps 2 and 3, or what is given otherwise, from a checkpoint."
    return train(RunConfig(ClipSource(world, available=True, workers=workers), out=out, start_from=[start], **{**STEPS23, **kw}), progress=False)

def begin(world, run, folder):
    "Training in a process of its own, on a store of crops which it fills first."
    torch.set_num_threads(1)
    train_on(world, run, world.parent/'first.safetensors', store=FeatureStore(folder, 'crops', per_shard=2))

def trains(world, run, folder):
    p = processes.Process(target=begin, args=(world, run, folder))
    p.start()
    return p

def weights(run): return {f.relative_to(run): load_tensors(f)[0] for f in sorted(run.rglob('*.safetensors'))}

def test_training_killed_five_times(world, tmp_path):
    "kill -9 while the store fills, in step 2 and in step 3; in the end the weights and the store of an undisturbed run, and what was finished is left as it was."
    first = config(1)
    torch.manual_seed(0)
    save_model(world.parent/'first.safetensors', create_model(first), first)
    p = trains(world, tmp_path/'whole', tmp_path/'whole store'); p.join()
    assert p.exitcode == 0
    run,store,chance,killed,finished = tmp_path/'run',tmp_path/'store',random.Random(0),0,{}
    shards = lambda: len(list(store.glob('shard-*')))
    epochs = lambda step: len((run/step/'history.csv').read_text().splitlines()) - 1 if (run/step/'history.csv').exists() else 0
    for there in (lambda: shards() > 0, lambda: shards() == 5, lambda: epochs('2-relation') > 0, lambda: (run/'2-relation/run.json').exists(), lambda: epochs('3-text') > 1):
        p,begun = trains(world, run, store),time.time()
        while p.is_alive() and not there() and time.time() - begun < 300: time.sleep(.001)
        time.sleep(chance.uniform(0, .03))
        p.kill(); p.join()
        killed += p.exitcode == -signal.SIGKILL
        for f,b in finished.items(): assert f.read_bytes() == b
        finished = {f: f.read_bytes() for s in run.iterdir() if (s/'run.json').exists() for f in s.iterdir()}
    assert killed >= 4 and finished                         # the last may have been too quick
    p = trains(world, run, store); p.join()
    assert p.exitcode == 0 and files(store) == files(tmp_path/'whole store')
    for f,b in finished.items(): assert f.read_bytes() == b
    a,b = weights(run),weights(tmp_path/'whole')
    assert a.keys() == b.keys() and len(a) == 4
    for f in a:
        for k,v in a[f].items(): assert torch.equal(v, b[f][k]), (f, k)
    assert {f.name for f in run.rglob('*')} == {f.name for f in (tmp_path/'whole').rglob('*')}

def test_half_written_files_of_a_killed_step_are_removed(world, tmp_path):
    "Those of `write_atomic`, and those of safetensors, in the folders of the step and of the run."
    run = tmp_path/'run'
    (run/'3-text').mkdir(parents=True)
    for f in (run/'.config.json.1.part', run/'3-text/.last.safetensors.1.part'): f.write_bytes(b'half')
    train_on(world, run, world.parent/'image.safetensors', steps=(3,), recipe=dict(epochs=1, warmup=0, bs=2))
    assert {f.name for f in run.rglob('*')} == {'config.json', '3-text', 'best.safetensors', 'last.safetensors', 'history.csv', 'run.json'}

@pytest.mark.parametrize('dtype,eps', [('float32', 1e-5), ('float16', 5e-3)])
def test_the_same_seed_with_and_without_a_store(world, tmp_path, dtype, eps):
    "By `train` itself, whichever process decodes: the same frames are drawn, so losses differ by what storing rounds."
    start = dict(start=world.parent/'image.safetensors', steps=(3,), workers=1)
    said = [train_on(world, tmp_path/name, **start, **kw) and (tmp_path/name/'3-text/history.csv').read_text() for name,kw in (('direct', {}), ('stored', dict(store=FeatureStore(tmp_path/'s', dtype=dtype))))]
    a,b = (torch.tensor([[float(v) for v in l.split(',')[1:6]] for l in s.splitlines()[1:]]) for s in said)
    assert a.shape == (3, 5) and (a - b).abs().max() < eps*a.abs().max(), (a, b)

def test_a_store_of_other_numbers_makes_another_command(world, tmp_path):
    start = dict(start=world.parent/'image.safetensors', steps=(3,))
    with_store = lambda name, **kw: train_on(world, tmp_path/'run', store=FeatureStore(tmp_path/name, **kw), **start)[0]
    first = with_store('a', dtype='float32')
    assert with_store('a')['seconds'] == first['seconds']            # done, and left as it was
    with pytest.raises(CheckpointError, match='other arguments'): with_store('b', dtype='float16')


# By the command

def test_features_and_train(world, tmp_path):
    model,common = world.parent/'image.safetensors',('--data', world, '--available', '--workers', 0)
    r = aclip_json('features', *common, '--model', model, '--out', tmp_path/'s', '--kind', 'actors')
    assert (r['kind'], r['clips'], r['frames'], r['computed'], r['missing']) == ('actors', 10, 100, 10, [])
    assert set(r['share']) == {'decoding', 'backbone', 'roi_align', 'embedding', 'writing'} and abs(sum(r['share'].values()) - 1) < .01 and r['frames_per_second'] > 0
    assert r['bytes'] == sum(f.stat().st_size for f in (tmp_path/'s').glob('*.safetensors'))
    options = (*common, '--backbone', 'test_resnet', '--out-indices', 1, '--size', *SIZE, '--d', 16, '--relation.n_graphs', 2, '--teacher', 'random', '--layers', 1, '--epochs', 1, '--bs', 2)
    before = files(tmp_path/'s')
    refused('train', *options, '--steps', 2, 3, '--store', tmp_path/'s', '--out', tmp_path/'no', says=['stores actors, but step 2 trains the embedding'])
    refused('train', *options, '--no-pretrained', '--steps', 1, '--store', tmp_path/'s', '--out', tmp_path/'no', says=['step 1 trains the backbone'])
    refused('features', *common, '--model', model, '--out', tmp_path/'s', '--kind', 'crops', says=['kind actors instead of crops'])
    assert files(tmp_path/'s') == before and not (tmp_path/'no').exists()

def test_all_steps_on_one_store(world, tmp_path):
    "Step 2 fills it, step 3 finds it; a second store of the same run is the same."
    options = ('--data', world, '--available', '--workers', 0, '--tiny', '--size', *SIZE, '--d', 16, '--layers', 1, '--teacher', 'random', '--epochs', 1, '--protocol', 'overfit', '--store', tmp_path/'s')
    runs = aclip_json('train', *options, '--no-pretrained', '--out', tmp_path/'run')
    assert [r['step'] for r in runs] == [1, 2, 3] and FeatureStore(tmp_path/'s').kind == 'crops'
    before = files(tmp_path/'s')
    again = aclip_json('train', *options, '--steps', 3, '--start-from', tmp_path/'run/2-relation/best.safetensors', '--out', tmp_path/'again')
    assert again[0]['best'] == runs[2]['best'] and files(tmp_path/'s') == before
    refused('train', *options, '--no-pretrained', '--seed', 1, '--out', tmp_path/'other', says=['of another model or other data', 'model ActorFeatures'])

def test_what_this_machine_cannot_do_leaves_no_store(clips, tmp_path):
    with pytest.raises(ValueError, match='fp16 needs a CUDA device'): fill(tmp_path/'s', clips[:2], precision='fp16')
    assert not (tmp_path/'s').exists()
    fill(tmp_path/'s', clips[:2])                                            # as it advised

def test_two_clips_of_one_name(clips, tmp_path):
    with pytest.raises(DataError, match=f'{clips[0].name}: annotated twice'): fill(tmp_path/'s', [clips[0], replace(clips[1], name=clips[0].name)])


# What changes unseen

def test_frames_extracted_again(world, copy, clips, tmp_path):
    "The same names and boxes, other files: the sizes in bytes differ."
    frames = [tmp_path/f.name for f in clips[0].frames]
    for old,new in zip(clips[0].frames, frames): new.write_bytes(old.read_bytes())
    moved = [replace(clips[0], frames=frames), *clips[1:]]
    assert fill(copy, moved)['computed'] == 0                # copied files are the same
    frames[3].write_bytes(frames[3].read_bytes() + b'again')
    with pytest.raises(CheckpointError, match=f'frame files of another size in 1 clip, such as {clips[0].name}.*delete this one'): fill(copy, moved)
    manifest = json.loads((copy/'manifest.json').read_text())
    del manifest['bytes']                                    # of an older version
    (copy/'manifest.json').write_text(json.dumps(manifest))
    assert not FeatureStore(copy)._replaced_frames({clips[0].name: 1})

def test_no_room_for_the_shards(tmp_path, clips, monkeypatch):
    "Before any frame is decoded."
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: type('Usage', (), dict(free=1000)))
    monkeypatch.setattr(FeatureStore, '_compute', lambda *_: pytest.fail('computed'))
    with pytest.raises(ValueError, match='MB will be written, but the disk has 0 MB free'): fill(tmp_path/'s', clips)
