"AFormer over sizes: its relation against PyTorch's layers, padding, order, the text branch plugged in, bad input."
import pytest, torch
from torch import nn
from helpers import BoxFeatures, batch
from aclip.models.aformer import AFormer, AFormerRelation
from aclip.core import ActivityCLIP
from aclip.layers import encode_centres, n_params, sinusoids
from aclip.text.lora import LoRALinear, lora_view

B,K,G = 2,9,8

def aformer(d, **kw): return AFormer(BoxFeatures(d), G, K, **kw)

def with_updates(view):
    "The view with updates that are not zero."
    for m in view.modules():
        if isinstance(m, LoRALinear): nn.init.normal_(m.B, std=.1)
    return view

sizes = pytest.mark.parametrize('T,N,d,heads,layers', [(1, 1, 16, 1, 1), (10, 12, 16, 1, 1), (2, 5, 32, 4, 2), (3, 13, 8, 2, 3)])


# The relation

def library(rel):
    "PyTorch's encoder layers with the weights of `rel`; its output maps are the identity."
    def copy(b):
        lib = nn.TransformerEncoderLayer(rel.d, b.attention.heads, rel.d, dropout=0., batch_first=True)
        maps = (b.attention.W_q, b.attention.W_k, b.attention.W_v)
        lib.self_attn.in_proj_weight.data = torch.cat([W.weight for W in maps]).data
        if maps[0].bias is not None: lib.self_attn.in_proj_bias.data = torch.cat([W.bias for W in maps]).data
        nn.init.eye_(lib.self_attn.out_proj.weight)
        for own,theirs in ((b.ffn[0], lib.linear1), (b.ffn[3], lib.linear2), (b.norm1, lib.norm1), (b.norm2, lib.norm2)): theirs.load_state_dict(own.state_dict())
        return lib
    libs = nn.ModuleList(map(copy, rel.blocks))
    def run(x, boxes, mask):
        y,pad = (x + encode_centres(boxes, rel.d)).flatten(0, 1),~mask[:, None].expand(x.shape[:3]).flatten(0, 1)
        for l in libs: y = l(y, src_key_padding_mask=pad)
        return y.view_as(x)
    return libs,run

@sizes
@pytest.mark.parametrize('bias', (True, False))
def test_equals_pytorch_with_gradients(T, N, d, heads, layers, bias):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(d, heads, layers, dropout=0., bias=bias),batch(T, N)
    libs,run = library(rel)
    x = torch.randn(B, T, N, d)
    w = torch.randn_like(x)*mask[:, None, :, None]
    ours,theirs = rel(x, boxes, mask),run(x, boxes, mask)
    torch.testing.assert_close(ours*mask[:, None, :, None], theirs*mask[:, None, :, None], rtol=1e-4, atol=1e-5)
    (ours*w).sum().backward(); (theirs*w).sum().backward()
    for b,l in zip(rel.blocks, libs):
        grads = torch.cat([W.weight.grad for W in (b.attention.W_q, b.attention.W_k, b.attention.W_v)])
        torch.testing.assert_close(grads, l.self_attn.in_proj_weight.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(b.ffn[3].weight.grad, l.linear2.weight.grad, rtol=1e-3, atol=1e-4)

@sizes
def test_actors_permute(T, N, d, heads, layers):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(d, heads, layers).eval(),batch(T, N)
    x,p = torch.randn(B, T, N, d),torch.randperm(N)
    torch.testing.assert_close(rel(x[:, :, p], boxes[:, :, p], mask[:, p]), rel(x, boxes, mask)[:, :, p], rtol=1e-4, atol=1e-5)

@sizes
def test_frames_do_not_see_each_other(T, N, d, heads, layers):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(d, heads, layers).eval(),batch(T, N)
    x = torch.randn(B, T, N, d)
    for t in range(T): torch.testing.assert_close(rel(x[:, t:t+1], boxes[:, t:t+1], mask), rel(x, boxes, mask)[:, t:t+1], rtol=1e-4, atol=1e-5)

@sizes
def test_padded_actors_never_matter(T, N, d, heads, layers):
    if N < 3: pytest.skip('no padding in a single place')
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(d, heads, layers).eval(),batch(T, N)
    for rel in (rel, with_updates(lora_view(rel, 2, targets=AFormer.lora_targets))):
        x = torch.randn(B, T, N, d)
        real = mask[:, None, :, None]
        dirty,boxes_ = torch.where(real, x, torch.nan).requires_grad_(),torch.where(real, boxes, torch.nan)
        y = rel(dirty, boxes_, mask)
        assert torch.equal(y, rel(x, boxes, mask)) and not y.masked_select(~real).any()
        few = rel(x[1:, :, :N-2], boxes[1:, :, :N-2])                 # as if the padding were not there
        torch.testing.assert_close(y[1:, :, :N-2], few, rtol=1e-4, atol=1e-5)
        g, = torch.autograd.grad(y.square().sum(), dirty)
        assert g.isfinite().all() and not g.masked_select(~real).any()

@sizes
def test_interactions(T, N, d, heads, layers):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(d, heads, layers).eval(),batch(T, N)
    x = torch.randn(B, T, N, d)
    A = rel.interactions(x, boxes, mask)['attention']
    assert A.shape == (B, N, N)
    torch.testing.assert_close(A.sum(-1), torch.ones(B, N))
    assert not A.masked_select(~mask[:, None]).any()
    view = lora_view(rel, 2, targets=AFormer.lora_targets)
    assert type(view) is AFormerRelation and torch.equal(view.interactions(x, boxes, mask)['attention'], A)
    if N > 1: assert not torch.equal(with_updates(view).interactions(x, boxes, mask)['attention'], A)

@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
def test_half_precision(dtype):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = AFormerRelation(64).eval(),batch(3, 12)
    x = torch.randn(B, 3, 12, 64)
    want = rel(x, boxes, mask)
    with torch.autocast('cpu', dtype=dtype): got = rel(x, boxes, mask)
    assert got.isfinite().all() and (got - want).norm()/want.norm() < .05

@pytest.mark.parametrize('d,r', [(256, 6), (64, 1), (128, 12)])
def test_counts(d, r):
    rel = AFormerRelation(d)
    assert n_params(rel) == 5*d*d + 6*d and n_params(AFormerRelation(d, bias=True)) == 5*(d*d + d) + 4*d
    assert n_params(lora_view(rel, r, targets=AFormer.lora_targets), trainable=True) == 3*r*2*d


# Plugged in

@sizes
def test_plugging_in_changes_nothing(T, N, d, heads, layers):
    torch.manual_seed(0)
    base,xs = aformer(d, heads=heads, layers=layers).eval(),batch(T, N)
    before = base(*xs)
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2)
    out = model(*xs)
    assert torch.equal(out['activity_image'], before['activity']) and torch.equal(out['action'], before['action'])
    x = torch.randn(B, T, N, d)
    model.eval()
    assert torch.equal(model.text_relation(x, *xs[1:]), model.relation(x, *xs[1:]))          # B = 0
    again = model.unplug()(*xs)
    assert all(torch.equal(again[k], before[k]) for k in before)

@sizes
def test_adapters_learn_and_the_image_branch_does_not(T, N, d, heads, layers):
    torch.manual_seed(0)
    base,xs = aformer(d, heads=heads, layers=layers),batch(T, N)
    before = {k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=.1)
    for _ in range(3): opt.zero_grad(); model(*xs)['activity_text'].square().sum().backward(); opt.step()
    for k,v in base.state_dict().items(): assert torch.equal(v, before[k]), k
    adapters = {n.rpartition('.')[2]: m for n,m in model.text_relation.named_modules() if isinstance(m, LoRALinear)}
    assert set(adapters) == {'W_q', 'W_k', 'W_v'}
    for name,m in adapters.items():                     # one actor alone attends to itself whatever the query is
        if N > 1 or name == 'W_v': assert m.A.weight.grad.any() and m.B.grad.any(), name


# Bad input

@pytest.mark.parametrize('kw,message', [(dict(d=16, layers=0), 'AFormerRelation: layers=0 .* at least one'), (dict(d=6), 'AFormerRelation: width 6 .* multiple of four'), (dict(d=16, heads=3), '3 heads')])
def test_bad_arguments_raise(kw, message):
    with pytest.raises(ValueError, match=message): AFormerRelation(**kw)

def test_bad_input_raises():
    rel,(_,boxes,mask) = AFormerRelation(16),batch(2, 4)
    x = torch.randn(B, 2, 4, 16)
    with pytest.raises(ValueError, match='AFormerRelation: clip 1 of the batch has no actor'): rel(x, boxes, mask & torch.tensor([[True], [False]]))
    with pytest.raises(ValueError, match='AFormerRelation: made for features of width 16, got 8'): rel(x[..., :8], boxes, mask)
    with pytest.raises(ValueError, match='AFormerRelation: features of .* and boxes of'): rel(x, boxes[:, :1], mask)

@pytest.mark.parametrize('d', (2, 8, 64))
def test_sinusoids_are_rotations(d):
    p,q = torch.rand(5)*100,torch.rand(5)*100
    rates = 10000.**(-torch.arange(0, d, 2)/d)
    torch.testing.assert_close((sinusoids(p, d)*sinusoids(q, d)).sum(-1), ((p - q)[:, None]*rates).cos().sum(-1), rtol=1e-3, atol=1e-3)
    assert sinusoids(torch.arange(7), d).shape == (7, d) and sinusoids(torch.rand(2, 3), d).shape == (2, 3, d)
