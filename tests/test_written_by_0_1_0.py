"""Files written by aclip 0.1.0 still load, and give the same numbers. `written_by_0_1_0/make.py` made them."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from aclip.data.clips import Clip
from aclip.text.bank import TextBank
import aclip.train.extract  # noqa: F401, gives a store its `fill`
from aclip.train.frozen import FrozenPart
from aclip.train.store import FeatureStore, clip_digest
from aclip.zoo import load_model

here = Path(__file__).resolve().parent/'written_by_0_1_0'
MODELS = dict(boxes_aformer='ActivityCLIP', boxes_series='SeriesCLIP', frames_arg='ARG')

def close(a, b): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('name', MODELS)
def test_checkpoint(name):
    model, config, _ = load_model(here/f'{name}.safetensors')
    assert type(model).__name__ == MODELS[name] and config.actions == ['waiting', 'spiking', 'blocking']
    tensors = load_file(here/f'{name}.expected.safetensors')
    with torch.no_grad(): out = model(*(tensors[f'in.{k}'] for k in ('frames', 'boxes', 'mask')))
    assert {f'out.{k}' for k in out} == {k for k in tensors if k.startswith('out.')}
    for k, v in out.items(): close(v, tensors[f'out.{k}'])

def test_bank():
    bank, expected = TextBank.load(here/'bank.safetensors'), json.loads((here/'bank.expected.json').read_text())
    assert torch.equal(bank.features, torch.tensor(expected.pop('features')))
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in vars(bank).items() if k != 'features'} == expected

@pytest.fixture(scope='module')
def expected_store(): return json.loads((here/'store.expected.json').read_text())

@pytest.fixture(scope='module')
def clips(expected_store):
    def clip(c):
        frames = tuple(Path(f) for f in c['frames'])
        return Clip(c['name'], frames, np.float32(c['boxes']), np.array(c['actions']), c['activity'], tuple(c['size']))
    return [clip(c) for c in expected_store['clips']]

def test_store_is_known_by_the_same_digests(clips, expected_store):
    manifest = FeatureStore(here/'store').manifest
    assert manifest['clips'] == {c.name: clip_digest(c) for c in clips}
    model = load_model(here/'frames_arg.safetensors')[0]
    assert FrozenPart(model, 'actors').fingerprint == expected_store['fingerprint'] == manifest['model']

def test_store_is_taken_up(clips, expected_store, tmp_path):
    shutil.copytree(here/'store', tmp_path/'store')
    part = FrozenPart(load_model(here/'frames_arg.safetensors')[0], 'actors')
    report = FeatureStore(tmp_path/'store').fill(part, clips, (72, 120), 12, workers=0)
    assert (report['clips'], report['computed'], report['missing']) == (2, 0, [])
    rows = FeatureStore(tmp_path/'store').rows(clips)
    assert [r.shape for r in rows] == [(10, 12, 8)]*2
    assert [r.double().mean().item() for r in rows] == pytest.approx(expected_store['means'], rel=1e-12)
