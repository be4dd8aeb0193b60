"Settings that belong to a dataset: official values in its registry entry, and every run on frames takes them from there."
import re
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fastai.data.core import DataLoaders
from helpers import BoxFeatures

from aclip.cli import main
from aclip.command_line.options import value_text
from aclip.data.datasets import COLLECTIVE, DATASETS
from aclip.data.source import ClipSource
from aclip.models.arg import ARG
from aclip.models.base import BaseNet
from aclip.models.registry import BASES
from aclip.train import steps
from aclip.train.learner import backbone_learner, relation_learner
from aclip.train.recipes import BOX_RECIPES, RECIPES, Recipe, recipe_for
from aclip.train.run import RunConfig, model_for
from aclip.zoo import create_model, next_step

# Folder names that show each dataset.
FOLDERS = dict(volleyball='videos/4', collective='seq05')
PIXELS = dict(backbone='test_resnet', d=32)

@pytest.fixture(params=DATASETS)
def source(request, tmp_path):
    (tmp_path/'data'/FOLDERS[request.param]).mkdir(parents=True)
    return ClipSource(tmp_path/'data', available=True)

def run_of(source, **model): return RunConfig(source, model_for(source, **model), source.data.parent/'run')

@pytest.mark.parametrize('name, step, official', [
    ('volleyball', 1, dict(epochs=200, bs=8, lr=1e-5, wd=0., schedule='constant')), ('volleyball', 2, dict(epochs=150, bs=32, lr=2e-4, wd=0., schedule='steps')),
    ('collective', 1, dict(epochs=100, bs=16, lr=1e-5, wd=.01, schedule='constant')), ('collective', 2, dict(epochs=50, bs=16, lr=1e-4, wd=.01, schedule='constant')),
    # Sec. 4.2 of the paper: the third step differs in the batch only.
    ('volleyball', 3, dict(epochs=30, bs=8, lr=1e-4, warmup=5)), ('collective', 3, dict(epochs=30, bs=16, lr=1e-4, warmup=5))])
def test_official_recipes(name, step, official):
    recipe = recipe_for(step, dataset=name)
    assert {k: getattr(recipe, k) for k in official} == official

@pytest.mark.parametrize('step', [2, 3])
def test_recipes_of_boxes_are_our_own_for_every_dataset(step):
    assert all(recipe_for(step, pixels=False, dataset=d) == BOX_RECIPES[step] for d in DATASETS)

def test_dropout_of_each_step(source):
    run = run_of(source, **PIXELS)
    assert [run.step_config(s).dropout for s in (1, 2, 3)] == ([.5, .2, .2] if source.dataset is COLLECTIVE else [.3, .3, .3])
    assert [run_of(source, dropout=.1, **PIXELS).step_config(s).dropout for s in (1, 2, 3)] == [.1]*3
    assert run_of(source, features='boxes').step_config(2).dropout == .3

@pytest.mark.parametrize('model', BASES)
def test_every_relation_takes_what_its_dataset_sets(source, model):
    relation = create_model(run_of(source, model=model, **PIXELS).step_config(2)).relation
    for name, value in source.dataset.relation.items():
        if name in BASES[model].relation_defaults() and hasattr(relation, name) and name != 'norm': assert getattr(relation, name) == value, name
    if model == 'arg': assert (relation.theta.n, bool(relation.norm.n_nodes)) == ((4, False) if source.dataset is COLLECTIVE else (16, True))

@pytest.mark.parametrize('model', BASES)
def test_the_defaults_of_a_relation_are_those_of_volleyball(model):
    "So configurations of Volleyball, also those in old files, name no argument of the relation."
    defaults = BASES[model].relation_defaults()
    assert all(defaults[k] == v for k, v in DATASETS['volleyball'].relation.items() if k in defaults)

def test_what_the_user_sets_wins(source):
    config = model_for(source, model='arg', relation=dict(n_graphs=8))
    assert config.relation['n_graphs'] == 8

def test_boxes_take_no_setting_of_frames(source):
    assert model_for(source, model='arg', features='boxes').relation == BASES['arg'].boxes

def test_a_new_dataset_brings_its_own(tmp_path, monkeypatch):
    lobby = replace(COLLECTIVE, name='lobby', folders=r'cam\d', recipes={1: dict(epochs=7)}, dropout={1: .4, 2: .6, 3: .7}, relation=dict(n_graphs=5, size=(100, 200)))
    monkeypatch.setitem(DATASETS, 'lobby', lobby)
    (tmp_path/'data/cam1').mkdir(parents=True)
    source = ClipSource(tmp_path/'data', available=True)
    run = run_of(source, model='aformer', **PIXELS)
    assert run.step_recipe(1).epochs == 7 and run.step_recipe(2).epochs == RECIPES[2].epochs
    assert (run.step_config(2).dropout, run.step_config(2).relation) == (.6, dict(size=(100, 200)))

@pytest.mark.parametrize('relation', [{}, dict(n_graphs=16), dict(n_graphs=16, norm='nodes', aspect=87/157)])
def test_a_checkpoint_that_names_no_default_fits_a_run_that_names_it(tmp_path, relation):
    (tmp_path/'data/videos/4').mkdir(parents=True)
    before = model_for(ClipSource(tmp_path/'data', available=True), model='arg', step=2, d=32, backbone='test_resnet')
    next_step(create_model(before), before, replace(before, step=3, relation=relation))
    with pytest.raises(ValueError, match='relation.n_graphs=16.*asks for 4'): next_step(create_model(before), before, replace(before, step=3, relation=dict(n_graphs=4)))

# --- the optimizer -----------------------------------------------------------------

@pytest.mark.parametrize('step, official', [(1, 'adam'), (2, 'adam'), (3, 'adamw')])
def test_weight_decay_of_collective_is_part_of_the_gradient(step, official):
    "ARG's code decays the weights inside Adam; the paper's third step uses AdamW (Sec. 4.2). Without decay, as on Volleyball, the two are one."
    assert recipe_for(step, dataset='collective').optimizer == official
    assert recipe_for(step).optimizer == 'adamw'

@pytest.mark.parametrize('make', [backbone_learner, relation_learner])
@pytest.mark.parametrize('optimizer', ['adam', 'adamw'])
@pytest.mark.parametrize('wd', [0., .1])
def test_the_learner_steps_as_pytorch_does(make, optimizer, wd):
    torch.manual_seed(0)
    model = BaseNet(BoxFeatures(4), 2, 2) if make is backbone_learner else ARG(BoxFeatures(4), 2, 2, n_graphs=1, d_k=2, n_actors=2)
    if make is relation_learner: model.features.backbone = torch.nn.Identity()
    learn = make(DataLoaders([], []), model, wd=wd, optimizer=optimizer)
    learn.model, reference = model, deepcopy(model)
    learn.create_opt()
    learn.opt.set_hypers(lr=.1, wd=wd)
    plain = dict(adam=torch.optim.Adam, adamw=torch.optim.AdamW)[optimizer]([p for p in reference.parameters() if p.requires_grad], lr=.1, weight_decay=wd)
    for p, q in zip(model.parameters(), reference.parameters()): p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    learn.opt.step()
    plain.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), reference.parameters()))

def test_steps_take_the_optimizer_of_their_recipe(source, monkeypatch):
    given = {}
    for name in ('backbone_learner', 'relation_learner', 'text_learner'): monkeypatch.setattr(steps, name, lambda *args, optimizer, **kw: given.__setitem__(len(given) + 1, optimizer))
    run = run_of(source, **PIXELS)
    for step in (1, 2, 3): steps.step_learner(SimpleNamespace(run=run, step=step, recipe=run.step_recipe(step), config=run.step_config(step), bank=None, folder=run.out, key=''), None, None)
    assert given == ({1: 'adam', 2: 'adam', 3: 'adamw'} if source.dataset is COLLECTIVE else dict.fromkeys((1, 2, 3), 'adamw'))

@pytest.mark.parametrize('recipe', [recipe_for(s, pixels, d) for d in DATASETS for pixels in (True, False) for s in ((1, 2, 3) if pixels else (2, 3))], ids=lambda r: r.name)
def test_records_of_adamw_are_those_of_0_1_0(recipe):
    assert ('optimizer' in recipe.to_dict()) == (recipe.optimizer == 'adam')
    assert Recipe(**recipe.to_dict()) == recipe

# --- the help ----------------------------------------------------------------------

def words(capsys, model):
    with pytest.raises(SystemExit): main(['train', '--model', model, '--help'])
    return ' '.join(capsys.readouterr().out.split())

def option_texts(text):
    return {part.split()[0].removeprefix('no-'): part for part in re.split(r' --(?=[\w.-]+ )', text)[1:]}

@pytest.mark.parametrize('model', BASES)
def test_help_names_the_setting_of_each_dataset(model, capsys):
    "By kind: whatever option a dataset's entry sets."
    found = option_texts(words(capsys, model))
    taken = BASES[model].relation_defaults()
    for d in DATASETS.values():
        settings = {f'relation.{k}': v for k, v in d.relation.items() if k in taken}
        settings |= dict(size=d.size, dropout=d.dropout)
        settings |= {name: {s: getattr(recipe_for(s, dataset=d.name), name) for s in RECIPES} for name in ('epochs', 'lr', 'bs', 'wd', 'schedule', 'optimizer')}
        for name, value in settings.items(): assert f'{value_text(value)} for {d.name}' in found[name.replace('_', '-') if '.' not in name else name], name
    for name, value in BASES[model].boxes.items(): assert f'{value_text(value)} for boxes alone' in found[f'relation.{name}']

def test_help_names_a_new_dataset(monkeypatch, capsys):
    monkeypatch.setitem(DATASETS, 'lobby', replace(COLLECTIVE, name='lobby', size=(100, 200), relation=dict(n_graphs=5)))
    found = option_texts(words(capsys, 'arg'))
    assert '100 200 for lobby' in found['size'] and '5 for lobby' in found['relation.n_graphs'] and '100/50/30 for lobby' in found['epochs']
