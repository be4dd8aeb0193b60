"ActivityCLIP over sizes and over image branches that were not made for it."
import itertools
import pytest, torch
from torch import nn
from helpers import BoxFeatures, batch
from aclip.models.aformer import AFormer
from aclip.models.arg import ARG, ARGRelation
from aclip.text.bank import TextBank
from aclip.core import ActivityCLIP
from aclip.models.series import SeriesCLIP
from aclip.models.two_branch import fresh_copy
from aclip.models.dualai import DualAI
from aclip.layers import n_params, zero_padded
from aclip.text.lora import LoRALinear

B,K,G = 2,9,8

class NormRelation(nn.Module):
    "A relation with all that can leak from one branch to the other: BatchNorm, dropout, a LayerNorm, a tied weight."
    def __init__(self, d):
        super().__init__()
        self.W_q,self.W_k,self.bn,self.ln,self.drop = nn.Linear(d, d),nn.Linear(d, d),nn.BatchNorm1d(d),nn.LayerNorm(d),nn.Dropout(.5)
        self.again = self.W_q
    def forward(self, x, boxes, mask):
        x = zero_padded(x, mask[:, None])
        a = (self.W_q(x) @ self.W_k(x).mT).masked_fill(~mask[:, None, None], -1e9).softmax(-1)
        y = self.bn((a @ x).flatten(0, 2)).view_as(x)
        return self.ln(self.again(self.drop(y)) + x)

def arg(T, N, d, norm='nodes'): return ARG(BoxFeatures(d), G, K, n_graphs=3, d_k=8, n_frames=T, n_actors=N, norm=norm)
def normed(T, N, d):
    m = arg(T, N, d)
    m.relation = NormRelation(d)
    return m

sizes = pytest.mark.parametrize('T,N,d,make', [(*s, m) for s,m in itertools.product([(1, 1, 16), (3, 12, 16), (2, 5, 32)], (arg, normed))])

@sizes
def test_plugging_in_changes_nothing(T, N, d, make):
    torch.manual_seed(0)
    base,xs = make(T, N, d).eval(),batch(T, N)
    before = base(*xs)
    out = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2)(*xs)
    assert torch.equal(out['activity_image'], before['activity']) and torch.equal(out['action'], before['action'])
    assert torch.equal(out['activity'], out['activity_image'] + out['activity_text'])
    assert out['text'].shape == (B, T, N, 16)

@sizes
def test_without_B_the_view_is_the_relation(T, N, d, make):
    torch.manual_seed(0)
    model,(_,boxes,mask) = ActivityCLIP(make(T, N, d), r=2, d2=16, layers=1, heads=2).eval(),batch(T, N)
    x = torch.randn(B, T, N, d)
    assert torch.equal(model.text_relation(x, boxes, mask), model.relation(x, boxes, mask))

@sizes
def test_training_leaves_the_image_branch_to_the_bit(T, N, d, make):
    torch.manual_seed(0)
    base,xs = make(T, N, d),batch(T, N)
    before = {k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=.1)
    for _ in range(3): opt.zero_grad(); model(*xs)['activity_text'].square().sum().backward(); opt.step()
    for k,v in base.state_dict().items(): assert torch.equal(v, before[k]), k
    shared = {p.data_ptr() for p in base.relation.parameters()}
    adapters = [m for m in model.text_relation.modules() if isinstance(m, LoRALinear)]
    assert adapters and all(m.W0.weight.data_ptr() in shared for m in adapters)
    alive = [m for m in adapters if m.A.weight.grad.any() and m.B.grad.any()]
    # one actor alone attends to himself whatever the query says, so its maps cannot learn there
    assert len(alive) == len(adapters) or N*T == 1 or T*N <= 3 and make is normed
    assert not any(m.training for m in base.modules())

def test_a_tied_map_gets_one_adapter():
    model = ActivityCLIP(normed(3, 5, 16), r=2, d2=16, layers=1, heads=2)
    assert model.text_relation.W_q is not None and isinstance(model.text_relation.again, LoRALinear)

@sizes
def test_padding_never_matters(T, N, d, make):
    if N < 3: pytest.skip('no padding in a single place')
    torch.manual_seed(0)
    model,(_,boxes,mask) = ActivityCLIP(make(T, N, d), r=2, d2=16, layers=1, heads=2).eval(),batch(T, N)
    for m in model.text_relation.modules():
        if isinstance(m, LoRALinear): nn.init.normal_(m.B)
    x = torch.randn(B, T, N, d)
    dirty = torch.where(mask[:, None, :, None], x, torch.nan)
    a,b = model.text_branch(x, boxes, mask),model.text_branch(dirty, boxes, mask)
    assert torch.equal(a['activity_text'], b['activity_text'])

@pytest.mark.parametrize('N', (1, 4, 12))
def test_actors_permute(N):
    torch.manual_seed(0)
    model = ActivityCLIP(arg(3, N, 16, norm='features'), r=2, d2=16, layers=2, heads=2).eval()
    for m in model.text_relation.modules():
        if isinstance(m, LoRALinear): nn.init.normal_(m.B, std=.02)
    f,boxes,mask = batch(3, N)
    p = torch.randperm(N)
    a,b = model(f, boxes, mask),model(f, boxes[:, :, p], mask[:, p])
    for k in ('activity', 'activity_text', 'activity_image'): torch.testing.assert_close(a[k], b[k], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a['action'][:, p], b['action'], rtol=1e-4, atol=1e-4)

@pytest.mark.parametrize('text_actions', (False, True))
@pytest.mark.parametrize('learn_tau', (False, True))
def test_what_trains(text_actions, learn_tau):
    model = ActivityCLIP(arg(3, 4, 16), r=2, d2=16, layers=1, heads=2, text_actions=text_actions, learn_tau=learn_tau)
    trains = {n.split('.')[0] for n,p in model.named_parameters() if p.requires_grad}
    assert trains == {'image2text', 'text_relation', 'text_activity', *['text_action']*text_actions, *['log_tau']*learn_tau}
    assert ('action_text' in model(*batch(3, 4))) == text_actions

def test_unplug_gives_back_what_was_trainable():
    base = arg(3, 4, 16)
    base.features.requires_grad_(False)
    want = {n: p.requires_grad for n,p in base.named_parameters()}
    assert {n: p.requires_grad for n,p in ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).unplug().named_parameters()} == want

def test_moving_keeps_one_W0():
    model = ActivityCLIP(arg(3, 4, 16), r=2, d2=16, layers=1, heads=2).double().float()
    for name in ('theta', 'phi', 'gcn'): assert getattr(model.text_relation, name).W0.weight is getattr(model.relation, name).weight

@pytest.mark.parametrize('norm,T,N', [(n, t, k) for n in ('nodes', 'features') for t,k in ((1, 4), (3, 12), (6, 5))])
def test_arg_twice_is_once(norm, T, N):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = ARGRelation(16, 3, 8, n_frames=T, n_actors=N, norm=norm),batch(T, N)
    x,kept = torch.randn(B, T, N, 16),boxes.clone()
    assert torch.equal(rel(x, boxes, mask), rel(x, boxes, mask)) and torch.equal(boxes, kept)

@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
@pytest.mark.parametrize('norm', ('nodes', 'features'))
def test_arg_in_half_precision(norm, dtype):
    torch.manual_seed(0)
    rel,(_,boxes,mask) = ARGRelation(64, 3, 8, n_frames=3, n_actors=12, norm=norm),batch(3, 12)
    x = 30*torch.randn(B, 3, 12, 64)                        # messages in the hundreds: their squares overflow float16
    want = rel(x, boxes, mask)
    with torch.autocast('cpu', dtype=dtype): got = rel(x, boxes, mask)
    assert got.isfinite().all() and (got - want).norm()/want.norm() < .05


# From scratch

bases = pytest.mark.parametrize('make', (arg, normed, lambda T, N, d: AFormer(BoxFeatures(d), G, K), lambda T, N, d: DualAI(BoxFeatures(d), G, K)), ids=('arg', 'normed', 'aformer', 'dualai'))

@bases
def test_from_scratch_shares_nothing_and_starts_as_when_built(make):
    torch.manual_seed(0)
    base = make(3, 5, 64)
    built = {n: (p.mean().item(), p.std().item()) for n,p in base.relation.named_parameters()}
    for p in base.relation.parameters(): nn.init.constant_(p, 7.)                     # as if it had been trained
    model = ActivityCLIP(base, adapt='scratch', d2=16, layers=1, heads=2)
    assert n_params(model.text_relation, trainable=True) == n_params(model.relation)
    for n,p in model.text_relation.named_parameters():
        mean,std = built[n]
        assert p.mean().item() == pytest.approx(mean, abs=.05), n
        if p.numel() > 500 or not std: assert p.std().item() == pytest.approx(std, rel=.2), n
    for p in base.relation.parameters(): assert (p == 7).all() and not p.requires_grad

@bases
def test_from_scratch_the_image_branch_stays_and_all_of_the_relation_learns(make):
    torch.manual_seed(0)
    base,xs = make(3, 5, 16),batch(3, 5)
    before = {k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, adapt='scratch', d2=16, layers=1, heads=2).train()
    start = {k: v.clone() for k,v in model.text_relation.state_dict().items()}
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3): opt.zero_grad(); model(*xs)['activity_text'].square().sum().backward(); opt.step()
    for k,v in base.state_dict().items(): assert torch.equal(v, before[k]), k
    for k,v in model.text_relation.state_dict().items(): assert not torch.equal(v, start[k]), k    # running statistics of BatchNorm too
    assert not any(m.training for m in base.modules())
    assert all(m.training for m in model.text_relation.modules())

def test_torchs_own_attention_starts_anew():
    mha = nn.MultiheadAttention(16, 2)
    assert fresh_copy(mha).in_proj_weight.isfinite().all()

class Lonely(nn.Module):
    def __init__(self): super().__init__(); self.W,self.token = nn.Linear(2, 2),nn.Parameter(torch.zeros(2))

@pytest.mark.parametrize('relation,say', [(nn.Sequential(nn.Linear(2, 2), Lonely()), 'Sequential cannot start from scratch: nothing resets 1.token'), (nn.ReLU(), 'ReLU has no parameters')])
def test_what_cannot_start_from_scratch_is_refused(relation, say):
    with pytest.raises(ValueError, match=say): fresh_copy(relation)


def test_shapes_alone_can_be_built():
    "On the meta device, to see whether a configuration works before anything is trained."
    with torch.device('meta'): base = arg(3, 5, 16); models = ActivityCLIP(base, adapt='scratch', d2=16, layers=1, heads=2),SeriesCLIP(base, d2=16)
    for m in models: assert n_params(m.text_relation, trainable=True) == n_params(arg(3, 5, 16).relation)


# In series

LABELS = [f'action {k}' for k in range(K)]
def series(base): return SeriesCLIP(base, d2=16).set_text(TextBank.random(LABELS, dim=16))

@bases
def test_series_by_hand(make):
    torch.manual_seed(0)
    base,xs = make(3, 5, 16).eval(),batch(3, 5)
    before = base(*xs)
    model = series(base).eval()
    out = model(*xs)
    assert torch.equal(out['activity_image'], before['activity']) and torch.equal(out['action'], before['action'])
    assert torch.equal(out['activity'], out['activity_image'] + out['activity_text'])
    E = model.text_features
    torch.testing.assert_close(E, TextBank.random(LABELS, dim=16).features[:, 0])
    u = torch.zeros(B, 3, 5, 16)
    for b in range(B):
        for n in range(5):
            if xs[2][b, n]: u[b, :, n] = model.project(E[before['action'][b, n].argmax()])
    y = model.text_relation(u, *xs[1:])
    torch.testing.assert_close(out['activity_text'], model.text_activity(y, xs[2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out['action_text'], model.text_action(y).mean(1), rtol=1e-4, atol=1e-5)

@bases
def test_series_trains_all_but_the_image_branch(make):
    torch.manual_seed(0)
    base,xs = make(3, 5, 16),batch(3, 5)
    before = {k: v.clone() for k,v in base.state_dict().items()}
    model = series(base).train()
    trains = {n: p for n,p in model.named_parameters() if p.requires_grad}
    assert {n.split('.')[0] for n in trains} == {'project', 'text_relation', 'text_activity', 'text_action'}
    assert n_params(model, trainable=True) == n_params(base.relation) + (16 + 1)*16 + (8 + 9)*(16 + 1)
    texts,opt = model.text_features.clone(),torch.optim.AdamW(trains.values(), lr=1e-2)
    for _ in range(2):
        opt.zero_grad(); out = model(*xs)
        (out['activity_text'].square().sum() + out['action_text'].square().sum()).backward(); opt.step()
    assert all(p.grad is not None for p in trains.values())
    for k,v in base.state_dict().items(): assert torch.equal(v, before[k]), k
    assert torch.equal(model.text_features, texts)                                      # a buffer: it never learns
    again = model.unplug()
    assert again is base and all(p.requires_grad for p in base.parameters())

def test_series_padding_never_matters():
    torch.manual_seed(0)
    model,(_,boxes,mask) = series(arg(3, 5, 16)).eval(),batch(3, 5)
    action = torch.randn(B, 5, K)
    dirty = torch.where(mask[..., None], action, torch.nan)
    assert torch.equal(model.text_branch(action, boxes, mask)['activity_text'], model.text_branch(dirty, boxes, mask)['activity_text'])

def test_series_without_text_says_nothing():
    assert SeriesCLIP(arg(3, 5, 16), d2=16)(*batch(3, 5))['activity'].isnan().all()

@pytest.mark.parametrize('bank,say', [(TextBank.random(LABELS[:3], dim=16), 'the bank has 3 labels, but ARG has 9 actions'), (TextBank.random(LABELS, dim=32), "width 16, the bank's are 32")])
def test_series_refuses_a_bank_that_does_not_fit(bank, say):
    with pytest.raises(ValueError, match=f'SeriesCLIP: .*{say}'): SeriesCLIP(arg(3, 5, 16), d2=16).set_text(bank)
