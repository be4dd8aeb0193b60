"Both relations in one pass: the same results as two passes, and only where nothing trains."
import pytest, torch
from torch import nn
from helpers import BoxFeatures, batch
from aclip.core import ActivityCLIP
from aclip.evaluate.one_pass import forward_in_one_pass, one_pass, relate_both
from aclip.models.aformer import AFormer
from aclip.models.arg import ARG
from aclip.models.dualai import DualAI
from aclip.text.lora import LoRALinear

B,K,G = 2,9,8

def arg(T, N, d): return ARG(BoxFeatures(d), G, K, n_graphs=3, d_k=8, n_frames=T, n_actors=N)
def aformer(T, N, d): return AFormer(BoxFeatures(d), G, K, layers=2)
def dualai(T, N, d): return DualAI(BoxFeatures(d), G, K, n_frames=T)

ours = pytest.mark.parametrize('make', (arg, aformer, dualai))

def adapters(model): return [m for m in model.text_relation.modules() if isinstance(m, LoRALinear)]

def trained(model):
    "Updates that change the output."
    for m in adapters(model): nn.init.normal_(m.B, std=.2)
    return model.eval()

@ours
@pytest.mark.parametrize('groups', (1, 3))
@pytest.mark.parametrize('masked', (True, False))
def test_one_pass_is_two(make, groups, masked):
    torch.manual_seed(0)
    model = trained(ActivityCLIP(make(3, 5, 32), r=2, d2=16, layers=1, heads=2, text_actions=True))
    frames,boxes,mask = batch(3*groups, 5)
    mask = mask if masked else None
    x,z = torch.randn(2, B, 3*groups, 5, 32)
    with torch.no_grad():
        image,text = relate_both(model.text_relation, x, z, boxes, mask)
        torch.testing.assert_close(image, model.relation(x, boxes, mask), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(text, model.text_relation(z, boxes, mask), rtol=1e-5, atol=1e-5)
        assert (text - model.relation(z, boxes, mask)).abs().max() > 1e-2                 # the update is in it
        two = model(frames, boxes, mask)
        with one_pass(model): one = model(frames, boxes, mask)
        same = forward_in_one_pass(model, frames, boxes, mask)
    assert one.keys() == two.keys() == same.keys()
    for k in two:
        torch.testing.assert_close(one[k], two[k], rtol=1e-5, atol=1e-5)
        assert torch.equal(one[k], same[k])

@ours
def test_one_pass_stays_out_of_training(make, monkeypatch):
    def never(*args): raise AssertionError('one pass where something learns')
    monkeypatch.setattr('aclip.evaluate.one_pass.relate_both', never)
    model,xs = ActivityCLIP(make(3, 5, 16), r=2, d2=16, layers=1, heads=2),batch(3, 5)
    with one_pass(model):
        model.train()(*xs)['activity_text'].sum().backward()
        model.eval()(*xs)['activity_text'].sum().backward()                                # gradients in eval mode
        with torch.no_grad():
            model.train()(*xs)                                                            # dropout would reach the image branch
            with pytest.raises(AssertionError): model.eval()(*xs)
    with torch.no_grad(): model.eval()(*xs)                                               # after the block: two passes again
    scratch = ActivityCLIP(make(3, 5, 16), adapt='scratch', d2=16, layers=1, heads=2).eval()
    with torch.no_grad(), one_pass(scratch): scratch(*xs)                                 # no W0 is shared

def test_one_pass_leaves_the_view_as_it_was_after_an_error():
    model,(_,boxes,mask) = trained(ActivityCLIP(arg(3, 5, 16), r=2, d2=16, layers=1, heads=2)),batch(3, 5)
    with pytest.raises(ValueError): relate_both(model.text_relation, *torch.randn(2, B, 3, 5, 8), boxes, mask)
    with pytest.raises(ValueError, match='4 frames'), torch.no_grad(), one_pass(model): model(*batch(4, 5))
    assert not any('forward' in vars(m) for m in (model, *adapters(model)))
    x = torch.randn(B, 3, 5, 16)
    assert not torch.equal(model.text_relation(x, boxes, mask), model.relation(x, boxes, mask))

def test_blocks_of_one_pass_nest():
    model,xs = trained(ActivityCLIP(arg(3, 5, 16), r=2, d2=16, layers=1, heads=2)),batch(3, 5)
    with torch.no_grad():
        two = model(*xs)
        with one_pass(model):
            with one_pass(model): inner = model(*xs)
            assert 'forward' in vars(model)
    torch.testing.assert_close(inner['activity'], two['activity'], rtol=1e-5, atol=1e-5)
    assert 'forward' not in vars(model)
