"The whole path on real frames: `aclip train` through all three steps, then `evaluate` and `predict`, by the command."
import json
import pytest, torch
from aclip.checkpoint import load_tensors, read_meta
from aclip.data.loaders import clip_dl
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.data.volleyball import read_volleyball
from aclip.evaluate.scores import predict_scores
from aclip.zoo import load_model
from helpers import DATA, STEPS, aclip, aclip_json, best, boxes_file, needs_frames

pytestmark = needs_frames

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "All three steps on the real clips whose frames are there, trained until they are known by heart; the frozen backbone runs once, for the store."
    out = tmp_path_factory.mktemp('run')
    return out,aclip_json('train', '--tiny', '--data', DATA, '--available', '--protocol', 'overfit', '--teacher', 'random', '--store', tmp_path_factory.mktemp('store'), '--out', out)

def test_all_steps_learn_the_clips_by_heart(run):
    out,runs = run
    assert [r['step'] for r in runs] == [1, 2, 3]
    assert [r['clips'] for r in runs] == [[8, 8]]*3
    for r in runs: assert r['best']['mca'] == 1., r['best']
    assert runs[2]['best']['mca_text'] >= .75               # alone, within these few epochs: seven or eight of eight, as frames are drawn

@pytest.mark.parametrize('step', STEPS)
def test_evaluate(run, step, tmp_path):
    r = aclip_json('evaluate', '--model', best(run[0], step), '--data', DATA, '--available', '--split', 'train', '--out', tmp_path)
    assert r['clips'] == 8 and r['activity'] == dict(MCA=100., MPCA=100.)
    cm = torch.tensor(r['confusion'])
    assert cm.shape == (8, 8) and cm.sum() == 8 == cm.diag().sum()
    assert (tmp_path/'confusion.png').stat().st_size > 5000 and json.loads((tmp_path/'evaluation.json').read_text()) == r

def test_the_image_branch_is_the_same_to_the_bit(run):
    before,_ = load_tensors(best(run[0], 2))
    after,meta = load_tensors(best(run[0], 3))
    for k,v in before.items(): assert torch.equal(v, after[f'base.{k}']), k
    assert not any('W0' in k for k in after)                # W0 stands once, in the base
    assert meta['note']['protocol'] == 'overfit'            # a checkpoint says how it was selected

@pytest.mark.parametrize('clip', ['7/38025', '39/29885', '10/20500'])
def test_predict(run, clip, tmp_path):
    truth = next(c for c in read_volleyball(DATA, 'train', frames='available') if c.name == clip)
    boxes = boxes_file(tmp_path/'boxes.txt', truth)
    r = aclip_json('predict', '--model', best(run[0], 3), '--frames', DATA/'videos'/clip, '--boxes', boxes, '--target', clip.split('/')[1])
    assert r['activity'] == ACTIVITIES[truth.activity]
    assert len(r['actors']) == len(truth.actions) and abs(sum(r['scores'].values()) - 1) < 1e-3
    model,config,_ = load_model(best(run[0], 3))      # the same as by way of the dataset's reader
    scores = predict_scores(model, clip_dl([truth], 1, config.size, config.n_frames[1], num_workers=0, n_actors=config.n_actors))
    for l,p in zip(ACTIVITIES, scores['activity'][0].softmax(-1)): assert abs(r['scores'][l] - p.item()) < 1e-3
    for a,s in zip(r['actors'], scores['action'][0]): assert a['action'] == ACTIONS[s.argmax()]

def test_text_for_people(run, tmp_path):
    status,out,_ = aclip('evaluate', '--model', best(run[0], 3), '--data', DATA, '--available', '--split', 'train', '--quiet')
    assert status == 0 and '8 clips' in out and 'activity_text' in out and 'l_winpoint' in out

def test_files_of_a_run(run):
    for step in STEPS.values():
        assert {f.name for f in (run[0]/step).iterdir()} == {'best.safetensors', 'last.safetensors', 'history.csv', 'run.json'}
        meta,saved = read_meta(run[0]/step/'last.safetensors'),json.loads((run[0]/step/'run.json').read_text())
        assert meta['epoch'] == meta['epochs'] == saved['recipe']['epochs'] == len((run[0]/step/'history.csv').read_text().splitlines()) - 1

def test_a_run_is_not_overwritten(run):
    before = (best(run[0], 1)).read_bytes()
    status,_,err = aclip('train', '--tiny', '--data', DATA, '--available', '--protocol', 'overfit', '--teacher', 'random', '--seed', 1, '--out', run[0], '--quiet')
    assert status == 1 and 'already holds best.safetensors' in err and '--overwrite' in err
    assert (best(run[0], 1)).read_bytes() == before

def test_another_configuration_is_refused(run, tmp_path):
    status,_,err = aclip('train', '--tiny', '--d', 32, '--steps', 2, '--start-from', best(run[0], 1), '--data', DATA, '--available', '--protocol', 'overfit', '--out', tmp_path, '--quiet')
    assert status == 1 and 'trained with d=64' in err
    status,_,err = aclip('train', '--tiny', '--steps', 3, '--start-from', best(run[0], 1), '--teacher', 'random', '--data', DATA, '--available', '--protocol', 'overfit', '--out', tmp_path/'b', '--quiet')
    assert status == 1 and 'step 3 builds on step 2' in err

def test_the_same_seed_gives_the_same_weights(tmp_path):
    states = []
    for i in range(2):
        aclip_json('train', '--tiny', '--steps', 1, '--epochs', 2, '--warmup', 0, '--data', DATA, '--available', '--protocol', 'overfit', '--out', tmp_path/str(i))
        states.append(load_tensors(tmp_path/str(i)/STEPS[1]/'last.safetensors')[0])
    for k,v in states[0].items(): assert torch.equal(v, states[1][k]), k
