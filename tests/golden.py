"""Outputs of the official classes: their files, and the comparison with ours.

The files lie beside the repository. INDEX.md there lists what each holds; files of other seeds with the same names are compared too."""
import json
from pathlib import Path
import pytest, torch
from safetensors import safe_open
from torch import nn

SHARED = Path(__file__).resolve().parents[2]/'shared'
FILES = {p.stem: sorted(SHARED.glob(f'golden*/{p.name}')) for p in sorted(SHARED.glob('golden*/*.safetensors'))}

class Golden:
    "A file: inputs, weights and outputs in float64, and the arguments of the official class."
    def __init__(self, path):
        with safe_open(path, 'pt') as f:
            self.tensors = {k: t.double() if (t := f.get_tensor(k)).is_floating_point() else t for k in f.keys()}
            header = f.metadata()
            self.arguments = json.loads(header.get('constructor_arguments') or header['args'])
    def __getattr__(self, name): return self.tensors[f'in.{name}']                      # an input
    def parts(self, prefix): return {k.removeprefix(prefix): t for k,t in self.tensors.items() if k.startswith(prefix)}
    def w(self, prefix=''): return self.parts(f'w.{prefix}')                             # weights below a name
    def load(self, **modules):
        "Copy weights into modules whose names of parameters are the same; a missing axis of size 1 is added."
        for prefix,m in modules.items():
            own = m.state_dict()
            m.load_state_dict({k: t.reshape(own[k].shape) for k,t in self.w(f'{prefix}.').items()})

    def all_real(self):
        "A mask without padding, (B, N)."
        table = next(self.tensors[k] for k in ('in.map', 'in.boxes', 'in.x', 'in.raw') if k in self.tensors)
        if 'num_players' in self.arguments.get('model_confs', {}): return torch.ones(len(table), self.arguments['model_confs']['num_players']).bool()
        channels_first = table.shape[1] == 16 and 'in_channels' in self.arguments
        return torch.ones(len(table), table.shape[3 if channels_first else 2]).bool()

class Embedding(nn.Module):
    "In place of backbone and RoIAlign: the official embedding of the features of each box, (B T N, D, K, K)."
    def __init__(self, d_in, d):
        super().__init__()
        self.d,self.embedding = d,nn.Linear(d_in, d)
    def forward(self, roi, boxes): return self.embedding(roi.flatten(1)).view(*boxes.shape[:3], self.d)

def some_boxes(x): return x.new_tensor([.1, .1, .2, .2]).expand(*x.shape[:3], 4)

needs_files = pytest.mark.skipif(not FILES, reason=f'no outputs of the official classes in {SHARED}')

def compare(case, path, masked):
    "Outputs of one case, (Golden, mask) -> outputs by name, against those of the official class, in float64."
    f = Golden(path)
    ours = case(f, f.all_real() if masked else None)
    assert ours.keys() <= f.parts('out.').keys()
    for k,y in ours.items():
        theirs = f.tensors[f'out.{k}']
        assert y.shape == theirs.shape
        assert (y - theirs).abs().max() <= 1e-6*max(1, theirs.abs().max()), k
