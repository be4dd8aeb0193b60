"Training the text branch changes nothing of the image branch, whatever state the layers of its relation keep."
import copy
import pytest, torch
from torch import nn
from torch.nn.utils import parametrizations
from aclip.core import ActivityCLIP
from aclip.models.base import BaseModel
from aclip.text.view_state import copied_buffers, same
from helpers import BoxFeatures, batch

D = 16

class OverActors(nn.Module):
    "A layer of PyTorch that wants (batch, channels, length)."
    def __init__(self, layer): super().__init__(); self.layer = layer
    def forward(self, x): return self.layer(x.flatten(0, 1).transpose(1, 2)).transpose(1, 2).view_as(x)

class Flat(OverActors):
    def forward(self, x): return self.layer(x.flatten(0, -2)).view_as(x)

class Average(nn.Module):
    "A moving average, updated in one of the ways in which people write it."
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.register_buffer('mean', torch.zeros(D), persistent=how != 'bound')
        self.register_buffer('steps', torch.tensor(0))
    def forward(self, x):
        m = x.mean((0, 1, 2))
        if self.training or self.how == 'always':
            if self.how in ('in place', 'always'): self.mean.mul_(.9).add_(.1*m.detach())
            elif self.how == 'data': self.mean.data = .9*self.mean.data + .1*m.data
            elif self.how == 'copy': self.mean.data.copy_(.9*self.mean + .1*m.detach())
            elif self.how == 'bound': self.mean = .9*self.mean + .1*m.detach()
            elif self.how == 'graph': self.mean = .9*self.mean.detach() + .1*m
            elif self.how == 'rarely' and torch.rand(()) < .3: self.mean += m.detach()
            with torch.no_grad(): self.steps += 1
        return x - self.mean

class Parent(nn.Module):
    "Changes the buffer of a module inside it."
    def __init__(self): super().__init__(); self.inner = nn.Module(); self.inner.register_buffer('mean', torch.zeros(D))
    def forward(self, x):
        if self.training: self.inner.mean.lerp_(x.detach().mean((0, 1, 2)), .1)
        return x*self.inner.mean.exp()

class OwnNorm(nn.BatchNorm1d):
    def forward(self, x): return super().forward(x.flatten(0, -2)).view_as(x)

def frozen_norm():
    bn = nn.BatchNorm1d(D, affine=False)
    return Flat(bn)

LAYERS = dict(
    batchnorm=lambda: Flat(nn.BatchNorm1d(D)), cumulative=lambda: Flat(nn.BatchNorm1d(D, momentum=None)), no_affine=frozen_norm, own_batchnorm=lambda: OwnNorm(D),
    sync=lambda: nn.SyncBatchNorm.convert_sync_batchnorm(Flat(nn.BatchNorm1d(D))) if torch.cuda.is_available() else Flat(nn.BatchNorm1d(D)),
    no_statistics=lambda: Flat(nn.BatchNorm1d(D, track_running_stats=False)),
    instancenorm=lambda: OverActors(nn.InstanceNorm1d(D, track_running_stats=True, affine=True)), instancenorm_plain=lambda: OverActors(nn.InstanceNorm1d(D)),
    spectral=lambda: parametrizations.spectral_norm(nn.Linear(D, D)), spectral_old=lambda: nn.utils.spectral_norm(nn.Linear(D, D)),
    spectral_conv=lambda: OverActors(parametrizations.spectral_norm(nn.Conv1d(D, D, 1))), weight=lambda: parametrizations.weight_norm(nn.Linear(D, D)),
    orthogonal=lambda: parametrizations.orthogonal(nn.Linear(D, D)),
    parent=Parent, constant=lambda: OverActors(nn.Identity()),
    **{f'average, {how}': (lambda how=how: Average(how)) for how in ('in place', 'data', 'copy', 'bound', 'graph', 'rarely', 'always')})

class Relation(nn.Module):
    "A linear map, the layer, and dropout, which is to stay random."
    def __init__(self, layer):
        super().__init__()
        self.l, self.layer, self.drop = nn.Linear(D, D), layer, nn.Dropout(.5)
        self.register_buffer('scale', torch.ones(D))       # a buffer that nothing changes
    def forward(self, x, boxes, mask=None): return self.drop(self.layer(self.l(x))*self.scale)

def made(layer, **kw):
    torch.manual_seed(0)
    base = BaseModel(BoxFeatures(D), Relation(LAYERS[layer]()), 8, 9)
    base(*batch(3, 5, seed=9))['activity'].sum().backward()              # the base has been trained before: buffers have moved, and results hold graphs
    return ActivityCLIP(base.eval(), r=2, d2=D, layers=1, heads=2, **kw)

def scores(model):
    "Scores of the image branch on a copy, because a layer may change its state even in eval mode."
    base = copy.deepcopy({k: v for k, v in model.base.state_dict().items()})
    with torch.no_grad(): out = {k: v.clone() for k, v in model.eval()(*batch(3, 5)).items() if k in ('activity_image', 'action')}
    for k, v in model.base.state_dict().items(): v.copy_(base[k])
    return out

def train(model, steps=5):
    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for i in range(steps):
        model.train()
        opt.zero_grad()
        model.text_branch(model.embed(*batch(3, 5, seed=i)), *batch(3, 5, seed=i)[1:])['activity_text'].pow(2).sum().backward()
        opt.step()

@pytest.mark.parametrize('layer', LAYERS)
def test_the_image_branch_stays(layer):
    model = made(layer)
    before, state = scores(model), {k: v.clone() for k, v in model.base.state_dict().items()}
    buffers = {k: v.clone() for k, v in model.base.named_buffers()}
    train(model)
    for k, v in model.base.state_dict().items(): assert torch.equal(v, state[k]), k
    for k, v in model.base.named_buffers(): assert torch.equal(v, buffers[k]), k
    for k, v in scores(model).items(): assert torch.equal(v, before[k]), k
    for (k, a), b in zip(model.relation.named_buffers(), model.text_relation.buffers()): assert a is b, k
    assert not torch.equal(model.text_relation.l.B, torch.zeros_like(model.text_relation.l.B))      # and something has trained

@pytest.mark.parametrize('layer', [k for k in LAYERS if k not in ('average, always',)])
def test_the_whole_model_in_training(layer):
    model = made(layer)
    before = scores(model)
    for i in range(4):
        model.train()
        model(*batch(3, 5, seed=i))['activity_text'].sum().backward()
    for k, v in scores(model).items(): assert torch.equal(v, before[k]), k

@pytest.mark.parametrize('layer', LAYERS)
def test_dropout_stays_active(layer):
    model = made(layer)
    train(model, 2)
    model.train()
    assert model.text_relation.drop.training and model.text_relation.training and not model.relation.drop.training
    x = torch.randn(2, 3, 5, D)
    y = model.relate_text(x, None)
    assert .2 < (y == 0).float().mean() < .8

@pytest.mark.parametrize('layer', ['batchnorm', 'instancenorm', 'average, in place', 'average, bound'])
def test_running_statistics_are_used_in_training(layer):
    "As in evaluation: the view in training without dropout is the view in eval mode."
    model = made(layer)
    x = torch.randn(2, 3, 5, D)
    expected = model.eval().relate_text(x, None)
    model.train()
    model.text_relation.drop.p = 0.
    assert torch.equal(model.relate_text(x, None), expected)

def test_known_layers_need_no_second_pass():
    "Random numbers are drawn once: results of layers of PyTorch are those of 0.1.0."
    for layer in ('batchnorm', 'instancenorm', 'spectral', 'spectral_old'):
        model = made(layer).train()
        calls = []
        model.text_relation.drop.register_forward_hook(lambda *_: calls.append(1))
        model.relate_text(torch.randn(2, 3, 5, D), None)
        assert len(calls) == 1, layer

def test_functional_dropout_beside_a_buffer():
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.l = nn.Linear(D, D); self.register_buffer('place', torch.ones(D))
        def forward(self, x, boxes, mask=None): return nn.functional.dropout(self.l(x) + self.place, .5, self.training)
    model = ActivityCLIP(BaseModel(BoxFeatures(D), Own(), 8, 9), r=2, d2=D, layers=1, heads=2).train()
    assert .2 < (model.relate_text(torch.randn(2, 3, 5, D), None) == 0).float().mean() < .8

def test_a_relation_from_scratch_keeps_its_own_statistics():
    class Reset(nn.BatchNorm1d): pass
    model = made('batchnorm', adapt='scratch')
    start = model.text_relation.layer.layer.running_mean.clone()
    before = scores(model)
    train(model)
    assert not torch.equal(model.text_relation.layer.layer.running_mean, start)
    for k, v in scores(model).items(): assert torch.equal(v, before[k]), k

class Context(BaseModel):
    "Leaves the mean of the frame on its relation."
    def __init__(self, how): super().__init__(BoxFeatures(D), Relation(nn.Identity()), 8, 9); self.how = how
    def embed(self, frames, boxes, mask=None):
        x = super().embed(frames, boxes, mask)
        if self.how == 'attribute': self.relation.layer.context = x.mean()
        if self.how == 'list': self.relation._contexts = [x.mean()]
        if self.how == 'dictionary': self.relation.cache = dict(context=x)
        if self.how == 'buffer': self.relation.scale = x.mean((0, 1, 2))
        if self.how == 'number': self.relation.calls = getattr(self.relation, 'calls', 0) + 1
        return x

@pytest.mark.parametrize('how', ['attribute', 'list', 'dictionary'])
def test_state_that_the_view_does_not_see_is_an_error(how):
    base = Context(how).eval()
    base(*batch(3, 5))
    for mode in (True, False):
        with pytest.raises(ValueError, match='Context.embed leaves a tensor in relation'): ActivityCLIP(base, r=2, d2=D, layers=1, heads=2).train(mode)(*batch(3, 5))

@pytest.mark.parametrize('how', ['buffer', 'number', 'nothing'])
def test_state_that_does_no_harm(how):
    model = ActivityCLIP(Context(how).eval(), r=2, d2=D, layers=1, heads=2).eval()
    model(*batch(3, 5))
    assert model.text_relation.scale is model.relation.scale

def test_copies():
    m = nn.Module()
    m.register_buffer('a', torch.tensor([1., float('nan')]))
    m.register_buffer('b', m.a)
    m.register_buffer('none', None)
    with copied_buffers(m) as changed:
        assert m.a is m.b and not changed()
        m.a[0] = 2.
        assert changed() == [m, m]
    assert m.a is m.b and same(m.a, torch.tensor([1., float('nan')])) and not same(m.a, m.a[:1])
