"Boxes alone, by the command: training, testing, and the paper's tables, on annotations without a single frame."
import json, random, shutil
from dataclasses import replace
import pytest, torch
from aclip.models.arg import ARG
from aclip.models.aformer import AFormer
from aclip.models.boxes import GEOMETRY, BoxFeatures, box_geometry
from aclip.data.augment import BoxAugment, mirror_boxes, mirror_ids
from aclip.checkpoint import CheckpointError, load_tensors
from aclip.cli import command_parser
from aclip.text.bank import TextBank
from aclip.core import ActivityCLIP
from aclip.data.doctor import doctor
from aclip.data.source import ClipSource
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.models.dualai import DualAI
from aclip.evaluate.evaluation import evaluate
from aclip.evaluate.label_errors import find_label_errors
from aclip.evidence import experiments
from aclip.evidence.experiments import run_once, table
from aclip.evidence.results import VERSION, read_results
from aclip.evidence.tables import TABLES, Ensemble, Run
from aclip.evidence.setups import SETUPS
from aclip.train.run import RunConfig
from aclip.train.steps import train
from aclip.config import Config
from aclip.zoo import create_model
from helpers import aclip, aclip_json, batch, refused

MODELS = dict(arg=lambda d: ARG(BoxFeatures(d), n_graphs=2, d_k=8, n_frames=1, norm='features'), aformer=lambda d: AFormer(BoxFeatures(d)), dualai=lambda d: DualAI(BoxFeatures(d), n_frames=1))

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    "Six videos of annotations: the left team spikes where all stand on the left, the right team where they stand on the right."
    root,rng = tmp_path_factory.mktemp('annotations'),random.Random(0)
    for v in (1, 3, 0, 8, 4, 5):
        lines = []
        for i in range(4):
            left = i % 2
            people = [f'{rng.randint(0, 500) if left else 1220 - rng.randint(0, 500)} {rng.randint(300, 500)} 60 {rng.randint(100, 160)} {"spiking" if j == 0 else "standing"}' for j in range(8 + i)]
            lines.append(f"{100*(i+1)}.jpg {'l-spike' if left else 'r_spike'} {' '.join(people)}")
        (root/'videos'/str(v)).mkdir(parents=True); (root/'videos'/str(v)/'annotations.txt').write_text('\n'.join(lines) + '\n')
    return root

@pytest.fixture(scope='module', autouse=True)
def small_splits():
    "Of the official split, the videos of this world."
    with pytest.MonkeyPatch.context() as m:
        m.setattr('aclip.data.volleyball.SPLITS', dict(train=(1, 3), val=(0, 8), test=(4, 5), trainval=(0, 1, 3, 8)))
        yield

@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('T', [1, 3])
def test_masked_boxes_change_nothing(model, T):
    torch.manual_seed(0)
    net = ActivityCLIP(MODELS[model](32), r=2, d2=16, layers=1, heads=2).eval()
    frames,boxes,mask = batch(T, 6)
    boxes = boxes*mask[:, None, :, None]                                    # as a loader pads
    dirty = boxes.masked_fill(~mask[:, None, :, None], float('nan'))
    clean = net(frames, boxes, mask)
    for k,v in net(frames, dirty, mask).items():
        real = v if v.ndim == 2 else v[mask] if v.ndim == 3 else v.transpose(1, 2)[mask]
        assert torch.equal(real, clean[k] if v.ndim == 2 else clean[k][mask] if v.ndim == 3 else clean[k].transpose(1, 2)[mask]), k

@pytest.mark.parametrize('group', GEOMETRY)
def test_geometry_of_each_group(group):
    "The same for any order of actors and any number of empty places, and finite for one actor alone."
    boxes,p = batch(2, 6)[1],torch.randperm(6)
    numbers,lengths = box_geometry(boxes, [group])
    for x,y in zip(box_geometry(boxes[:, :, p], [group]), (numbers, lengths)): assert torch.allclose(x, y[:, :, p], atol=1e-5)
    for x,y in zip(box_geometry(torch.cat([boxes, torch.zeros(2, 2, 3, 4)], 2), [group]), (numbers, lengths)): assert torch.allclose(x[:, :, :6], y, atol=1e-5) and not x[:, :, 6:].any()
    assert all(x.isfinite().all() for x in box_geometry(boxes[:, :, :1], [group])) and lengths.abs().max() < 4

def test_the_command_knows_every_name():
    "The choices of an option are the names of the library."
    choices = lambda command, option: {*next(a for a in command_parser(command)._actions if a.dest == option).choices}
    assert choices('train', 'model/geometry') == {*GEOMETRY} and choices('table', '/which') == {*TABLES}

def test_the_mirror_of_a_mirror():
    boxes = batch(2, 6)[1]
    assert torch.allclose(mirror_boxes(mirror_boxes(boxes)), boxes, atol=1e-6)
    ids = mirror_ids(ACTIVITIES)
    assert torch.equal(ids[ids], torch.arange(8)) and all(ACTIVITIES[i][2:] == a[2:] and ACTIVITIES[i] != a for i,a in zip(ids, ACTIVITIES))

@pytest.mark.parametrize('kw', [dict(flip=0.), dict(flip=1.), dict(jitter=.2), dict(shift=.3, zoom=.3)])
def test_augmented_boxes_stay_boxes(kw):
    torch.manual_seed(0)
    frames,boxes,mask = batch(2, 6)
    boxes = boxes*mask[:, None, :, None]
    for _ in range(20):
        _,b,m,activity,_ = BoxAugment(ACTIVITIES, **kw)((frames[..., :0], boxes, mask, torch.tensor([0, 5]), torch.zeros(2, 6).long()))
        assert ((b[..., 2:] > b[..., :2]).all(-1) == mask[:, None]).all() and torch.equal(m, mask)
        assert torch.equal((b == 0).all(-1), (~mask)[:, None].expand(2, 2, 6))
        if kw.get('flip') == 1.: assert activity.tolist() == [4, 1]

def test_train_evaluate(world, tmp_path):
    common = ('--data', world, '--features', 'boxes', '--model', 'aformer', '--d', 32)
    runs = aclip_json('train', *common, '--teacher', 'random', '--layers', 1, '--protocol', 'fixed', '--epochs', 60, '--lr', 5e-3, '--out', tmp_path/'run')
    assert [(r['step'], r['clips'], r['protocol']) for r in runs] == [(2, [16, 2], 'fixed'), (3, [16, 2], 'fixed')]
    for step in ('2-relation', '3-text'):
        (best,meta),(last,_) = (load_tensors(tmp_path/'run'/step/f'{f}.safetensors') for f in ('best', 'last'))
        assert meta['epoch'] == 60 and all(torch.equal(best[k], last[k]) for k in last)      # nothing is selected: the last epoch counts
    r = aclip_json('evaluate', '--data', world, '--model', tmp_path/'run'/'3-text'/'best.safetensors', '--mirror')
    assert r['mirror'] and r['clips'] == 8 and r['activity']['MCA'] >= 75
    refused('train', *common, '--teacher', 'random', '--steps', 1, 2, '--out', tmp_path/'no', says=['no backbone', 'begin with step 2'])
    refused('train', *common, '--teacher', 'none', '--backbone-weights', 'tiny', '--out', tmp_path/'no', says=["features 'boxes' have no place for backbone weights"])
    refused('train', *common, '--teacher', 'none', '--store', tmp_path/'store', '--out', tmp_path/'no', says=["features 'boxes' read no frame", 'leave the store out'])

@pytest.mark.parametrize('model', ['arg', 'dualai'])
def test_other_base_models_train(model, world, tmp_path):
    runs = aclip_json('train', '--data', world, '--features', 'boxes', '--model', model, '--d', 32, '--teacher', 'random', '--layers', 1, '--epochs', 2, '--out', tmp_path)
    assert [r['step'] for r in runs] == [2, 3] and all(torch.isfinite(torch.tensor(r['best']['valid_loss'])) for r in runs)

ROWS = ['AFormer', 'ACLIP*(AFormer)', 'ACLIP(AFormer)']

def test_a_table_goes_on(world, tmp_path):
    run = lambda *more: aclip_json('table', 1, '--data', world, '--out', tmp_path/'runs', *more)
    rows = aclip_json('table', 1, '--show', '--out', tmp_path/'runs')
    assert [r['row'] for r in rows] == [r.name for r in TABLES['1']] and {r['status'] for r in rows} == {'not run'}
    one = {r['row']: r for r in run('--seeds', 0, '--rows', *ROWS)}
    assert [n for n,r in one.items() if r['seeds']] == ROWS
    assert all((one[n]['n_train'], one[n]['n_test'], one[n]['seeds']) == (16, 8, 1) for n in ROWS)
    assert one['ACLIP(AFormer)']['paper'] == 92.5 and one['ACLIP(AFormer)']['MCA_sd'] is None and one['ACLIP(AFormer)']['trainable'] > 500_000
    files = {f: f.stat().st_mtime_ns for f in (tmp_path/'runs').rglob('*') if f.is_file()}
    assert run('--seeds', 0, '--rows', *ROWS) == run('--show')
    assert {f: f.stat().st_mtime_ns for f in files} == files                               # nothing was trained again
    two = {r['row']: r for r in run('--seeds', 1, '--rows', 'ACLIP*(AFormer)', '--results', tmp_path/'table1.json')}
    assert two['ACLIP*(AFormer)']['seeds'] == 2 and two['AFormer']['seeds'] == 2 and two['ACLIP(AFormer)']['seeds'] == 1
    results = read_results(tmp_path/'table1.json')
    assert len(results) == 5 and all(sum(map(sum, r['confusion'])) == 8 for r in results)
    status,out,_ = aclip('table', 1, '--data', world, '--out', tmp_path/'runs', '--show')
    assert status == 0 and 'not run' in out and 'gain over the image branch' in out

def test_an_interrupted_run_is_trained_again(world, tmp_path):
    setup,run = SETUPS['boxes'],Run('AFormer')
    first = run_once(run, 0, tmp_path, ClipSource(world), setup, progress=False)
    folder = tmp_path/run.name/'seed-0'
    (folder/'result.json').unlink(); (folder/'2-relation'/'run.json').unlink()
    again = run_once(run, 0, tmp_path, ClipSource(world), setup, progress=False)
    assert again['confusion'] == first['confusion'] and again['activity'] == first['activity']

def test_results_of_something_else(world, tmp_path):
    folder = tmp_path/Run('AFormer').name/'seed-0'
    folder.mkdir(parents=True)
    common = ('table', 1, '--data', world, '--out', tmp_path, '--rows', 'AFormer', '--seeds', 0)
    (folder/'result.json').write_text('{"version": 0}')
    refused(*common, says=['result.json', 'version 0', f'version {VERSION}'])
    (folder/'result.json').write_text('{"version": 2, "seed": 3}')
    refused(*common, says=['of another run', 'choose another --out'])
    refused('table', 1, '--data', world, '--out', tmp_path, '--rows', 'AFormers', says=['no row AFormers'])
    refused('table', 1, '--out', tmp_path, says=['--data', '--show'])

def test_another_recipe_is_another_run(world, tmp_path):
    "A result is reused for the same recipe alone; an image branch for any teacher."
    run,setup = Run('AFormer'),replace(SETUPS['boxes'], training={2: dict(epochs=1), 3: dict(epochs=1)})
    first = run_once(run, 0, tmp_path, ClipSource(world), setup, progress=False)
    assert first['recipe']['epochs'] == 1 and run_once(run, 0, tmp_path, ClipSource(world), replace(setup, teacher='random128')) == first
    more = replace(setup, training={2: dict(epochs=2)})
    with pytest.raises(CheckpointError, match="(?s)result.json is of another run.*'epochs': 1.*choose another --out"): run_once(run, 0, tmp_path, ClipSource(world), more)
    (tmp_path/run.name/'seed-0'/'result.json').unlink()
    with pytest.raises(CheckpointError, match="2-relation already holds best.safetensors by a run with other arguments or data; choose another --out"): run_once(run, 0, tmp_path, ClipSource(world), more)

def test_an_ensemble(world, tmp_path):
    "By the command, and as a row: the mean of probabilities, the gain over the image branches together."
    setup = replace(SETUPS['boxes'], training={2: dict(epochs=2), 3: dict(epochs=2)})
    pair = Ensemble((Run('AFormer', 'aclip', (), 'random128'), Run('AFormer', 'aclip', (('layers', 0),), 'random128')))
    r = run_once(pair, 0, tmp_path, ClipSource(world), setup, progress=False)
    assert pair.image_run == Ensemble((Run('AFormer'),)) and r['n_test'] == 8 and [x['epochs'] for x in r['recipe']] == [2, 2] and 'activity_text' not in r
    files = [tmp_path/p.name/'seed-0'/'3-text'/'best.safetensors' for p in pair.runs]
    both = aclip_json('evaluate', '--data', world, '--mirror', '--model', *files)
    assert both['confusion'] == r['confusion'] and both['protocol'] == 'fixed' and both['model'].count('best.safetensors') == 2
    once = aclip_json('evaluate', '--data', world, '--mirror', '--model', files[0], files[0])
    assert once['confusion'] == aclip_json('evaluate', '--data', world, '--mirror', '--model', files[0])['confusion']

def test_videos_by_their_numbers(world, tmp_path):
    "Leave-one-out: train on some videos, test on another; and labels that are improbable for the model there."
    config,source = Config(list(ACTIVITIES), list(ACTIONS), model='aformer', features='boxes', d=32),ClipSource(world)
    run, = train(RunConfig(source, config, tmp_path, [2], protocol='fixed', videos=[4, 5, 8], recipe=dict(epochs=2)), progress=False)
    assert run['clips'][0] == 12 and run['videos'] == [4, 5, 8]
    e = evaluate(tmp_path/'2-relation'/'best.safetensors', source, [1], progress=False)
    assert e['clips'] == 4 and e['split'] == [1]
    d = find_label_errors(tmp_path/'2-relation'/'best.safetensors', source, [1], below=1.1, progress=False)
    assert {r['clip'].split('/')[0] for r in d} == {'1'} and len(d) == 4 and [r['p_label'] for r in d] == sorted(r['p_label'] for r in d)
    assert sum(r['label'] == r['predicted'] for r in d) == sum(e['confusion'][i][i] for i in range(8)) and find_label_errors(tmp_path/'2-relation'/'best.safetensors', source, [1], below=0.) == []

def test_a_split_of_one_activity(world, tmp_path):
    root = tmp_path/'one'
    for v in (0, 1, 3, 4, 5, 8):
        (root/'videos'/str(v)).mkdir(parents=True); (root/'videos'/str(v)/'annotations.txt').write_text('100.jpg r_set 10 10 50 100 standing 100 10 50 100 setting\n')
    refused('train', '--data', root, '--features', 'boxes', '--teacher', 'none', '--out', tmp_path/'run', says=['one activity', 'r_set'])

@pytest.mark.parametrize('model', ['arg', 'aformer', 'dualai'])
def test_config_of_boxes(model):
    c = Config(list(ACTIVITIES), list(ACTIONS), model=model, features='boxes')
    assert (c.size, c.backbone, c.n_frames, c.first_step) == (None, None, (1, 1), 2) and Config.from_dict(json.loads(json.dumps(c.to_dict()))).to_dict() == json.loads(json.dumps(c.to_dict()))
    with pytest.raises(ValueError, match='begin with step 2'): create_model(c)

@pytest.fixture(scope='module')
def street(tmp_path_factory):
    "Eight sequences of Collective Activity: actors who queue are twice as tall as those who wait."
    root,rng = tmp_path_factory.mktemp('street'),random.Random(0)
    for s in (*range(1, 7), 14, 15):
        (root/f'seq{s:02}').mkdir()
        rows = [f'{f:03}\t{rng.randint(0, 600)}\t{rng.randint(100, 250)}\t40\t{120 if c == 4 else 60}\t{c}\t-1' for f in range(1, 102, 10) for c in [3 + (f//10 + s) % 2]*(1 + f % 3)]
        (root/f'seq{s:02}'/'annotations.txt').write_text('\n'.join(rows) + '\n')
    with pytest.MonkeyPatch.context() as m:
        m.setattr('aclip.data.collective.SPLITS', dict(train=(1, 2, 3), val=(4, 14), trainval=(1, 2, 3, 4, 14), test=(5, 6, 15)))
        yield root

def test_the_street_on_boxes(street, tmp_path):
    "Collective Activity by the same command, known by its folder; a checkpoint of one dataset is an error on the other."
    run, = aclip_json('train', '--data', street, '--features', 'boxes', '--model', 'aformer', '--steps', 2, '--d', 32, '--epochs', 2, '--out', tmp_path/'run')
    assert run['clips'] == [33, 22] and run['config']['activities'] == ['moving', 'waiting', 'queueing', 'talking'] and run['config']['n_actors'] == 13
    model = tmp_path/'run'/'2-relation'/'best.safetensors'
    assert aclip_json('evaluate', '--data', street, '--model', model, '--mirror')['clips'] == 33
    (tmp_path/'videos'/'4').mkdir(parents=True)
    refused('evaluate', '--data', tmp_path/'videos', '--model', model, says=['activities of volleyball', 'moving, waiting', 'belong together'])

def test_a_table_of_the_street(street, world, tmp_path):
    "The printed column is that of the dataset, and the teacher has its actions; results of two datasets do not mix."
    rows = {r['row']: r for r in aclip_json('table', 1, '--data', street, '--out', tmp_path/'runs', '--seeds', 0, '--rows', 'ACLIP(AFormer)', '--results', tmp_path/'street.json')}
    assert rows['ACLIP(AFormer)']['n_test'] == 33 and rows['ACLIP(AFormer)']['paper'] is None and rows['ACLIP(Dual-AI)']['paper'] == 97.9
    assert {r['run']['teacher'] for r in read_results(tmp_path/'street.json')} == {None, 'random128'}
    refused('table', 1, '--show', '--out', tmp_path/'runs', says=['is of another run', "'dataset': 'collective'", 'choose another --out'])
    with pytest.raises(ValueError, match='holds the dataset collective'): run_once(Run('AFormer'), 0, tmp_path, ClipSource(street), SETUPS['boxes'])

def test_one_setup_a_folder(world, tmp_path):
    "What was run by another protocol is no seed of this row; nothing is trained before that error."
    setup = replace(SETUPS['boxes'], training={2: dict(epochs=1)})
    run_once(Run('AFormer'), 0, tmp_path, ClipSource(world), setup, progress=False)
    other = replace(setup, protocol='val')
    with pytest.raises(CheckpointError, match="(?s)seed-0/result.json is of another run.*choose another --out"): table('1', tmp_path, ClipSource(world), other, [1], ['AFormer'], progress=False)
    assert not (tmp_path/Run('AFormer').name/'seed-1').exists()
    (tmp_path/Run('AFormer').name/'seed-0'/'result.json').unlink()                          # as a kill between training and testing leaves it
    with pytest.raises(CheckpointError, match='already holds best.safetensors by a run with other arguments'): run_once(Run('AFormer'), 0, tmp_path, ClipSource(world), other, progress=False)

def test_a_bank_counts_by_its_contents(world, tmp_path):
    file,setup = tmp_path/'bank.safetensors',replace(SETUPS['boxes'], training={2: dict(epochs=1), 3: dict(epochs=1)})
    TextBank.random(list(ACTIONS), dim=16).save(file)
    run = Run('AFormer', 'aclip', (('layers', 0),), str(file))
    first = run_once(run, 0, tmp_path/'runs', ClipSource(world), setup, progress=False)
    assert run_once(run, 0, tmp_path/'runs', ClipSource(world), setup, progress=False) == first
    TextBank.random(list(ACTIONS), dim=32).save(file)
    with pytest.raises(CheckpointError, match='is of another run.*banks'): run_once(run, 0, tmp_path/'runs', ClipSource(world), setup, progress=False)

@pytest.mark.parametrize('name,text,says', [('notes.txt', 'dear diary', ['notes.txt: cannot be read as results', 'give --results another file']), ('other.json', '{"a": 1}', ['version None', 'give --results another file']),
                                            ('result.json', '{"version": 2, "seed": 0}', ["no file of a table's results"]), ('dir', None, ['cannot be made', 'choose a folder'])])
def test_a_results_file_is_checked_before_the_work(world, tmp_path, name, text, says):
    file = tmp_path/name
    if text is None: file.write_text('a file'); file = file/'x.json'
    else: file.write_text(text)
    refused('table', 1, '--data', world, '--out', tmp_path/'runs', '--results', file, says=says)
    assert not (tmp_path/'runs').exists() and (tmp_path/name).read_text() == (text or 'a file')

def test_step_3_builds_on_a_step_that_has_ended(world, tmp_path):
    common = ('train', '--data', world, '--features', 'boxes', '--model', 'aformer', '--d', 32, '--epochs', 1, '--layers', 0, '--out', tmp_path)
    aclip_json(*common, '--steps', 2)
    (tmp_path/'2-relation'/'run.json').unlink()
    refused(*common, '--steps', 3, '--teacher', 'random', says=['step 3 builds on step 2', 'has not ended', '--start-from'])

def test_more_actors_than_the_model_takes(world, tmp_path):
    root = shutil.copytree(world, tmp_path/'crowd')
    with open(root/'videos'/'1'/'annotations.txt', 'a') as f: f.write('900.jpg r_set ' + ' '.join(f'{50*i} 300 40 120 standing' for i in range(13)) + '\n')
    refused('train', '--data', root, '--features', 'boxes', '--teacher', 'none', '--out', tmp_path/'run', says=['clip 1/900 has 13 actors, this model takes 12', 'n_actors=13'])
    (root/'videos'/'3').rename(root/'videos'/'03')
    said = [f'{f.where}: {f.message}' for f in doctor(root, progress=False).findings if f.level == 'error']
    assert any('1/900: 13 people' in s for s in said) and any('03: a number with zeros' in s for s in said)

def test_the_commit_of_a_record_is_read_before_training(monkeypatch, tmp_path):
    "The checkout may change while a run trains; the code that runs does not."
    class Started(Exception): "Training was reached."
    order = []
    def train(*_, **__): raise Started
    monkeypatch.setattr(experiments, 'check_dataset', lambda *_: None)
    monkeypatch.setattr(experiments, 'commit_id', lambda: order.append('commit'))
    monkeypatch.setattr(experiments, 'train_run', train)
    with pytest.raises(Started): run_once(Run('ARG', 'image'), 0, tmp_path, None, None)
    assert order == ['commit']
