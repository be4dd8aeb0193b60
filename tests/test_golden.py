"""Outputs of the official classes, in float64, against ours with the same weights: one entry of `CASES` for each file.

The files lie beside the repository. INDEX.md there lists what each holds; files of other seeds with the same names are compared too."""
import json
from pathlib import Path
import pytest, torch
from safetensors import safe_open
from torch import nn
from aclip.models.din import DIN, DINRelation
from aclip.models.dynamic_field import load_din

SHARED = Path(__file__).resolve().parents[2]/'shared'
FILES = {p.stem: sorted(SHARED.glob(f'golden*/{p.name}')) for p in sorted(SHARED.glob('golden*/*.safetensors'))}

class Golden:
    "A file: inputs, weights and outputs in float64, and the arguments of the official class."
    def __init__(self, path):
        with safe_open(path, 'pt') as f:
            self.tensors = {k: t.double() if (t := f.get_tensor(k)).is_floating_point() else t for k in f.keys()}
            self.arguments = json.loads(f.metadata()['constructor_arguments'])
    def __getattr__(self, name): return self.tensors[f'in.{name}']                      # an input
    def parts(self, prefix): return {k.removeprefix(prefix): t for k,t in self.tensors.items() if k.startswith(prefix)}
    def w(self, prefix=''): return self.parts(f'w.{prefix}')                             # weights below a name
    def load(self, **modules):
        "Copy weights into modules whose names of parameters are the same; a missing axis of size 1 is added."
        for prefix,m in modules.items():
            own = m.state_dict()
            m.load_state_dict({k: t.reshape(own[k].shape) for k,t in self.w(f'{prefix}.').items()})

class Embedding(nn.Module):
    "In place of backbone and RoIAlign: the official embedding of the features of each box, (B T N, D, K, K)."
    def __init__(self, d_in, d):
        super().__init__()
        self.d,self.embedding = d,nn.Linear(d_in, d)
    def forward(self, roi, boxes): return self.embedding(roi.flatten(1)).view(*boxes.shape[:3], self.d)

def some_boxes(x): return x.new_tensor([.1, .1, .2, .2]).expand(*x.shape[:3], 4)


# --- DIN --------------------------------------------------------------------------

def din_relation(f, **arguments):
    B,T,N,d = f.x.shape
    return DINRelation(d, T, N, border='double', **arguments).double().eval()

def din_module(names='DIMlist.{}', ratios=(1,), **arguments):
    "The module without residual and norm."
    def run(f, mask):
        relation = din_relation(f, ratios=ratios, **arguments)
        for i,field in enumerate(relation.fields): load_din(field, f.w(names.format(i) + '.'), ratios)
        return dict(y=relation.infer(f.x, mask))
    return run

def din_hierarchical(f, mask):
    relation = din_relation(f, fields='factorised')
    for i,field in enumerate(relation.fields): load_din(field, f.w(f'DPI_{i+1}.'))
    f.load(hier_LN=relation.between)
    return dict(y=relation.infer(f.x, mask))

def din_gradient(f, mask):
    "At the start, with respect to the biases of both convolutions and the input."
    relation = din_relation(f)
    field, = relation.fields
    load_din(field, f.w('DIMlist.0.'))
    x = f.x.clone().requires_grad_()
    y = relation.infer(x, mask)
    grads = torch.autograd.grad((y*f.cotangent).sum(), (field.offset[0].bias, field.scale[0].bias, x))
    return dict(y=y, **dict(zip(('grad_offset_bias', 'grad_scale_bias', 'grad_x'), grads)))

def din_net(field='DPI.DIMlist.0.', **arguments):
    "The whole network; where boxes are padded, the official LayerNorm of the light form counts them too."
    def run(f, mask):
        cfg = f.arguments['cfg']
        d_in,d = f.w()['fc_emb_1.weight'].shape[::-1]
        net = DIN(Embedding(d_in, d), cfg.get('num_activities', 8), lite=cfg.get('lite_dim') or 0, n_frames=cfg['num_frames'], n_actors=cfg['num_boxes'], **arguments).double().eval()
        load_din(net.relation.fields[0], f.w(field))
        f.load(fc_emb_1=net.features.embedding, nl_emb_1=net.norm, dpi_nl=net.relation.norm, fc_activities=net.activity.linear)
        if net.point: f.load(point_conv=net.point, point_ln=net.point_norm)
        if 'in.num' in f.tensors: mask = torch.arange(cfg['num_boxes']) < f.num[:, :1]
        x = net.embed(f.roi, f.boxes)
        return dict(activities=net.classify(net.relation(x, f.boxes, mask), mask)[0])
    return run


# File -> (Golden, mask) -> outputs by name
CASES = {
    'din-module': din_module(),
    'din-gradient-at-init': din_gradient,
    'din-walk-only': din_module(mode='walk'),
    'din-static-intended': din_module(mode='weights'),
    'din-parallel-inference-intended': din_module(mode='sum'),
    'din-two-ratios': din_module(ratios=(1, 2), beta=True),
    'din-parallel-fields': din_module(fields='parallel'),
    'din-hierarchical-intended': din_hierarchical,
    'din-net-vgg16': din_net(),
    'din-net-res18': din_net(residual='outside'),
    'din-lite-net-vgg16': din_net(),
    'din-lite-net-res18': din_net(residual='outside'),
    'din-net-collective-intended': din_net('DPI.', layer_norm='actor'),
    'din-lite-net-collective-intended': din_net('DPI.', layer_norm='actor'),
}

@pytest.mark.skipif(not FILES, reason=f'no outputs of the official classes in {SHARED}')
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]:
        f = Golden(path)
        first = next(t for k,t in f.tensors.items() if k in ('in.x', 'in.boxes'))
        mask = torch.ones(first.shape[0], first.shape[2]).bool() if masked else None
        ours = CASES[name](f, mask)
        assert ours.keys() <= f.parts('out.').keys()
        for k,y in ours.items():
            theirs = f.tensors[f'out.{k}']
            assert y.shape == theirs.shape
            assert (y - theirs).abs().max() <= 1e-6*max(1, theirs.abs().max()), k
