"LoRA on modules that were not made for it: it plugs in, every adapter learns, and the image branch stays as it was to the bit."
import copy
import io
import threading
from collections import deque
from types import SimpleNamespace
import pytest, torch
import torch.nn.functional as F
from torch import nn
from helpers import BoxFeatures, batch
from aclip.checkpoint import load_state, load_tensors, save_tensors, unique_state
from aclip.core import ActivityCLIP
from aclip.evaluate.one_pass import one_pass
from aclip.models.aformer import AFormer
from aclip.models.arg import ARG
from aclip.models.base import BaseModel
from aclip.models.dualai import DualAI
from aclip.models.series import SeriesCLIP
from aclip.layers import StackedLinear
from aclip.text.bank import TextBank
from aclip.text.lora import LoRALinear, lora_adapter, lora_view
from aclip.text.lora_weights import LowRank, add_updates, find_maps

T, N, D, G, K, R = 3, 6, 16, 8, 9, 3

class Sequences(nn.Module):
    "Hands (B T, N, D) to a module of others, and adds what it returns."
    def __init__(self, inner, mask=False, first=False):
        super().__init__()
        self.inner, self.mask, self.first = inner, mask, first
    def forward(self, x, boxes, mask=None):
        y = x.flatten(0, 1)
        padding = ~mask.repeat_interleave(x.shape[1], 0) if self.mask and mask is not None else None
        y = self.inner(y, src_key_padding_mask=padding) if self.mask else self.inner(y)
        return x + (y[0] if isinstance(y, tuple) else y).reshape(x.shape)

class SelfAttention(nn.Module):
    def __init__(self, **kw): super().__init__(); self.mha = nn.MultiheadAttention(D, 2, **kw)
    def forward(self, x): return self.mha(x, x, x, need_weights=False)[0]

class Cross(nn.Module):
    "Keys and values of other widths."
    def __init__(self): super().__init__(); self.mha = nn.MultiheadAttention(D, 2, kdim=8, vdim=12, batch_first=True)
    def forward(self, x): return self.mha(x, x[..., :8], x[..., :12])[0]

class PyGLinear(nn.Module):
    "As in graph libraries: no nn.Linear, and copies itself."
    def __init__(self, d_in, d_out):
        super().__init__()
        self.d_in, self.d_out, self.weight = d_in, d_out, nn.Parameter(torch.randn(d_out, d_in)/d_in**.5)
        self.register_parameter('bias', None)
    def forward(self, x): return F.linear(x, self.weight, self.bias)
    def __deepcopy__(self, memo):
        out = PyGLinear(self.d_in, self.d_out)
        out.weight = copy.deepcopy(self.weight, memo)
        return out

class GATLike(nn.Module):
    def __init__(self): super().__init__(); self.lin, self.att = PyGLinear(D, D), nn.Parameter(torch.randn(1, 1, D))
    def forward(self, x):
        y = self.lin(x)
        s = (y*self.att).sum(-1)
        return F.leaky_relu(s[:, :, None] + s[:, None]).softmax(-1) @ y

class ARGLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta, self.phi = nn.ModuleList(nn.Linear(D, 8) for _ in range(2)), nn.ModuleList(nn.Linear(D, 8) for _ in range(2))
        self.gcn, self.norm = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(2)), nn.ModuleList(nn.LayerNorm([N, D]) for _ in range(2))
    def forward(self, x):
        return sum(F.relu(n(g((t(x) @ p(x).mT).softmax(-1) @ x))) for t, p, g, n in zip(self.theta, self.phi, self.gcn, self.norm))

class DINLike(nn.Module):
    "Convolutions over the table of frames and actors."
    def __init__(self):
        super().__init__()
        self.offset, self.scale, self.W, self.ratio = nn.Conv2d(D, 18, 3, padding=1), nn.Conv2d(D, 9, 3, padding=1), nn.Linear(D, D, bias=False), nn.Parameter(torch.ones(1))
    def forward(self, x, boxes, mask=None):
        t = x.permute(0, 3, 1, 2)
        o = self.offset(t).mean(1, keepdim=True) + (self.scale(t).softmax(1)*torch.arange(9).to(t)[:, None, None]).sum(1, keepdim=True)
        return self.W((t*o.tanh()*self.ratio).permute(0, 2, 3, 1))

class PCTDMLike(nn.Module):
    "A BiLSTM over persons, a scalar score, and an LSTM over frames."
    def __init__(self):
        super().__init__()
        self.persons, self.score, self.frames = nn.LSTM(D, D//2, bidirectional=True, batch_first=True), nn.Linear(D, 1), nn.LSTM(D, D, batch_first=True)
    def forward(self, x, boxes, mask=None):
        y = self.persons(x.flatten(0, 1))[0]
        z = (self.score(y).softmax(1)*y).sum(1).view(x.shape[0], x.shape[1], -1)
        return x + y.view_as(x) + self.frames(z)[0][:, :, None]

class SACRFLike(nn.Module):
    "Recurrent mean field with a narrow map and embeddings."
    def __init__(self): super().__init__(); self.labels, self.unary, self.halt, self.mix = nn.Embedding(5, D), nn.Linear(D, 5), nn.Linear(D, 1), nn.Linear(D, D)
    def forward(self, x):
        for _ in range(2): x = x + self.halt(x).sigmoid()*self.mix(self.unary(x).softmax(-1) @ self.labels.weight)
        return x

class TCELike(nn.Module):
    "Keeps a context with a gradient's graph, in containers of all kinds."
    def __init__(self): super().__init__(); self.q, self.conv, self.kept = nn.Linear(D, D), nn.Conv1d(D, D, 1), None
    def forward(self, x):
        context = self.conv(x.mT).mT
        self.context, self.kept = context, SimpleNamespace(deep=[dict(a=(1, context)), deque([context])])
        return self.q(x).softmax(-1)*context

class ReadsWeights(nn.Module):
    "Never calls its maps."
    def __init__(self): super().__init__(); self.q, self.stack = nn.Linear(D, D), StackedLinear(2, D, D)
    def forward(self, x):
        assert (self.q.in_features, self.stack.out_features) == (D, 2*D)
        return F.linear(F.linear(x, self.q.weight, self.q.bias), self.stack.weight, self.stack.bias).unflatten(-1, (2, -1)).sum(-2)

class Half(nn.Linear):
    "A linear map with a forward of its own."
    def forward(self, x, scale=.5): return F.linear(x, self.weight*scale, self.bias)

class Cell(nn.Module):
    def __init__(self, cell): super().__init__(); self.cell = cell
    def forward(self, x):
        h = None
        out = []
        for a in x.unbind(1):
            h = self.cell(a, h)
            out.append(h[0] if isinstance(h, tuple) else h)
        return torch.stack(out, 1)

class Channels(nn.Module):
    "A convolution over (B, D, N), (B, D, N, 1) or (B, D, N, 1, 1)."
    def __init__(self, conv, axes=0): super().__init__(); self.conv, self.axes = conv, axes
    def forward(self, x):
        y = self.conv(x.mT[(...,) + (None,)*self.axes])
        return y[(...,) + (0,)*self.axes].mT

class Pair(nn.Module):
    def __init__(self): super().__init__(); self.both = nn.Bilinear(D, D, D)
    def forward(self, x): return self.both(x, x.flip(1).contiguous())

def layer(**kw): return nn.TransformerEncoderLayer(D, 2, 24, batch_first=True, **{**dict(dropout=0.), **kw})
def old_weight_norm(conv):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return nn.utils.weight_norm(conv)

MODULES = dict(
    transformer_layer=lambda: Sequences(layer(), mask=True), norm_first=lambda: Sequences(layer(norm_first=True, dropout=.1), mask=True), gelu=lambda: Sequences(layer(activation='gelu')),
    no_bias=lambda: Sequences(layer(bias=False)), transformer=lambda: Sequences(nn.TransformerEncoder(layer(), 2), mask=True), transformer_plain=lambda: Sequences(nn.TransformerEncoder(layer(), 2, norm=nn.LayerNorm(D), enable_nested_tensor=False)),
    attention=lambda: Sequences(SelfAttention()), attention_batch_first=lambda: Sequences(SelfAttention(batch_first=True, add_bias_kv=True)), attention_three=lambda: Sequences(Cross()),
    lstm=lambda: Sequences(nn.LSTM(D, D, batch_first=True)), bilstm=lambda: Sequences(nn.LSTM(D, D//2, num_layers=2, bidirectional=True, dropout=.1)), lstm_proj=lambda: Sequences(nn.LSTM(D, 20, proj_size=D)),
    gru=lambda: Sequences(nn.GRU(D, D, batch_first=True, bias=False)), rnn=lambda: Sequences(nn.RNN(D, D, nonlinearity='relu')), lstm_cell=lambda: Sequences(Cell(nn.LSTMCell(D, D))), gru_cell=lambda: Sequences(Cell(nn.GRUCell(D, D))),
    conv1d=lambda: Sequences(Channels(nn.Conv1d(D, D, 3, padding=1))), conv2d=lambda: Sequences(Channels(nn.Conv2d(D, D, (3, 1), padding=(1, 0), groups=2), 1)), conv3d=lambda: Sequences(Channels(nn.Conv3d(D, D, 1), 2)),
    transposed=lambda: Sequences(Channels(nn.ConvTranspose1d(D, D, 3, padding=1))), depthwise=lambda: Sequences(Channels(nn.Conv1d(D, D, 3, padding=1, groups=D))), bilinear=lambda: Sequences(Pair()),
    spectral_conv=lambda: Sequences(Channels(nn.utils.parametrizations.spectral_norm(nn.Conv1d(D, D, 1)))), weight_norm_conv=lambda: Sequences(Channels(nn.utils.parametrizations.weight_norm(nn.Conv1d(D, D, 1)))),
    old_weight_norm=lambda: Sequences(Channels(old_weight_norm(nn.Conv1d(D, D, 1)))), pyg=lambda: Sequences(GATLike()), arg=lambda: Sequences(ARGLike()), din=DINLike, pctdm=PCTDMLike, sacrf=lambda: Sequences(SACRFLike()),
    tce=lambda: Sequences(TCELike()), reads_weights=lambda: Sequences(ReadsWeights()), own_forward=lambda: Sequences(Half(D, D)), root=lambda: Root(D, D))

class Root(nn.Linear):
    "The relation itself is the map."
    def forward(self, x, boxes, mask=None): return x + super().forward(x)

each_module = pytest.mark.parametrize('name', MODULES)

def unpickled(name): return name.startswith(('spectral', 'weight_norm'))         # PyTorch does not pickle parametrizations

def base_of(name, seed=0):
    torch.manual_seed(seed)
    base = BaseModel(BoxFeatures(D), MODULES[name](), G, K)
    base(*batch(T, N))['activity'].sum().backward()                # a forward with gradients has been run: caches hold graphs
    for p in base.parameters(): p.grad = None
    return base.eval()

def plug(base, **kw): return ActivityCLIP(base, **{**dict(r=R, d2=D, layers=1, heads=2, targets=()), **kw})
def adapters(model): return [m for m in model.text_relation.modules() if isinstance(m, (LoRALinear, LowRank))]
def state_of(base): return {k: v.clone() for k, v in (*base.named_parameters(), *base.named_buffers())}

@torch.no_grad()
def scores(model, x=None): return {k: v.clone() for k, v in model(*(x or batch(T, N))).items()}

def close(a, b, **kw):
    for k in a: torch.testing.assert_close(a[k], b[k], **kw)

def trained(model, steps=3, train=True):
    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for i in range(steps):
        model.train(train)
        opt.zero_grad()
        model(*batch(T, N, seed=i))['activity_text'].tanh().sum().backward()
        opt.step()
    return model.eval()

@each_module
@pytest.mark.parametrize('train', [True, False])
def test_it_plugs_in_learns_and_leaves_the_base(name, train):
    base = base_of(name)
    before, state, names = scores(base), state_of(base), list(base.state_dict())
    frozen = scores(base.requires_grad_(False))                                    # PyTorch's LSTM has another routine for frozen weights
    base.requires_grad_(True)
    model = plug(base)
    with torch.no_grad():                                                          # B = 0: the view is the relation
        f = base.embed(*batch(T, N))
        assert torch.equal(model.eval().text_relation(f, *batch(T, N)[1:]), base.relation(f, *batch(T, N)[1:]))
    trained(model, train=train)
    assert adapters(model)
    for m in adapters(model):
        for p in (m.A.weight, m.B): assert p.grad is not None and p.grad.isfinite().all() and p.grad.any()
    for k, v in state_of(base).items(): assert torch.equal(v, state[k]), k
    out = scores(model)
    assert torch.equal(out['activity_image'], frozen['activity']) and torch.equal(out['action'], frozen['action'])
    assert model.unplug() is base and list(base.state_dict()) == names
    for k, v in scores(base).items(): assert torch.equal(v, before[k])
    assert all(p.requires_grad for p in base.parameters()) and type(base.relation) is type(MODULES[name]())

@each_module
def test_every_map_of_the_relation_is_adapted(name):
    model = plug(base_of(name))
    maps = find_maps(model.relation)
    assert len(adapters(model)) == len(maps)
    left = {n for n, p in model.relation.named_parameters() if p.ndim > 1} - {f'{n}.weight'.strip('.') for n in maps} - set(maps)
    assert all(any(word in n for word in ('norm', 'labels', 'att', 'bias', 'original', 'weight_g', 'weight_v')) for n in left), left

@each_module
def test_double_moves_copies_and_pickles(name):
    model = trained(plug(base_of(name)))
    out = scores(model)
    if name != 'tce':                                                              # the base itself cannot be copied after a pass with gradients
        close(scores(copy.deepcopy(model)), out, rtol=0, atol=0)
        close(scores(copy.deepcopy(model.float())), out, rtol=0, atol=0)
    if not unpickled(name) and name != 'tce':
        f = io.BytesIO()
        torch.save(model, f)
        f.seek(0)
        close(scores(torch.load(f, weights_only=False)), out, rtol=0, atol=0)
    f, boxes, mask = batch(T, N)
    close(scores(model.double(), (f, boxes.double(), mask)), {k: v.double() for k, v in out.items()}, rtol=1e-3, atol=1e-4)
    view = {id(p) for p in model.text_relation.parameters()}
    assert all(id(p) in view and p.dtype == torch.float64 for p in model.relation.parameters())
    close(scores(model.float()), out, rtol=1e-4, atol=1e-5)

@each_module
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(name, dtype):
    model = plug(base_of(name).to(dtype))
    assert all(p.dtype == dtype for m in adapters(model) for p in m.parameters())
    x = torch.rand(2, T, N, D).to(dtype)
    boxes, mask = batch(T, N)[1:]
    y = model.eval().text_relation(x, boxes.to(dtype), mask)
    assert y.dtype == dtype and y.isfinite().all()
    y.float().sum().backward()
    assert all(m.B.grad.dtype == dtype for m in adapters(model))

@each_module
def test_autocast(name):
    model = trained(plug(base_of(name)))
    out = scores(model)
    if name in ('transformer', 'bilinear'): pytest.skip('PyTorch itself has no autocast for it on a CPU')
    with torch.autocast('cpu', dtype=torch.bfloat16): half = scores(model)
    assert all((half[k].float() - out[k]).abs().max() < .15*(1 + out[k].abs().max()) for k in ('activity', 'activity_text'))

@each_module
def test_state_round_trip(name, tmp_path):
    model = trained(plug(base_of(name)))
    save_tensors(tmp_path/'m.safetensors', unique_state(model), {})
    state, _ = load_tensors(tmp_path/'m.safetensors')
    assert not any(k.startswith('text_relation') and '.A.' not in k and not k.endswith('.B') for k in state)       # W0 once
    again = load_state(plug(base_of(name, seed=1)), state).eval()
    close(scores(again), scores(model), rtol=0, atol=0)

@each_module
def test_the_view_has_the_merged_weights(name):
    "Against a copy of the relation whose weights were replaced by W0 + alpha B A."
    model = trained(plug(base_of(name)))
    for m in adapters(model): nn.init.normal_(m.B, std=.01)
    if unpickled(name) or name in ('tce', 'old_weight_norm'): return               # weights that are computed have no place for the sum
    merged = copy.deepcopy(model.relation)
    for n, W in find_maps(merged).items(): W.weight.data = getattr(model.text_relation.get_submodule(W.path), W.parameter).detach().clone()
    x, (_, boxes, mask) = torch.rand(2, T, N, D), batch(T, N)
    for grad in (True, False):
        with torch.set_grad_enabled(grad): a, b = model.text_relation(x, boxes, mask), merged(x, boxes, mask)
        real = mask[:, None].expand(-1, T, -1)                                     # PyTorch's fused Transformer sets padded actors to zero
        torch.testing.assert_close(a[real], b[real], rtol=1e-4, atol=1e-5)

@each_module
def test_one_pass_gives_the_same_scores(name):
    model = trained(plug(base_of(name)))
    for m in adapters(model): nn.init.normal_(m.B, std=.1)
    with torch.no_grad():
        a = scores(model)
        with one_pass(model): b = scores(model)
    close(a, b, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('W0', [nn.Linear(6, 5), nn.Linear(6, 5, bias=False), StackedLinear(3, 6, 5), nn.Linear(2, 9)], ids=str)
@pytest.mark.parametrize('alpha', [8., .5])
def test_both_forms_are_equal(W0, alpha):
    torch.manual_seed(0)
    n, r = getattr(W0, 'n', 1), 2
    around = lora_adapter(W0.double(), r, alpha)
    nn.init.normal_(around.B)
    low = LowRank(W0.weight, r, alpha, n)
    low.load_state_dict({k: v for k, v in around.state_dict().items() if not k.startswith('W0')})
    inside = add_updates(copy.deepcopy(W0), dict(weight=low))
    x = torch.randn(4, W0.in_features).double()
    torch.testing.assert_close(around(x), inside(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(around.weight, inside.weight, rtol=1e-12, atol=1e-12)
    assert inside._parameters['weight'].data.equal(W0.weight.data)
    for y in (around, inside): y(x).pow(2).sum().backward()
    torch.testing.assert_close(around.B.grad, low.B.grad)
    torch.testing.assert_close(around.A.weight.grad, low.A.weight.grad)

def test_gates_are_maps_of_their_own():
    view = lora_view(nn.LSTM(D, D), R)
    assert view.lora_updates['weight_ih_l0'].B.shape == (4, D, R) and view.lora_updates['weight_ih_l0'].A.weight.shape == (4*R, D)
    assert lora_view(nn.GRU(D, D), R).lora_updates['weight_hh_l0'].B.shape == (3, D, R)
    assert lora_view(nn.MultiheadAttention(D, 2), R).lora_updates['in_proj_weight'].B.shape == (3, D, R)

def test_the_fast_path_of_the_transformer_has_the_update():
    base = nn.TransformerEncoder(layer(), 2).eval()
    view = lora_view(base, R)
    for m in view.modules():
        if isinstance(m, (LoRALinear, LowRank)): nn.init.normal_(m.B, std=.02)
    x, padding = torch.randn(2, N, D), torch.arange(N)[None] >= torch.tensor([[N], [4]])
    slow = view(x, src_key_padding_mask=padding)
    with torch.no_grad(): fast, old = view(x, src_key_padding_mask=padding), base(x, src_key_padding_mask=padding)
    real = ~padding
    torch.testing.assert_close(fast[real], slow[real].detach(), rtol=1e-4, atol=1e-5)
    assert (fast - old)[real].abs().max() > .05


# Targets

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.ModuleList([nn.Linear(D, D), nn.Linear(D, D)])
        self.layers = nn.ModuleList([nn.ModuleDict(dict(q=nn.Linear(D, D), W_k=nn.Linear(D, D), cross=nn.ModuleDict(dict(q=nn.Linear(D, D))))) for _ in range(2)])
        self.memory, self.mha = nn.LSTM(D, D), nn.MultiheadAttention(D, 2)

@pytest.mark.parametrize('targets,found', [
    (('q.0',), ['q.0']), (('W_k',), ['layers.0.W_k', 'layers.1.W_k']), (('W_*',), ['layers.0.W_k', 'layers.1.W_k']), (('layers.1.W_?',), ['layers.1.W_k']),
    (('layers.*.W_k',), ['layers.0.W_k', 'layers.1.W_k']), (('layers.*.cross.q',), ['layers.0.cross.q', 'layers.1.cross.q']), (('layers.?.q',), ['layers.0.q', 'layers.1.q']),
    (('memory',), ['memory.weight_ih_l0', 'memory.weight_hh_l0']), (('weight_hh_*',), ['memory.weight_hh_l0']), (('mha.*',), ['mha.in_proj_weight', 'mha.out_proj']),
    (('0',), ['q.0']), (('[01]',), ['q.0', 'q.1']), ('q.1', ['q.1']), (('q.0', 'out_proj'), ['q.0', 'mha.out_proj'])])
def test_targets(targets, found):
    assert list(find_maps(Block(), targets)) == found
    view = lora_view(Block(), R, targets=targets)
    assert sum(isinstance(m, (LoRALinear, LowRank)) for m in view.modules()) == len(found)

@pytest.mark.parametrize('targets', [('q.2',), ('cross',), ('layer.*.q',), ('',), ('.q',), ('q.0', 'nothing')])
def test_targets_that_match_nothing(targets):
    base = Block()
    with pytest.raises(ValueError, match='no linear map of Block is called .*; it has q.0, q.1, layers.0.q'): lora_view(base, R, targets=targets)
    assert all(p.requires_grad for p in base.parameters())


# Ranks, failures

def test_a_narrow_map_gets_the_rank_of_its_smaller_side():
    view = lora_view(nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 1), nn.Conv1d(2, 20, 1), nn.LSTM(2, 20)), 6)
    assert [m.B.shape[-1] for m in view.modules() if isinstance(m, (LoRALinear, LowRank))] == [6, 1, 2, 2, 6]

@pytest.mark.parametrize('r', [0, -1, 21, 1.5, float('nan')])
def test_a_rank_that_fits_no_map(r):
    base = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 1))
    with pytest.raises(ValueError, match='relation.0: rank r=.*choose 1 <= r <= 20'): lora_view(base, r)
    assert all(p.requires_grad for p in base.parameters())

class Locked(nn.Linear):
    def __init__(self, *a): super().__init__(*a); self.lock = threading.Lock()

def wrong(relation):
    base = BaseModel(BoxFeatures(D), relation, G, K)
    base.features.requires_grad_(False)
    return base

@pytest.mark.parametrize('make,kw,say', [
    (lambda: nn.Sequential(Locked(D, D)), {}, r'relation\.0\.lock cannot be copied for the text branch .*keep it outside'),
    (lambda: nn.Sequential(nn.LazyLinear(D)), {}, 'relation.0.weight of BaseModel is lazy and has no size yet; run the model on one batch'),
    (lambda: torch.jit.script(nn.Linear(D, D)), {}, 'relation is compiled by torch.jit'),
    (lambda: nn.LayerNorm([N, D]), {}, 'LayerNorm has no nn.Linear inside.*nothing to adapt'), (lambda: nn.Embedding(4, 4), {}, 'Embedding has no nn.Linear inside'),
    (lambda: nn.Linear(D, D), dict(tau=0), None), (lambda: nn.Linear(D, D), dict(dropout=2.), None), (lambda: nn.Linear(D, D), dict(heads=3), None), (lambda: nn.Linear(D, D), dict(r=D + 1), 'relation: rank r=17 does not fit')])
def test_a_failure_leaves_the_base(make, kw, say):
    base = wrong(make())
    lazy = [n for n, p in base.named_parameters() if nn.parameter.is_lazy(p)]
    flags, state, mode = {n: p.requires_grad for n, p in base.named_parameters()}, {k: v.clone() for k, v in base.state_dict().items() if k not in lazy}, base.training
    with pytest.raises(ValueError, match=say): plug(base, **kw)
    assert flags == {n: p.requires_grad for n, p in base.named_parameters()} and base.training == mode
    for k, v in state.items(): assert torch.equal(base.state_dict()[k], v)

def test_a_failure_of_the_series_leaves_the_base():
    base = wrong(nn.Linear(D, D))
    for kw in (dict(d2='x'), dict(dropout=2.)):
        with pytest.raises((TypeError, ValueError)): SeriesCLIP(base, **kw)
        assert all(p.requires_grad for p in base.relation.parameters())

@pytest.mark.parametrize('plug', [plug, lambda base: plug(base, adapt='scratch'), lambda base: SeriesCLIP(base, d2=D)], ids=['lora', 'scratch', 'series'])
def test_every_text_branch_copies_or_names_what_it_cannot(plug):
    assert scores(plug(base_of('tce')))['activity'].shape == (2, G)                # results with a graph
    base = wrong(nn.Sequential(Locked(D, D)))
    with pytest.raises(ValueError, match=r'0\.lock cannot be copied for the text branch'): plug(base)
    assert all(p.requires_grad for p in base.relation.parameters())

def test_a_view_that_was_plugged_in_twice():
    base = base_of('lstm')
    for _ in range(2): model = plug(plug(base).unplug())
    trained(model)
    assert type(base.relation.inner) is nn.LSTM and type(model.unplug().relation.inner) is nn.LSTM


# Another width

class Wider(nn.Module):
    d_out = 2*D
    def __init__(self): super().__init__(); self.lstm = nn.LSTM(D, D, bidirectional=True, batch_first=True)
    def forward(self, x, boxes, mask=None): return self.lstm(x.flatten(0, 1))[0].unflatten(0, x.shape[:2])

def test_a_relation_that_changes_the_width():
    base = BaseModel(BoxFeatures(D), Wider(), G, K).eval()
    before = scores(base)
    for model in (plug(base, text_actions=True), plug(base, adapt='scratch')):
        trained(model)
        assert model.text_activity.linear.in_features == 2*D and torch.equal(scores(model)['activity_image'], before['activity'])
        model.unplug()
    bank = TextBank.random([f'action {k}' for k in range(K)], dim=D)
    assert scores(SeriesCLIP(base, d2=D).set_text(bank).eval())['activity_text'].shape == (2, G)

def test_a_width_that_the_base_does_not_state():
    base = BaseModel(BoxFeatures(D), Wider(), G, K).eval()
    model = plug(base)
    base.d_out = D
    other = plug(base)
    with pytest.raises(ValueError, match=f'returns features of width {2*D}.* built for {D}; give BaseModel an attribute d_out = {2*D}'): other.text_branch(base.embed(*batch(T, N)), *batch(T, N)[1:])
    model.unplug()


# Against others

def wrapped(relation, r, alpha=8.):
    "The view of 0.1.0: an adapter around each nn.Linear."
    view = copy.deepcopy(relation, {id(p): p for p in relation.parameters()}).requires_grad_(False)
    for name, m in [*view.named_modules()]:
        if isinstance(m, nn.Linear): setattr(view.get_submodule(name.rpartition('.')[0]), name.rpartition('.')[2], lora_adapter(m, r, alpha))
    return view

@pytest.mark.parametrize('make', [lambda: ARG(BoxFeatures(D), G, K, n_graphs=3, d_k=8, n_frames=T, n_actors=N), lambda: AFormer(BoxFeatures(D), G, K), lambda: DualAI(BoxFeatures(D), G, K)], ids=['arg', 'aformer', 'dualai'])
def test_training_of_linear_maps_is_as_in_0_1_0_to_the_bit(make):
    torch.manual_seed(0)
    relation, x, (_, boxes, mask) = make().relation, torch.rand(2, T, N, D), batch(T, N)
    results = []
    for view in (lora_view, wrapped):
        torch.manual_seed(1)
        view = view(relation, 2).train()
        torch.manual_seed(2)
        trains = {k: p for k, p in view.named_parameters() if p.requires_grad}
        opt = torch.optim.AdamW(trains.values(), lr=1e-2)
        for _ in range(3): opt.zero_grad(); view(x, boxes, mask).pow(2).sum().backward(); opt.step()
        results.append({k: p.detach() for k, p in trains.items()})
    a, b = results
    assert list(a) == list(b)
    for k in a: assert torch.equal(a[k], b[k]), k

def test_equals_peft():
    peft = pytest.importorskip('peft')
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.q, self.k = nn.Linear(D, D), nn.Linear(D, 8)
        def forward(self, x): return self.k(self.q(x).relu())
    torch.manual_seed(0)
    net, x = Net(), torch.randn(4, D)
    view = lora_view(net, R, alpha=2.)
    theirs = peft.get_peft_model(copy.deepcopy(net), peft.LoraConfig(r=R, lora_alpha=2.*R, target_modules=['q', 'k']))
    for name in 'qk':
        own, other = getattr(view, name), getattr(theirs.base_model.model, name)
        nn.init.normal_(own.B)
        other.lora_A['default'].weight.data, other.lora_B['default'].weight.data = own.A.weight.data.clone(), own.B.data.clone()
    torch.testing.assert_close(view(x), theirs(x), rtol=1e-5, atol=1e-5)
