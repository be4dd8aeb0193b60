"The distillation loss over sizes, against torch's own divergence and cross entropy."
import pytest, torch
import torch.nn.functional as F
from aclip.text.distill import kd_loss, kd_target

def pairs(M, D, K, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(M, D, generator=g),torch.randn(M, D, generator=g),torch.randint(K, (M,), generator=g)

def sims(text, E, tau): return F.normalize(E, dim=-1) @ F.normalize(text, dim=-1).T / tau

@pytest.mark.parametrize('tau', (1., .07, .01))
@pytest.mark.parametrize('target', ('uniform', 'softmax'))
@pytest.mark.parametrize('M,D,K', [(1, 4, 1), (12, 8, 9), (60, 16, 9), (33, 5, 40)])
def test_is_torchs_batchmean(M, D, K, tau, target):
    text,E,actions = pairs(M, D, K)
    S,G = sims(text, E, tau),kd_target(actions, torch.ones(M).bool(), target)
    want = sum(F.kl_div(s.log_softmax(-1), G, reduction='batchmean') for s in (S, S.T))/2
    torch.testing.assert_close(kd_loss(text, E, actions, tau=tau, target=target), want, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('M', (1, 2, 9, 40))
def test_one_hot_is_cross_entropy(M):
    text,E,_ = pairs(M, 16, 1)
    S,y = sims(text, E, .1),torch.arange(M)
    torch.testing.assert_close(kd_loss(text, E, y, tau=.1), (F.cross_entropy(S, y) + F.cross_entropy(S.T, y))/2, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('shape', [(8,), (2, 3, 4), (4, 12)])
@pytest.mark.parametrize('junk', (0., 1e4, float('inf'), float('nan')))
def test_padding_takes_no_part(shape, junk):
    M = torch.Size(shape).numel()
    text,E,actions = pairs(M, 8, 3)
    mask = torch.rand(M, generator=torch.Generator().manual_seed(1)) < .6
    mask[0] = True
    want = kd_loss(text[mask], E[mask], actions[mask])
    dirty = text.masked_fill(~mask[:, None], junk).view(*shape, 8).requires_grad_()
    got = kd_loss(dirty, E.view(*shape, 8), actions.masked_fill(~mask, -100).view(shape), mask.view(shape))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    got.backward()
    grad = dirty.grad.view(M, 8)
    assert not grad[~mask].any() and grad.isfinite().all()

def test_half_precision_changes_nothing():
    text,E,actions = pairs(24, 16, 5)
    with torch.autocast('cpu', dtype=torch.bfloat16): inside = kd_loss(text, E, actions)
    assert torch.equal(inside, kd_loss(text, E, actions))

def test_tau_can_learn():
    text,E,actions = pairs(12, 8, 3)
    log_tau = torch.zeros((), requires_grad=True)
    kd_loss(text, E, actions, tau=log_tau.exp()).backward()
    assert log_tau.grad.abs() > 0

def test_unknown_target():
    with pytest.raises(ValueError, match="'uniform' or 'softmax'"): kd_loss(*pairs(4, 4, 2), target='onehot')
