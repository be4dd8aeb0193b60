"""Writes the files of this folder. Run with aclip 0.1.0, whose modules these are: `python make.py RESULTS STEPS`.

RESULTS and STEPS are the files `boxes_1.json` and `boxes_steps.json` of the notebooks' results."""
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

import aclip
from aclip.clip import TextBank
from aclip.data.synthetic import make_world
from aclip.data.volleyball import read_volleyball
from aclip.experiments import read_results, summaries, table_text
from aclip.features import FrozenPart
from aclip.store import FeatureStore
from aclip.zoo import Config, create_model, save_model

here = Path(__file__).resolve().parent
SIZE = (72, 120)
ACTIVITIES = ['l_spike', 'r_spike']
ACTIONS = ['waiting', 'spiking', 'blocking']
small = dict(activities=ACTIVITIES, actions=ACTIONS, d=8)
boxes_only = dict(small, features='boxes', geometry=['place', 'size'], step=3)
CONFIGS = dict(
    boxes_aformer=Config(**boxes_only, model='aformer', text=dict(r=2, layers=1, heads=2, d2=16)),
    boxes_series=Config(**boxes_only, model='arg', method='series', relation=dict(n_graphs=2, d_k=4),
                        text=dict(d2=16)),
    frames_arg=Config(**small, step=2, backbone='test_resnet', out_indices=[0], crop=2, size=SIZE,
                      relation=dict(n_graphs=2, d_k=4, n_frames=1), n_frames=(1, 1)))

def inputs(pixels):
    "Two clips of one frame each, of which the second has two actors fewer."
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (2, 1, 3, *SIZE), generator=g, dtype=torch.uint8)
    centres = torch.rand(2, 1, 12, 2, generator=g)*.8 + .1
    mask = torch.ones(2, 12).bool()
    mask[1, 10:] = False
    if not pixels: frames = torch.zeros(2, 1, 3, 0, 0, dtype=torch.uint8)
    return dict(frames=frames, boxes=torch.cat([centres - .05, centres + .05], -1), mask=mask)

def make_checkpoint(name, config):
    "A checkpoint, and inputs and outputs beside it."
    torch.manual_seed(0)
    model = create_model(config).eval()
    if config.method == 'series': model.set_text(TextBank.random(ACTIONS, dim=16, seed=0))
    # LoRA's B begins at zero: give it values
    for n, p in model.named_parameters():
        if 'B' in n.split('.'): torch.nn.init.normal_(p, std=.1)
    save_model(here/f'{name}.safetensors', model, config)
    given = inputs(config.pixels)
    with torch.no_grad(): out = model(given['frames'], given['boxes'], given['mask'])
    tensors = {f'in.{k}': v for k, v in given.items()} | {f'out.{k}': v.contiguous() for k, v in out.items()}
    save_file(tensors, here/f'{name}.expected.safetensors')
    return model

def make_store(model):
    "A store of two drawn clips, and what identifies the clips."
    with TemporaryDirectory() as folder:
        root = make_world(Path(folder)/'world', clips=3, videos=3, size=SIZE, workers=0, progress=False)
        clips = read_volleyball(root, range(55), frames='available')[:2]
        FeatureStore(here/'store').fill(FrozenPart(model, 'actors'), clips, SIZE, 12, workers=0)
    described = [dict(name=c.name, frames=[f.name for f in c.frames], size=[int(s) for s in c.size], activity=int(c.activity),
                      actions=c.actions.tolist(), boxes=c.boxes.tolist()) for c in clips]
    (here/'store.expected.json').write_text(json.dumps(dict(
        clips=described, fingerprint=FrozenPart(model, 'actors').fingerprint,
        means=[FeatureStore(here/'store').rows([c])[0].double().mean().item() for c in clips])))

def make_bank():
    "A text bank, and what it holds."
    bank = TextBank.random(ACTIONS, dim=16, seed=0)
    bank.save(here/'bank.safetensors')
    (here/'bank.expected.json').write_text(json.dumps(dict(
        labels=bank.labels, prompts=bank.prompts, tau=bank.tau, source=bank.source, features=bank.features.tolist())))

def write_table(name, version, table, results):
    "A results file, and beside it how 0.1.0 summarises it."
    lines = ',\n'.join(map(json.dumps, results))
    file = here/f'{name}.json'
    file.write_text(f'{{"version": {version}, "table": "{table}", "results": [\n{lines}\n]}}\n')
    rows = summaries(table, read_results(file))
    (here/f'{name}.expected.json').write_text(json.dumps(dict(rows=rows, text=table_text(rows))))

def take_results(path):
    "Two results of a table: one as `run_once` writes it, both in a results file."
    results = json.loads(path.read_text())
    two = [results['results'][0], next(r for r in results['results'] if r['run']['method'] == 'aclip')]
    (here/'result.json').write_text(json.dumps(two[1]))
    write_table('results', results['version'], results['table'], two)

def take_steps(path):
    "Results whose run has the augmentation `tremble`, and one of several models together."
    results = json.loads(path.read_text())
    chosen = [r for r in results['results'] if 'tremble' in json.dumps(r['run'])][:6]
    chosen += [r for r in results['results'] if 'runs' in r['run'] and r['seed'] < 2]
    write_table('results_steps', results['version'], results['table'], chosen)

if __name__ == '__main__':
    assert aclip.__version__ == '0.1.0'
    models = {name: make_checkpoint(name, config) for name, config in CONFIGS.items()}
    make_store(models['frames_arg'])
    make_bank()
    take_results(Path(sys.argv[1]))
    take_steps(Path(sys.argv[2]))
