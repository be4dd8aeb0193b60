"Kinds of input that are files of aclip itself, and files of weights."
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import aclip.train.extract  # adds `rows` to FeatureStore
from fuzz import Kind
from fuzz_data import Evil, mutation, volleyball_lines
from fuzz_mutators import (DEEP, cuts, edit_json, flips, json_files, json_trees, on,
                           replace_bytes, whole_file)
from aclip.checkpoint import load_tensors, save_tensors
from aclip.config import Config
from aclip.data.clips import Clip
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.evidence import results
from aclip.evidence.demo import check_folder
from aclip.evidence.setups import SETUPS
from aclip.evidence.summary import summaries, table_text
from aclip.evidence.tables import Run
from aclip.files import finite
from aclip.models.features import Weights, create_features
from aclip.text.bank import TextBank
from aclip.text.teachers import load_teacher
from aclip.train.run import RunConfig
from aclip.train.steps import train
from aclip.train.store import FeatureStore
from aclip.zoo import create_model, load_model, save_model

RESULTS = Path(__file__).resolve().parents[1]/'nbs/results'
LABELS = dict(activities=['l_spike', 'r_spike'], actions=['waiting', 'spiking', 'blocking'])
BOXES = dict(LABELS, features='boxes', d=8)
TEXT = dict(r=2, layers=1, heads=2, d2=16)
CONFIGS = dict(
    arg=dict(BOXES, step=2, model='arg', relation=dict(n_graphs=2, d_k=4)),
    aclip=dict(BOXES, step=3, model='aformer', text=TEXT),
    series=dict(BOXES, step=3, model='aformer', method='series', text=dict(d2=16)),
    frames=dict(LABELS, d=8, step=2, model='arg', features='actor', backbone='test_resnet',
                out_indices=[0], crop=2, size=(72, 120), relation=dict(n_graphs=2, d_k=4)))


# Checkpoints

MODEL = 'model.safetensors'


def seed_checkpoint(name):
    def seed(folder):
        torch.manual_seed(0)
        config = Config(**CONFIGS[name])
        model = create_model(config)
        if config.method == 'series': model.set_text(TextBank.random(LABELS['actions'], dim=16))
        save_model(folder/MODEL, model, config)
    return seed


def scores(model, config):
    "Scores of a clip of one or three frames, without pixels where the model needs none."
    T = config.n_frames[1]
    g = torch.Generator().manual_seed(0)
    xy = torch.rand(1, T, config.n_actors, 2, generator=g)*.8
    size = config.size or (0, 0)
    frames = torch.randint(256, (1, T, 3, *size), generator=g, dtype=torch.uint8)
    with torch.no_grad(): return model(frames, torch.cat([xy, xy + .1], -1), None)


def read_checkpoint(folder, given):
    model, config, meta = load_model(folder/MODEL)
    return model.state_dict(), config.to_dict(), meta, scores(model, config)


def edit_tensors(path, function):
    "A file of tensors that is written again after a change, as `save_tensors` does it."
    def change(folder):
        tensors, meta = load_tensors(folder/path)
        new = function(dict(tensors), json.loads(json.dumps(meta)))
        if new is not None: tensors, meta = new
        save_tensors(folder/path, tensors, meta)
    return change


def edit_header(path, function):
    "A file of tensors whose header has another text."
    def change(folder):
        from safetensors import safe_open
        with safe_open(folder/path, 'pt') as f: header = dict(f.metadata())
        tensors = load_file(folder/path)
        (folder/path).unlink()
        save_file(tensors, folder/path, metadata=function(header))
    return change


def meta_trees(path, meta, rng, n, expect='wrong'):
    "A header whose JSON is altered, but not its digest."
    def change(path, function):
        def altered(header):
            tree = json.loads(header['aclip'])
            new = function(tree)
            return {**header, 'aclip': json.dumps(tree if new is None else new)}
        return edit_header(path, altered)
    return json_trees(path, meta, rng, n, expect, change)


def headers(path):
    "Headers without the entry of aclip, or with another text in it."
    texts = ('[1]', '5', 'null', '"x"', '', '{', DEEP, '{"config": ' + DEEP + '}', '{}', 'NaN',
             '{"config": []}', '{"config": {}}', '{"config": null}')
    for text in texts:
        yield mutation(f'{path}: the header is {text[:20]}', 'wrong',
                       edit_header(path, lambda h, t=text: {'aclip': t}))
    yield mutation(f'{path}: no entry of aclip', 'wrong', edit_header(path, lambda h: {}))


def tensor_mutations(path, rng):
    "Numbers and types of tensors that no training writes."
    def each(name, function, expect='wrong', reason=''):
        return mutation(f'{path}: {name}', expect, edit_tensors(
            path, lambda t, m: ({k: function(v) for k, v in t.items()}, m)), reason)
    def one(name, function, i):
        def change(tensors, meta):
            floats = [k for k, v in tensors.items() if v.is_floating_point()]
            key = floats[i % len(floats)]
            return {**tensors, key: function(tensors[key].clone())}, meta
        return mutation(f'{path}: {name} in tensor {i}', 'wrong', edit_tensors(path, change))
    def put(value):
        def function(t):
            t.view(-1)[-1] = value
            return t
        return function
    for value in (float('nan'), float('inf'), -float('inf')):
        yield each(f'all {value}', lambda t, v=value: torch.full_like(t, v)
                   if t.is_floating_point() else t)
        for i in rng.sample(range(30), 4): yield one(str(value), put(value), i)
    for kind in (torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn, torch.complex64):
        yield each(f'type {kind}', lambda t, k=kind: t.to(k) if t.is_floating_point() else t)
        yield one(f'type {kind}', lambda t, k=kind: t.to(k), rng.randrange(30))
    shapes = dict(flat=lambda t: t.reshape(-1, 1, 1), longer=lambda t: torch.cat([t, t]),
                  empty=lambda t: t[:0], transposed=lambda t: t[None])
    for name, function in shapes.items():
        for i in rng.sample(range(30), 2): yield one(name, function, i)
    for i in range(4):
        def missing(tensors, meta, i=i):
            tensors.pop(sorted(tensors)[i % len(tensors)])
            return tensors, meta
        yield mutation(f'{path}: tensor {i} is missing', 'wrong', edit_tensors(path, missing))
        def renamed(tensors, meta, i=i):
            key = sorted(tensors)[i % len(tensors)]
            tensors[key + 'x'] = tensors.pop(key)
            return tensors, meta
        yield mutation(f'{path}: tensor {i} has another name', 'wrong', edit_tensors(path, renamed))
    yield mutation(f'{path}: no tensors', 'wrong', edit_tensors(path, lambda t, m: ({}, m)))
    yield mutation(f'{path}: another tensor', 'wrong' if path == MODEL else 'noticed',
                   edit_tensors(path, lambda t, m: ({**t, 'more': torch.ones(3)}, m)))
    yield mutation(f'{path}: other weights', 'undecidable', edit_tensors(
        path, lambda t, m: ({k: v.flip(0) if v.ndim else v for k, v in t.items()}, m)),
        'a file that is written again has a right digest')


BAD_CONFIG = dict(
    activities=[[], ['l_spike', 'l_spike'], 'l_spike', None, [1, 2], ['l_spike', '']],
    actions=[[], ['waiting']*3, 'waiting', None, [1, 2, 3], 7],
    step=[0, 4, -1, 1.5, '2', None], model=['x', '', None, 1, ['arg']], method=['x', None, 1],
    features=['x', None, 1, []], d=[0, -1, 1.5, '8', [8], float('nan'), 10**12, True],
    n_actors=[0, -1, 1.5, '12', None, 10**12, float('nan')],
    n_frames=[[1], [0, 1], [1, 0], [1, 1, 1], '11', 5, [1.5, 1], [float('nan'), 1], [-1, -1]],
    dropout=[-.1, 1, 2, '0.3', float('nan'), float('inf'), [.3]],
    geometry=[['x'], 'place', 5, [1], {}],
    relation=['x', 5, [1], dict(nosuch=1), dict(layers=10**9), dict(layers=-1), dict(layers=1.5)],
    text=['x', 5, [1], dict(nosuch=1)])
BAD_TEXT = dict(
    r=[0, -1, 1.5, '2', 10**9, float('nan')], alpha=[float('nan'), float('inf'), '8', None, [8]],
    d2=[0, -1, 1.5, '16', 10**12], layers=[-1, 1.5, '1', 10**9, None, float('nan')],
    heads=[0, -2, 3, 1.5, '2', None], dropout=[-.1, 1.5, float('nan'), '0', None],
    tau=[0, -1, float('nan'), float('inf'), 'x', None, 0., -0.01], adapt=['x', '', None, 5],
    targets=['x', ['nosuch'], 5, [5]], relation=['nosuch', 5, ''], text_actions=['x', 2.5],
    learn_tau=['x', 2.5])


def config_mutations(path, name):
    "Entries of the configuration that no model has, in a file with a right digest."
    def put(field, inner, value):
        def change(tensors, meta):
            place = meta['config'] if inner is None else meta['config'].setdefault(inner, {})
            place[field] = value
            return tensors, meta
        return edit_tensors(path, change)
    config = {k: v for k, v in BAD_CONFIG.items() if k != 'relation' or name != 'arg'}
    for field, values in config.items():
        for value in values:
            # JSON has no NaN, and nothing stands for the dataset's dropout
            if field == 'dropout' and finite(value) is None: continue
            yield mutation(f'{path}: {field} is {value!r}', 'wrong', put(field, None, value))
    for field, values in (BAD_TEXT if name == 'aclip' else {}).items():
        for value in values:
            yield mutation(f'{path}: text.{field} is {value!r}', 'wrong', put(field, 'text', value))
    bad = dict(n_graphs=[0, -1, 1.5, '2', 10**9], d_k=[0, -1, 1.5, 10**12], norm=['x', 5, None],
               n_frames=[0, -1], threshold=['x', float('nan')], aspect=[0, -1, 'x', float('nan')])
    for field, values in (bad if name == 'arg' else {}).items():
        for value in values:
            yield mutation(f'{path}: relation.{field} is {value!r}', 'wrong',
                           put(field, 'relation', value))
    yield mutation(f'{path}: an unknown setting', 'wrong', put('nosuch', None, 1))
    def drop(field):
        def change(tensors, meta):
            del meta['config'][field]
            return tensors, meta
        return edit_tensors(path, change)
    for field in ('activities', 'actions'):
        yield mutation(f'{path}: no {field}', 'wrong', drop(field))
    yield mutation(f'{path}: no config', 'wrong', edit_tensors(path, lambda t, m: (t, {})))
    order = dict(activities=['r_spike', 'l_spike'])
    yield mutation(f'{path}: activities in another order', 'undecidable', edit_tensors(
        path, lambda t, m: (t, {**m, 'config': {**m['config'], **order}})),
        'a file that is written again has a right digest')


def checkpoint_mutations(name):
    def mutations(folder, rng):
        from aclip.checkpoint import read_meta
        yield from flips(MODEL, rng, 40, 'wrong')
        yield from cuts(MODEL, rng, 15, 'wrong')
        yield from whole_file(MODEL, text=False)
        yield mutation('bytes after the end', 'wrong', on(MODEL, lambda old: old + bytes(9)))
        yield mutation('a pickle of PyTorch', 'wrong',
                       lambda f: torch.save(dict(weight=torch.ones(3)), f/MODEL))
        yield mutation('a pickle that runs a function', 'wrong',
                       replace_bytes(MODEL, pickle.dumps(Evil())))
        yield from headers(MODEL)
        yield from tensor_mutations(MODEL, rng)
        yield from config_mutations(MODEL, name)
        if name != 'aclip': return
        yield from meta_trees(MODEL, read_meta(folder/MODEL), rng, 45, 'noticed')
    return mutations


# Text banks and teachers

BANK = 'bank.safetensors'


def seed_bank(folder):
    g = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(3, 2, 16, generator=g), dim=-1)
    TextBank(tuple(LABELS['actions']), ('a photo of {}', '{}'), features, .01,
             dict(model='m', pretrained='p')).save(folder/BANK)


def read_bank(folder, given):
    bank = load_teacher(str(folder/BANK), LABELS['actions'])
    return bank.labels, bank.prompts, bank.features, bank.tau, bank.source


def bank_mutations(folder, rng):
    def put(name, value):
        return mutation(f'{BANK}: {name} is {value!r}', 'wrong', edit_tensors(
            BANK, lambda t, m: (t, {**m, name: value})))
    bad = dict(tau=[0, -1, 'x', None, float('nan'), float('inf'), [.01], True, 1e9],
               labels=[[], ['waiting']*3, 'waiting', None, [1, 2, 3], ['waiting', 'spiking'], 7],
               prompts=[[], 'x', None, ['{}'], [1, 2], ['a', 'b']], source=[None, 'x', [], 5, {}])
    for name, values in bad.items():
        for value in values: yield put(name, value)
        yield mutation(f'{BANK}: no {name}', 'wrong', edit_tensors(
            BANK, lambda t, m, k=name: (t, {n: v for n, v in m.items() if n != k})))
    def features(name, function, expect='wrong', reason=''):
        return mutation(f'{BANK}: features {name}', expect, edit_tensors(
            BANK, lambda t, m: (dict(features=function(t['features'])), m)), reason)
    yield features('all zero', torch.zeros_like)
    yield features('all equal', lambda t: t[:1, :1].expand_as(t).contiguous(), 'suspicious')
    yield features('ten times as long', lambda t: 10*t)
    yield features('one row of zeros', lambda t: torch.cat([0*t[:1], t[1:]]))
    yield features('in another order', lambda t: t.flip(0), 'undecidable',
                   'a file that is written again has a right digest')
    yield features('float64', lambda t: t.double(), 'noticed')
    yield from flips(BANK, rng, 60, 'wrong')
    yield from cuts(BANK, rng, 20, 'wrong')
    yield from whole_file(BANK, text=False)
    yield from headers(BANK)
    yield from (m for m in tensor_mutations(BANK, rng) if 'other weights' not in m.name)
    yield mutation('another bank', 'wrong', lambda f: TextBank.random(['a', 'b', 'c']).save(f/BANK),
                   place='waiting')
    yield mutation('a checkpoint', 'wrong', lambda f: seed_checkpoint('arg')(f) or
                   (f/MODEL).rename(f/BANK))


# Stores of features

def stored_clips():
    "Five clips of ten frames and four players."
    xy = np.random.default_rng(0).uniform(.1, .8, (5, 10, 4, 2)).astype(np.float32)
    boxes = np.concatenate([xy, xy + np.float32(.1)], -1)
    return [Clip(f'{i}/100', tuple(Path(f'{i}_{t}.jpg') for t in range(10)), boxes[i],
                 np.zeros(4, np.int64), 0, (72, 120)) for i in range(5)]


PART = SimpleNamespace(kind='actors', fingerprint='a model', width=6)


def seed_store(folder):
    store = FeatureStore(folder, per_shard=2, dtype='float32')
    store.open(store.describe(PART, stored_clips(), (72, 120), 4))
    g = torch.Generator().manual_seed(0)
    for i in range(3):
        rows = [torch.randn(10, 4, 6, generator=g) for _ in store.shard_clips(i)]
        store.write_shard(i, rows)


def read_store(folder, given):
    store = FeatureStore(folder)
    clips = stored_clips()
    store.open(store.describe(PART, clips, (72, 120), 4))
    return store.rows(clips), store.numbers, store.kind


def store_mutations(folder, rng):
    shards = [f'shard-0000{i}.safetensors' for i in range(3)]
    manifest = json.loads((folder/'manifest.json').read_text())
    yield from json_files('manifest.json', rng)
    yield from json_trees('manifest.json', manifest, rng, 90, 'noticed')
    yield from whole_file('manifest.json')
    yield from flips('manifest.json', rng, 50, 'noticed')
    yield from cuts('manifest.json', rng, 15, 'wrong')
    for shard in shards:
        yield from flips(shard, rng, 20, 'wrong')
        yield from cuts(shard, rng, 6, 'wrong')
        yield from whole_file(shard, text=False)
        yield from headers(shard)
    yield from tensor_mutations(shards[1], rng)
    def swap(folder):
        (folder/shards[0]).rename(folder/'x')
        (folder/shards[1]).rename(folder/shards[0])
        (folder/'x').rename(folder/shards[1])
    yield mutation('two shards are exchanged', 'wrong', swap, place='shard-')
    for name, value in dict(store='x', shard=7, crc32=5).items():
        yield mutation(f'the shard has {name} {value}', 'wrong', edit_tensors(
            shards[0], lambda t, m, k=name, v=value: (t, {**m, k: v})), place='shard-')
    for name in ('.DS_Store', 'notes.txt', '.shard-00001.safetensors.77.part', '.tmpabcdef'):
        yield mutation(f'a stray {name}', 'harmless',
                       lambda f, n=name: (f/n).write_bytes(b'x') and None)
    yield mutation('another shard', 'noticed', lambda f: (
        (f/'shard-00003.safetensors').write_bytes((f/shards[0]).read_bytes())) and None)


# Runs that go on

def seed_run(folder):
    "A finished run of steps 2 and 3 on boxes alone."
    for video in (1, 3):
        place = folder/f'data/videos/{video}'
        place.mkdir(parents=True)
        lines = volleyball_lines(['r-pass', 'l_set', 'r_spike', 'l-spike'])
        (place/'annotations.txt').write_text('\n'.join(lines) + '\n')
    read_run(folder, None)


def run_config(folder, **more):
    model = Config([*ACTIVITIES], [*ACTIONS], model='aformer', features='boxes', d=8,
                   text=dict(r=2, layers=0, heads=2))
    options = dict(steps=[2, 3], teacher='random128', protocol='overfit', videos=[1, 3],
                   recipe=dict(epochs=1))
    return RunConfig(ClipSource(folder/'data'), model, folder/'run', **{**options, **more})


def read_run(folder, given):
    from unittest.mock import patch
    from aclip.train import recipes
    known = recipes.PROTOCOLS['overfit']._replace(select=(1, 3))
    with patch.dict(recipes.PROTOCOLS, overfit=known):
        records = train(run_config(folder, **(given or {})), progress=False)
    weights = {f.parent.name: load_tensors(f)[0] for f in sorted((folder/'run').rglob('best.*'))}
    return [{k: v for k, v in r.items() if k != 'seconds'} for r in records], weights


def run_mutations(folder, rng):
    for step in ('2-relation', '3-text'):
        record = f'run/{step}/run.json'
        tree = json.loads((folder/record).read_text())
        yield from json_files(record, rng, 'noticed')
        yield from json_trees(record, tree, rng, 60, 'noticed')
        yield from whole_file(record, 'noticed')
        yield from flips(record, rng, 30, 'noticed')
        yield from cuts(record, rng, 10, 'noticed')
        best = f'run/{step}/best.safetensors'
        yield from flips(best, rng, 12, 'noticed')
        yield from cuts(best, rng, 6, 'noticed')
        yield from whole_file(best, 'noticed', text=False)
        for name in ('last.safetensors', 'history.csv'):
            yield mutation(f'{step}/{name} is missing', 'harmless',
                           lambda f, s=step, n=name: (f/'run'/s/n).unlink())
        for name in ('.run.json.7.part', '.tmpabcdef', '.best.safetensors.7.part', '.DS_Store'):
            yield mutation(f'{step}: a stray {name}', 'harmless',
                           lambda f, s=step, n=name: (f/'run'/s/n).write_bytes(b'x') and None)
    for content in (b'', b'{', b'[]'):
        yield mutation(f'run/config.json: {content}', 'harmless',
                       replace_bytes('run/config.json', content))


# Results of tables

def seed_table(folder):
    for name in ('boxes_1.json', 'boxes_steps.json'):
        found = results.read_results(RESULTS/name)
        kept = found[:2] + [r for r in found if 'runs' in r['run']][:1]
        results.write_results(folder/name, name[6:-5], kept)


def read_table(folder, given):
    files = ('boxes_1.json', '1'), ('boxes_steps.json', 'steps')
    tables = [(results.read_results(folder/name), which) for name, which in files]
    return tables, [table_text(summaries(which, found)) for found, which in tables]


def table_mutations(folder, rng):
    for name in ('boxes_1.json', 'boxes_steps.json'):
        tree = json.loads((folder/name).read_text())['results']
        yield from json_files(name, rng)
        for m in json_trees(name, tree, rng, 90, change=edit_results):
            gone = re.fullmatch(rf'{re.escape(name)}: \d+ is missing', m.name)
            reason = 'a result that was removed is as one that was not run'
            yield replace(m, expect='undecidable', reason=reason) if gone else m
        yield from whole_file(name)
        yield from flips(name, rng, 30, 'noticed')
        yield from cuts(name, rng, 10, 'noticed')
        yield from versions(name)


def edit_results(path, function):
    "A change of the list of results."
    def change(tree):
        new = function(tree['results'])
        if new is not None: tree['results'] = new
    return edit_json(path, change)


def versions(name):
    for version in (1, 4, '3', None, -1, 3.5, [3]):
        yield mutation(f'{name}: version {version!r}', 'wrong', edit_json(
            name, lambda t, v=version: {**t, 'version': v}))


def read_one_result(folder, given):
    return results.result_of(folder/'result.json', Run('ARG'), 0, SETUPS['boxes'])


def seed_one_result(folder):
    "A result of ARG on boxes, as a table that goes on finds it."
    wanted = results.identity(Run('ARG'), 0, SETUPS['boxes'])
    record = {**results.read_results(RESULTS/'boxes_1.json')[0], **wanted}
    try:
        from aclip.files import sealed
        record = sealed(record)
    except ImportError: pass
    (folder/'result.json').write_text(json.dumps(record, indent=1))


def one_result_mutations(folder, rng):
    name = 'result.json'
    yield from json_files(name, rng)
    yield from json_trees(name, json.loads((folder/name).read_text()), rng, 80)
    yield from whole_file(name)
    yield from flips(name, rng, 30, 'noticed')
    yield from cuts(name, rng, 12, 'noticed')


# Cards of drawn worlds and demos

CARD = dict(kind='aclip demo', seeds=[3, 4], clips=9, videos=3, size=[90, 160], difficulty=.3,
            model='aformer', teacher='tiny', training={'2': {'epochs': 1}})
WORLD = dict(clips=3, videos=3, size=(72, 96), workers=0, progress=False)


def seed_demo(folder): (folder/'demo.json').write_text(json.dumps(CARD, indent=1) + '\n')


def read_demo(folder, given):
    return check_folder(folder, CARD, overwrite=False)


def card_mutations(name, expect, n):
    def mutations(folder, rng):
        yield from json_files(name, rng, expect)
        yield from json_trees(name, json.loads((folder/name).read_text()), rng, n, expect)
        yield from whole_file(name, 'noticed')
        yield from flips(name, rng, 20, 'noticed')
        yield from cuts(name, rng, 10, 'noticed')
        yield mutation('a stray notes.txt', 'harmless',
                       lambda f: (f/'notes.txt').write_text('mine') and None)
    return mutations


def seed_world(folder): make_world(folder/'world', **WORLD)


def read_world(folder, given):
    root = make_world(folder/'world', **WORLD)
    return {f.name: f.read_text() for f in sorted(root.rglob('*.txt')) if 'mine' not in f.name}


# Weights of backbones

def seed_weights(folder):
    import timm
    torch.manual_seed(1)
    net = timm.create_model('test_resnet')
    save_file(net.state_dict(), folder/'weights.safetensors')
    torch.save(net.state_dict(), folder/'weights.pth')


def read_weights(suffix):
    def read(folder, given):
        weights = Weights(pretrained=False, backbone_weights=folder/f'weights.{suffix}')
        features, = create_features(Config(**CONFIGS['frames']), weights)
        return features.backbone.state_dict()
    return read


def weights_mutations(suffix):
    name = f'weights.{suffix}'
    def mutations(folder, rng):
        if suffix == 'pth':
            for value in (Evil(), [], 5, None, 'x', {}, {'a': 1}, [Evil()],
                          {'conv1.weight': Evil()}):
                yield mutation(f'holds {type(value).__name__} {str(value)[:6]}', 'wrong',
                               lambda f, v=value: torch.save(v, f/name))
            yield mutation('an old pickle that runs a function', 'wrong',
                           replace_bytes(name, pickle.dumps(Evil(), 2)))
        def written(label, function, expect='wrong', reason=''):
            def change(folder):
                state = function(load_file(folder/'weights.safetensors'))
                (folder/name).unlink()
                save_file(state, folder/name) if suffix != 'pth' else torch.save(state, folder/name)
            return mutation(label, expect, change, reason)
        def floats(function):
            return lambda s: {k: function(v) if v.is_floating_point() else v for k, v in s.items()}
        for value in (float('nan'), float('inf')):
            yield written(f'all {value}', floats(lambda t, v=value: torch.full_like(t, v)))
            yield written(f'one {value}', lambda s, v=value: {
                k: torch.full_like(t, v) if k == sorted(s)[0] else t for k, t in s.items()})
        yield written('whole numbers', floats(lambda t: t.long()))
        yield written('zeros', floats(torch.zeros_like), 'undecidable', 'zeros are finite numbers')
        yield written('no tensors', lambda s: {})
        yield written('half of the tensors', lambda s: dict([*s.items()][::2]))
        yield written('other names', lambda s: {'x.' + k: v for k, v in s.items()})
        yield written('other shapes', floats(lambda t: torch.cat([t, t])))
        yield from cuts(name, rng, 12, 'wrong')
        yield from whole_file(name, text=False)
        yield from flips(name, rng, 15, 'undecidable', 'weights of others have no checksum')
    return mutations


KINDS = [
    *[Kind(f'checkpoint, {name}', seed_checkpoint(name), read_checkpoint,
           checkpoint_mutations(name), MODEL) for name in CONFIGS],
    Kind('text bank', seed_bank, read_bank, bank_mutations, BANK),
    Kind('feature store', seed_store, read_store, store_mutations,
         'manifest.json|shard-|shards|: holds|a store of'),
    Kind('run.json and checkpoints of a run', seed_run, read_run, run_mutations,
         'run.json|best.safetensors'),
    Kind('results of tables', seed_table, read_table, table_mutations, 'boxes_'),
    Kind('result of a run', seed_one_result, read_one_result, one_result_mutations, 'result.json'),
    Kind('demo.json', seed_demo, read_demo, card_mutations('demo.json', 'wrong', 60),
         'demo.json|demo with other arguments|something else'),
    Kind('world.json', seed_world, read_world, card_mutations('world/world.json', 'noticed', 60),
         'world'),
    Kind('weights of a backbone, safetensors', seed_weights, read_weights('safetensors'),
         weights_mutations('safetensors'), 'weights.safetensors'),
    Kind('weights of a backbone, pickle', seed_weights, read_weights('pth'),
         weights_mutations('pth'), 'weights.pth'),
]
