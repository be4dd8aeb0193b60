"Settings that belong to a dataset: official values in its registry entry, and every run on frames takes them from there."
from dataclasses import replace

import pytest

from aclip.data.datasets import COLLECTIVE, DATASETS
from aclip.data.source import ClipSource
from aclip.models.registry import BASES
from aclip.train.recipes import BOX_RECIPES, RECIPES, recipe_for
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
