"The base models by the same command: what a name alone gives, all three steps on real and on drawn clips, and AFormer's own kinds of features."
import csv, inspect, json, re
import pytest, torch
from aclip.models.aformer import AFormer, AFormerRelation
from aclip.models.arg import ARG, ARGRelation
from aclip.checkpoint import load_tensors, save_tensors, unique_state
from aclip.cli import command_parser, main
from aclip.command_line.options import parameters
from aclip.command_line.subcommands import command_groups, relation_groups
from aclip.data.volleyball_annotation import ACTIONS
from aclip.data.volleyball import read_volleyball
from aclip.models.dualai import DualAI, DualAIRelation
from aclip.models.i3d import I3D
from aclip.text.lora import LoRALinear, takes_adapter
from aclip.text.lora_weights import find_maps
from aclip.models.registry import BASES
from aclip.models.features import FEATURES
from aclip.config import Config
from aclip.zoo import create_model, load_model, next_step
from helpers import DATA, aclip_json, best, boxes_file, needs_frames, refused

PAPER = {name: (b.d, b.n_frames, b.r) for name,b in BASES.items()} | dict(arg=(1024, (3, 9), 7), aformer=(256, (10, 10), 6), dualai=(256, (3, 9), 2))     # D, T in training and testing, r
RUNS = [('drawn', name) for name in BASES] + [('real', name) for name in ('arg', 'aformer', 'dualai')]   # the paper's three also on real frames
QKV = tuple(f'attention.W_{x}' for x in 'qkv')
ADAPTED = dict(arg={'theta', 'phi', 'gcn'},                                                  # all linear maps of the relation, or Q, K and V
               aformer={f'blocks.0.{x}' for x in QKV},
               dualai={f'transformers.{path}.{letter}.{x}' for path in ('ST', 'TS') for letter in 'ST' for x in QKV})
EXTRA = dict(arg=[], aformer=[], groupformer=['cluster_loss'], dualai=['joint_loss', 'frame_frame_loss', 'frame_video_loss', 'video_video_loss'])
BUILDS = dict(arg=(ARG, ARGRelation), aformer=(AFormer, AFormerRelation), dualai=(DualAI, DualAIRelation))
LABELS = ['left', 'right'],['spiking', 'waiting']

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')/'world'
    aclip_json('world', '--out', root, '--clips', 12, '--size', 90, 160, '--workers', 0)
    return root

# --- what a name gives -------------------------------------------------------

@pytest.mark.parametrize('name', PAPER)
def test_a_name_gives_what_the_paper_says(name, world, monkeypatch):
    asked = []
    monkeypatch.setattr('aclip.train.steps.train', lambda run, progress: asked.append(run) or [])
    assert main(['train', '--data', str(world), '--out', 'y', '--teacher', 'random', '--model', name]) == 0
    c = asked[0].step_config(3)
    assert (c.d, c.n_frames, c.text['r']) == PAPER[name]
    with torch.device('meta'): model = create_model(c)
    assert {(m.B.shape[-1], m.alpha) for m in model.modules() if isinstance(m, LoRALinear) and m.out_features > 1} == {(PAPER[name][2], 8.)}
    assert Config(*LABELS, step=3, model=name).text['r'] == PAPER[name][2]

@pytest.mark.parametrize('name', BASES)
def test_options_of_the_command_are_those_of_the_models(name):
    "Every argument of the relation and every loss is an option with the model's own default; no other base model's is one."
    own = {k: p.default for f in (BASES[name].build, BASES[name].relation) for k,p in inspect.signature(f).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    if name in BUILDS: assert (BASES[name].build, BASES[name].relation) == BUILDS[name]
    groups = relation_groups(name)
    assert {k for g in groups for k in parameters(g)} == own.keys() - {'features', 'n_activities', 'n_actions', 'dropout', 'n_actors', 'd', 'relation'}
    options = {o: action for action in command_parser('train', command_groups('train', ['--model', name]))._actions for o in action.option_strings}
    assert {o for o in options if o.startswith('--relation.')} == {f'--relation.{k}' for g in groups for k in parameters(g)}
    for k in (k for g in groups for k in parameters(g)):
        shown = ' '.join(map(str, own[k])) if isinstance(own[k], tuple) else {True: 'yes', False: 'no'}.get(own[k], own[k]) if isinstance(own[k], bool) else own[k]
        shown = float(f'{shown:.5g}') if isinstance(shown, float) else shown
        if own[k] is None: shown = options[f'--relation.{k}'].help.split('default: ')[1].split(' (')[0]         # words, from its comment
        assert re.search(rf'default: {re.escape(str(shown))}( \(|$)', options[f'--relation.{k}'].help), k

def test_help_says_the_sizes_of_the_table(capsys):
    with pytest.raises(SystemExit): main(['train', '--help'])
    said = ' '.join(capsys.readouterr().out.split())
    for field in ('d', 'r'): assert '(' + ', '.join(f'{getattr(b, field)} for {name}' for name,b in BASES.items()) + ')' in said, field
    assert '(1024 for arg, 256 for aformer, 256 for dualai' in said and '(7 for arg, 6 for aformer, 2 for dualai' in said

@pytest.mark.parametrize('argv,says', [
    ('--features middle', ["arg takes no features 'middle'"]), ('--model dualai --i3d-weights {file}', ['no place for I3D weights']),
    ('--model aformer --relation.heads 3', ['width 64 cannot be split into 3 heads']),
    ('--model dualai --r 65', ['relation.transformers.ST.S.attention.W_q', 'r=65']),
    ('--model dualai --relation.paths TS --relation.parts frame-video', ['joint and contrastive losses need both paths']),
    ('--model dualai --relation.paths SS', ["'SS'", 'ST', 'TS']), ('--relation.norm rows', ["'rows'", 'nodes', 'features']),
    ('--model dualai --relation.parts frame', ["'frame'", 'frame-frame', 'frame-video', 'video-video']),
    ('--model aformer --features middle --i3d-weights {file}', ['no place for I3D weights']), ('--model aformer --features clip --i3d-weights nowhere', ['nowhere: no such file']),
    ('--model aformer --features clip --backbone-weights {file}', ['no place for backbone weights']),
    ('--model aformer --features early --d 63 --no-relation.positions', ['half of the width']),
    ('--model aformer --features late', ['trained alone', "steps 1 and 2 with features 'middle'", '--start-from MIDDLE CLIP']), ('--model aformer --features late --steps 3', ['trained alone'])])
def test_options_that_do_not_fit(world, tmp_path, argv, says):
    (tmp_path/'f').touch()
    argv = argv.replace('{file}', str(tmp_path/'f'))
    refused('train', '--tiny', '--data', world, '--available', '--out', tmp_path/'run', '--teacher', 'random', *argv.split(), says=says)
    assert not list(tmp_path.rglob('*.*'))

@pytest.mark.parametrize('argv,says', [
    ('--model aformer --relation.n_graphs 8', ['unrecognized arguments: --relation.n_graphs']), ('--model dualai --relation.norm nodes', ['--relation.norm']),
    ('--relation.heads 2', ['--relation.heads']), ('--model dualai --relation.layers 2', ['--relation.layers']),
    ('--model dualai --no-relation.positions', ['--no-relation.positions']), ('--model aformer --relation.paths ST', ['--relation.paths']), ('--relation.parts', ['--relation.parts']),
    ('--model aformer --relation.joint 0', ['--relation.joint']), ('--model brg', ['--model', "'brg'", *BASES]), ('--features colour', ['--features', "'colour'", *FEATURES])])
def test_options_that_do_not_exist(world, tmp_path, capsys, argv, says):
    "An option of another base model, or a name that is in no registry: exit status 2, and what it was."
    with pytest.raises(SystemExit) as e: main(['train', '--tiny', '--data', str(world), '--available', '--out', str(tmp_path/'run'), '--teacher', 'random', *argv.split()])
    err = capsys.readouterr().err
    assert e.value.code == 2
    for s in says: assert s in err.splitlines()[-1], err
    assert not list(tmp_path.rglob('*.*'))

def test_no_random_i3d_by_mistake(world, tmp_path):
    refused('train', '--model', 'aformer', '--features', 'clip', '--data', world, '--available', '--out', tmp_path, '--steps', 1, says=['--i3d-weights FILE', '--no-pretrained'])

# --- files of before ---------------------------------------------------------

OLD = dict(activities=LABELS[0], actions=LABELS[1], step=2, model='arg', backbone='test_resnet', out_indices=[2], d=16, crop=5, dropout=0.3, size=[90, 160],
           n_frames=[3, 9], n_actors=12, relation=dict(n_graphs=4, norm='nodes'), text={})       # as written before there were other base models

@pytest.mark.parametrize('d', [OLD, OLD | dict(step=3, text=dict(d2=16, layers=0, heads=2)), OLD | dict(step=3, model='dualai', relation={}, text=dict(d2=16, layers=0, heads=2)), OLD | dict(step=1)])
def test_older_files_load(d, tmp_path):
    c = Config.from_dict(d)
    assert {k: v for k,v in c.to_dict().items() if k in d and k != 'text'} == {k: v for k,v in d.items() if k != 'text'}
    assert c.features == 'actor' and (c.step < 3 or c.text == d['text'] | dict(r=7))              # 7 was the default of every model
    state = unique_state(create_model(c))
    save_tensors(tmp_path/'old.safetensors', state, dict(config=d))
    model,*_ = load_model(tmp_path/'old.safetensors')
    for k,v in unique_state(model).items(): assert torch.equal(v, state[k]), k

def test_an_older_step_2_goes_on():
    c = Config.from_dict(OLD)
    new = Config(*LABELS, step=3, backbone='test_resnet', out_indices=(2,), d=16, relation=dict(n_graphs=4, norm='nodes'), text=dict(layers=0, heads=2))
    assert next_step(create_model(c), c, new).text_relation.theta.B.shape == (4, 256, 7)

# --- all three steps ---------------------------------------------------------

def marks(kind, name):
    "Real frames may not be there; one model on them is enough for every day."
    if kind == 'drawn': return ()
    return needs_frames if name == 'arg' else (needs_frames, pytest.mark.slow)

@pytest.fixture(scope='module', params=[pytest.param((m, d), marks=marks(d, m), id=f'{m}-{d}') for d,m in RUNS])
def run(request, world, tmp_path_factory):
    "All three steps of a model, shortly, with nothing but its name."
    name,kind = request.param
    out = tmp_path_factory.mktemp('run')
    if kind == 'drawn': argv = '--data', world, '--available', '--size', 90, 160, '--epochs', 4, '--workers', 0
    else: argv = '--data', DATA, '--available', '--protocol', 'overfit', '--epochs', 2
    return name,kind,argv[1],out,aclip_json('train', '--tiny', '--model', name, '--teacher', 'random', '--out', out, *argv)

def count(data): return lambda split: len(read_volleyball(data, split, frames='available'))

def history(out, step):
    with open(best(out, step).with_name('history.csv'), newline='') as f: return list(csv.DictReader(f))

def test_losses_fall(run):
    name,kind,data,out,runs = run
    assert [r['step'] for r in runs] == [1, 2, 3] and [r['clips'] for r in runs] == [list(map(count(data), ('train', 'val' if kind == 'drawn' else 'train')))]*3
    for step in (1, 2, 3):
        rows = history(out, step)
        losses = {k: [float(h[k]) for h in rows] for k in ('train_loss', 'valid_loss')}  # the first is a running average over few batches
        assert any(v[-1] < v[0] for v in losses.values()), (step, losses)

def test_every_part_of_the_loss_is_a_column(run):
    name,*_,out,_ = run
    columns = list(history(out, 2)[0])
    assert columns == ['epoch', 'train_loss', 'valid_loss', 'activity_loss', 'action_loss', *EXTRA.get(name, []), 'mca', 'mpca', 'action_acc', 'time']
    for h in history(out, 2): assert float(h['valid_loss']) == pytest.approx(sum(float(h[k]) for k in columns[3:-4]), rel=1e-4)

def test_image_branch_is_the_same_to_the_bit(run):
    before,_ = load_tensors(best(run[3], 2))
    after,_ = load_tensors(best(run[3], 3))
    assert before.keys() == {k[5:] for k in after if k.startswith('base.')}
    for k,v in before.items(): assert torch.equal(v, after[f'base.{k}']), k

def test_lora_is_where_the_paper_puts_it(run):
    name,*_,out,runs = run
    model,config,_ = load_model(best(out, 3))
    adapted = {n: m for n,m in model.text_relation.named_modules() if isinstance(m, LoRALinear)}
    linear = {n for n,W in find_maps(model.relation, model.base.lora_targets).items() if takes_adapter(W.owner)}    # an LSTM's weights are updated inside it
    assert adapted.keys() == (ADAPTED.get(name) or linear)
    for n,m in adapted.items():
        assert (m.B.shape[-1], m.alpha) == (min(PAPER[name][2], m.out_features), 8.) and m.B.any(), n                   # it has learned
        assert m.W0.weight is model.relation.get_submodule(n).weight and not m.W0.weight.requires_grad
    assert (config.model, config.d, tuple(config.n_frames)) == (name, 64, PAPER[name][1])
    assert runs[2]['trainable'] == sum(p.numel() for p in model.parameters() if p.requires_grad)

def test_evaluate(run, tmp_path):
    name,kind,data,out,_ = run
    split,steps = ('test', (2, 3)) if kind == 'drawn' else ('train', (3,))
    n = count(data)(split)
    for step in steps:
        r = aclip_json('evaluate', '--model', best(out, step), '--data', data, '--available', '--split', split, '--out', tmp_path)
        branches = ['activity', *(['activity_image', 'activity_text'] if step == 3 else ['activity_ST', 'activity_TS'] if name == 'dualai' else []), 'action']
        assert r['clips'] == n and [k for k,v in r.items() if isinstance(v, dict)] == branches
        assert json.loads((tmp_path/'evaluation.json').read_text()) == r and torch.tensor(r['confusion']).sum() == n

def test_predict(run, tmp_path):
    name,kind,data,out,_ = run
    clip = read_volleyball(data, 'train', frames='available')[0]
    for step in (2, 3):
        r = aclip_json('predict', '--model', best(out, step), '--frames', clip.frames[0].parent, '--boxes', boxes_file(tmp_path/'b.txt', clip), '--target', clip.name.split('/')[1])
        assert len(r['actors']) == len(clip.actions) and {a['action'] for a in r['actors']} <= set(ACTIONS)
        assert sum(r['scores'].values()) == pytest.approx(1, abs=1e-3)

@pytest.mark.parametrize('how', ('--method series', '--adapt scratch'))
def test_other_text_branches(run, how, tmp_path):
    "The series baseline and the relation from scratch, on every base model, by the command."
    name,kind,data,out,_ = run
    if kind == 'real': pytest.skip('drawn clips are enough for this')
    r, = aclip_json('train', '--tiny', '--model', name, '--teacher', 'random', '--out', tmp_path, '--data', data, '--available', '--size', 90, 160, '--epochs', 2, '--workers', 0, '--steps', 3, '--start-from', best(out, 2), *how.split())
    model,config,_ = load_model(best(tmp_path, 3))
    relation = sum(p.numel() for p in model.relation.parameters())
    assert sum(p.numel() for p in model.text_relation.parameters() if p.requires_grad) == relation < r['trainable']
    assert (config.method, config.text.get('adapt')) == {'--method series': ('series', None), '--adapt scratch': ('aclip', 'scratch')}[how]
    scores = aclip_json('evaluate', '--model', best(tmp_path, 3), '--data', data, '--available')
    assert [k for k,v in scores.items() if isinstance(v, dict)] == ['activity', 'activity_image', 'activity_text', 'action']

# --- AFormer's own features --------------------------------------------------

SMALL = '--tiny --model aformer --size 45 80 --layers 1 --epochs 1 --warmup 0 --workers 0 --available --teacher random'.split()

@pytest.fixture(scope='module')
def i3d(tmp_path_factory):
    "A file in the layout of the public RGB checkpoint, with random weights."
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('i3d')/'rgb.pt'
    torch.save(I3D('Mixed_5c').state_dict(), path)
    return path

@pytest.fixture(scope='module')
def parts(world, i3d, tmp_path_factory):
    "Steps 1 and 2 of the middle frame's model and of the clip's; the first step of the latter leaves its weights alone."
    out = tmp_path_factory.mktemp('parts')
    argv = *SMALL, '--data', world
    aclip_json('train', *argv, '--features', 'middle', '--out', out/'middle', '--steps', 1, 2)
    aclip_json('train', *argv, '--features', 'clip', '--out', out/'clip', '--i3d-weights', i3d, '--steps', 1, '--lr', 0)
    aclip_json('train', *argv, '--features', 'clip', '--out', out/'clip', '--steps', 2)
    return out

def test_i3d_weights_go_through_the_steps(parts, i3d):
    file = torch.load(i3d, weights_only=True)
    for step in (1, 2):
        state,_ = load_tensors(best(parts/'clip', step))
        own = {k.removeprefix('features.backbone.'): v for k,v in state.items() if k.startswith('features.backbone.')}
        assert len(own) > 200
        for k,v in own.items(): assert torch.equal(v, file[k]), k

def test_late_fusion(parts, world, tmp_path):
    both = best(parts/'clip', 2),best(parts/'middle', 2)
    argv = *SMALL, '--data', world, '--features', 'late', '--steps', 3, '--start-from'
    r, = aclip_json('train', *argv, *both, '--out', tmp_path/'late')
    scores = [aclip_json('evaluate', '--model', m, '--data', world, '--available', '--workers', 0) for m in (*both, best(tmp_path/'late', 3))]
    assert r['config']['features'] == 'late' and [s['clips'] for s in scores] == [count(world)('test')]*3
    late,clip,middle = (load_model(f)[0] for f in (best(tmp_path/'late', 3), *both))
    for i,m in enumerate((middle, clip)):
        for k,v in unique_state(m).items(): assert torch.equal(v, late.base.branches[i].state_dict()[k]), k
    clip = read_volleyball(world, 'test', frames='available')[0]
    aclip_json('predict', '--model', best(tmp_path/'late', 3), '--frames', clip.frames[0].parent, '--boxes', boxes_file(tmp_path/'b.txt', clip))
    refused('train', *argv, both[0], '--out', tmp_path/'x', says=['trained with features=clip', 'asks for late'])
    refused('train', *argv, both[0], both[0], '--out', tmp_path/'x', says=["got features 'clip' of step 2, features 'clip' of step 2"])
    refused('train', *[a for a in argv if a not in ('--features', 'late')], *both, '--out', tmp_path/'x', says=['trained with features=late', 'asks for actor'])

def test_early_fusion_and_the_middle_frame_train(parts, world, i3d, tmp_path):
    argv = *SMALL, '--data', world
    early = aclip_json('train', *argv, '--features', 'early', '--out', tmp_path/'early', '--i3d-weights', i3d)
    middle = aclip_json('train', *argv, '--features', 'middle', '--out', tmp_path/'middle', '--steps', 3, '--start-from', best(parts/'middle', 2))
    assert [r['config']['features'] for r in (*early, *middle)] == ['early']*3 + ['middle']
    one,two = (load_model(best(tmp_path/'early', step))[0] for step in (1, 2))
    assert [p.d for p in two.features.parts] == [32, 32] and two.d == 64                          # the halves of --tiny's width
    for a,b in zip(one.features.backbone.parameters(), two.features.backbone.parameters()): assert torch.equal(a, b)

def test_features_of_a_table():
    choices = next(a.choices for a in command_parser('train')._actions if '--features' in a.option_strings)
    assert FEATURES.keys() == set(choices) == set(BASES['aformer'].features)
