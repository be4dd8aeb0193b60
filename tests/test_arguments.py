"Arguments from Python: a wrong type or range is one sentence that names the argument, before anything is built."
import math
from inspect import signature
import pytest, torch
from safetensors.torch import save_file
from aclip.cli import main
from aclip.config import Config
from aclip.core import ActivityCLIP
from aclip.data.augment import BoxAugment
from aclip.data.errors import DataError
from aclip.data.folder import read_folder
from aclip.data.rules import rules_of
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.models.arg import ARGRelation
from aclip.models.backbone import Backbone
from aclip.models.features import Weights
from aclip.models.series import SeriesCLIP
from aclip.text.bank import BankError
from aclip.text.teachers import load_teacher
from aclip.train.recipes import recipe_for
from aclip.train.run import Distillation, RunConfig, model_for
from aclip.zoo import create_model

NAN, INF = math.nan, math.inf
LABELS = dict(activities=['l_spike', 'r_spike'], actions=['waiting', 'spiking', 'blocking'])
BOXES = dict(LABELS, model='aformer', features='boxes', d=8, step=2)
# of each type, values that no argument of that type takes
WRONG = {int: (1.5, 'x', NAN, [1], {}, True, -10**9, 10**12), float: ('x', NAN, INF, -INF, [1.], {}, None),
         bool: ('x', 2.5, 1, None, []), str: (5, '', [], 2.5, {})}

def base(): return create_model(Config(**BOXES))
def text_branch(**given): return ActivityCLIP(base(), **{**dict(r=2, d2=16, layers=1, heads=2), **given})
def box_augment(**given): return BoxAugment(LABELS['activities'], **given)

CALLS = dict(ActivityCLIP=(ActivityCLIP, text_branch), SeriesCLIP=(SeriesCLIP, lambda **given: SeriesCLIP(base(), **given)),
             Distillation=(Distillation, Distillation), Weights=(Weights, Weights), BoxAugment=(BoxAugment, box_augment))
CASES = [(name, p.name) for name, (source, _) in CALLS.items() for p in signature(source).parameters.values() if p.annotation in WRONG]

def test_many_arguments_are_tried():
    assert len(CASES) > 20 and all(rules_of(source) for source, _ in CALLS.values())

@pytest.mark.parametrize('call,name', CASES)
def test_a_value_of_a_wrong_type_is_named(call, name):
    source, build = CALLS[call]
    for value in WRONG[signature(source).parameters[name].annotation]:
        with pytest.raises(ValueError, match=f'{name}|module|maps|relation'): build(**{name: value})

@pytest.mark.parametrize('call,given', [
    ('ActivityCLIP', dict(layers=10**9)), ('ActivityCLIP', dict(tau=0)), ('ActivityCLIP', dict(tau=-1)), ('ActivityCLIP', dict(dropout=1.5)),
    ('ActivityCLIP', dict(heads=0)), ('ActivityCLIP', dict(d2=0)), ('ActivityCLIP', dict(targets=5)), ('ActivityCLIP', dict(targets=[5])),
    ('Distillation', dict(kd_weight=-1)), ('Distillation', dict(pairs='video')), ('Distillation', dict(prompts=5)), ('Distillation', dict(target=None)),
    ('BoxAugment', dict(flip=-.1)), ('BoxAugment', dict(flip=1.1)), ('BoxAugment', dict(shift=-1)), ('BoxAugment', dict(zoom=1)),
    ('BoxAugment', dict(zoom=-.1)), ('BoxAugment', dict(jitter=-1)), ('Weights', dict(backbone_weights=5))])
def test_a_value_out_of_range_is_named(call, given):
    with pytest.raises(ValueError, match=f'{[*given][0]} is .*; give '): CALLS[call][1](**given)

def test_the_image_branch_is_given_back_as_it_was():
    image = base()
    for given in (dict(tau=NAN), dict(layers=10**9), dict(learn_tau='x')):
        with pytest.raises(ValueError): ActivityCLIP(image, **given)
    assert all(p.requires_grad for p in image.parameters())

def test_ends_of_the_ranges_are_taken():
    text_branch(tau=1e-6, dropout=0, alpha=-8, targets=()), text_branch(layers=0), text_branch(relation='relation')
    image = base()
    ActivityCLIP(image, r=1, d2=8, heads=1, layers=1, relation=image.relation)
    box_augment(flip=1, shift=0, zoom=0, jitter=0), Distillation(kd_weight=0, fused=True), Weights(backbone_weights='tiny')

@pytest.mark.parametrize('given,says', [(dict(nosuch=1), 'no setting nosuch'), (dict(dropout=.1), 'no setting dropout'), (dict(n_actors=3), 'no setting n_actors')])
@pytest.mark.parametrize('model', ['arg', 'aformer', 'dualai'])
def test_an_unknown_argument_of_the_relation(model, given, says):
    with pytest.raises(ValueError, match=f'relation: {model} has {says}; there are '): Config(**{**BOXES, 'model': model}, relation=given)

@pytest.mark.parametrize('aspect', [0, -1, NAN, 'x'])
def test_an_aspect_that_no_picture_has(aspect):
    with pytest.raises(ValueError, match='aspect'): ARGRelation(8, 2, 4, aspect=aspect)
    with pytest.raises(ValueError, match='aspect'): Config(**{**BOXES, 'model': 'arg'}, relation=dict(aspect=aspect))

@pytest.mark.parametrize('given', [dict(epochs='3'), dict(epochs=[1]), dict(epochs=0), dict(nosuch=1), dict(lr=NAN), dict(step=7), dict(dataset='nosuch')])
def test_recipes(given):
    with pytest.raises(ValueError, match=[*given][0]): recipe_for(**{'step': 3, **given})
    if {'step', 'dataset'} & {*given}: return
    with pytest.raises(ValueError, match=[*given][0]): recipe_for(2, False, **given)

def test_boxes_alone_have_no_first_step():
    with pytest.raises(ValueError, match='step is 1; give one of 2, 3'): recipe_for(1, False)


# A run

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    place = tmp_path_factory.mktemp('world')/'data'
    make_world(place, clips=10, size=(72, 120))
    return ClipSource(place)

def run(clips, out, **given):
    model = model_for(clips, model='aformer', features='boxes', d=8, text=dict(r=2, layers=0))
    return RunConfig(**{**dict(source=clips, model=model, out=out, teacher='random', steps=[2, 3]), **given})

@pytest.mark.parametrize('name,value', [
    ('steps', []), ('seed', -1), ('seed', 2**70), ('store', 5), ('store', ['x']), ('store', ''), ('model', 5), ('source', 'x'), ('weights', None), ('distill', dict(kd_weight=1.)),
    ('augment', dict(nosuch=1)), ('augment', dict(flip=2)), ('augment', dict(zoom=5)), ('augment', dict(jitter=-1)), ('recipe', dict(nosuch=1)), ('recipe', dict(epochs='3'))])
def test_runs(source, tmp_path, name, value):
    run(source, tmp_path/'run')
    with pytest.raises(ValueError, match=name): run(source, tmp_path/'run', **{name: value})

@pytest.mark.parametrize('what', ['backbone_weights', 'i3d_weights'])
def test_weights_that_nothing_would_load(source, tmp_path, what):
    with pytest.raises(ValueError, match="features 'boxes' have no place for"): run(source, tmp_path/'run', weights=Weights(**{what: 'tiny'}))

@pytest.mark.parametrize('setting', ['recipe.lr', 'distill.kd_weight', 'model.dropout', 'augment.flip', 'seed', 'source.workers'])
@pytest.mark.parametrize('value', ['NaN', 'Infinity', '-7'])
def test_a_number_of_a_settings_file_is_named(source, tmp_path, capsys, setting, value):
    part, _, name = setting.rpartition('.')
    inner = f'"{part}": {{"{name}": {value}}}' if part else f'"{name}": {value}'
    (tmp_path/'run.json').write_text('{' + inner + '}')
    assert main(['train', '--config', str(tmp_path/'run.json'), '--data', str(source.data), '--out', str(tmp_path/'run'), '--features', 'boxes', '--teacher', 'random']) == 1
    said = capsys.readouterr().err
    assert name in said and 'give a' in said and said.count('\n') == 1

@pytest.mark.parametrize('option', ['--model', '--config'])
def test_an_option_without_a_value(capsys, option):
    with pytest.raises(SystemExit): main(['train', '--data', 'x', '--out', 'y', option])
    said = capsys.readouterr().err
    assert said.startswith('usage: aclip train') and said.endswith(f'argument {option}: expected one argument\n')


# Functions that read

@pytest.mark.parametrize('teacher', [5, None, [], '', {}])
def test_teachers(teacher):
    with pytest.raises(BankError, match='teacher is .*; give a file of a text bank, or one of tiny, random'): load_teacher(teacher, ['waiting'])

@pytest.mark.parametrize('teacher', ['tiny', 'random', 'shuffled'])
@pytest.mark.parametrize('actions', [None, 5, [], 'waiting', ['waiting', 'waiting'], [1, 2], ['']])
def test_labels_of_a_teacher(teacher, actions):
    with pytest.raises(BankError, match='actions is .*; give a list'): load_teacher(teacher, actions)

@pytest.mark.parametrize('given', [dict(length=v) for v in (0, -3, 1.5, 'x', None, True)] + [dict(target=v) for v in (-1, 1.5, 'x', [3])] + [dict(frames=v) for v in (None, 5)] + [dict(boxes=v) for v in (None, 5)])
def test_frames_and_boxes_of_a_user(source, tmp_path, given):
    frames = next(source.data.glob('videos/*/*/'))
    (tmp_path/'boxes.txt').write_text('5 5 10 10\n')
    read_folder(**dict(frames=frames, boxes=tmp_path/'boxes.txt'))
    with pytest.raises(DataError, match=f'{[*given][0]}.*; give '): read_folder(**{**dict(frames=frames, boxes=tmp_path/'boxes.txt'), **given})


# Weights of a backbone


def timm_state():
    import timm
    torch.manual_seed(1)
    return timm.create_model('test_resnet').state_dict()

@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
@pytest.mark.parametrize('change,says', [
    (lambda t: torch.full_like(t, NAN), 'NaN or infinity'), (lambda t: torch.full_like(t, INF), 'NaN or infinity'), (lambda t: t.long(), 'int64'),
    (lambda t: t > 0, 'bool'), (lambda t: t.to(torch.float8_e4m3fn), 'float8'), (lambda t: torch.cat([t, t]), 'cannot be read as weights')])
def test_weights_that_are_no_finite_numbers(tmp_path, suffix, change, says):
    file = tmp_path/f'weights.{suffix}'
    save = save_file if suffix == 'safetensors' else torch.save
    save(timm_state(), file)
    Backbone('test_resnet', weights=file)
    save({k: change(v) if v.is_floating_point() else v for k, v in timm_state().items()}, file)
    with pytest.raises(ValueError, match=f"{file}.*{says}.*Give a safetensors or .pth file of timm's test_resnet") as e: Backbone('test_resnet', weights=file)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precisions_load(tmp_path, dtype):
    file = tmp_path/'weights.safetensors'
    save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in timm_state().items()}, file)
    Backbone('test_resnet', weights=file)
