"I3D over stages and sizes, its file, and AFormer's two kinds of features: middle frame and clip, fused early or late."
import pytest, torch
from torch import nn
from aclip.models.aformer import AFormer
from aclip.models.fusion import EarlyFusion, LateFusion, MiddleFrame
from aclip.models.backbone import ActorFeatures, Backbone
from aclip.models.base import freeze
from aclip.checkpoint import CheckpointError, load_state, unique_state
from aclip.core import ActivityCLIP
from aclip.models.i3d import I3D, STAGES, ClipFeatures, load_i3d, pad_same
from aclip.text.lora import LoRALinear

@pytest.mark.parametrize('n', range(1, 17))
@pytest.mark.parametrize('k,s', [(7, 2), (3, 1), (3, 2), (2, 2), (1, 1), (1, 2)])
def test_same_padding_gives_n_over_s_outputs_rounded_up(n, k, s):
    x = pad_same(torch.ones(1, n, n, n), (k, 1, k), (s, 1, s))
    assert x.shape[2] == n
    for m in (x.shape[1], x.shape[3]): assert (m - k)//s + 1 == -(-n//s)
    front = (x[0, :, 0, x.shape[3]//2] == 0).float().argmin().item()
    assert front <= x.shape[1] - n - front <= front + 1               # split, the odd one behind

@pytest.mark.parametrize('end,channels,step', [('Conv3d_1a_7x7', 64, 2), ('MaxPool3d_2a_3x3', 64, 2), ('Conv3d_2c_3x3', 192, 2), ('Mixed_3b', 256, 2), ('Mixed_3c', 480, 2),
                                               ('MaxPool3d_4a_3x3', 480, 4), ('Mixed_4e', 528, 4), ('Mixed_4f', 832, 4), ('Mixed_5c', 1024, 8)])
@pytest.mark.parametrize('T', (1, 3, 10))
def test_stages(end, channels, step, T):
    torch.manual_seed(0)
    net = I3D(end).eval()
    assert (net.channels, net.frames_per_slice) == (channels, step)
    with torch.no_grad(): maps = net(torch.randint(256, (1, T, 3, 32, 40), dtype=torch.uint8))
    assert maps.shape[:3] == (1, channels, -(-T//step)) and maps.isfinite().all()

@pytest.mark.parametrize('end', ('Conv3d_2c_3x3', 'Mixed_4f', 'Mixed_5c'))
@pytest.mark.parametrize('zipped', (True, False))
def test_file_with_all_stages_fills_each_net(tmp_path, end, zipped):
    torch.manual_seed(0)
    state = {k: v for k,v in I3D('Mixed_5c').state_dict().items() if 'num_batches' not in k}
    torch.save({**state, 'logits.conv3d.weight': torch.zeros(400, 1024, 1, 1, 1), 'logits.conv3d.bias': torch.zeros(400)}, tmp_path/'rgb.pt', _use_new_zipfile_serialization=zipped)
    net = load_i3d(I3D(end), tmp_path/'rgb.pt')
    assert all(torch.equal(v, state[k]) for k,v in net.state_dict().items() if 'num_batches' not in k)

def test_a_file_that_does_not_fit_raises(tmp_path):
    state = I3D('Mixed_3b').state_dict()
    for name,content in dict(short=state, odd={**I3D().state_dict(), 'Mixed_9z.weight': torch.zeros(1)}, number=torch.zeros(3), nested=dict(state_dict=state)).items():
        torch.save(content, tmp_path/f'{name}.pt')
        with pytest.raises(CheckpointError, match=f'{name}.pt: .*rgb_imagenet.pt'): load_i3d(I3D(), tmp_path/f'{name}.pt')

def batch(T, N=5):
    g = torch.Generator().manual_seed(0)
    c = torch.rand(2, T, N, 2, generator=g)*.6 + .2
    mask = torch.ones(2, N).bool(); mask[1, N-2:] = False
    return torch.randint(256, (2, T, 3, 48, 64), dtype=torch.uint8, generator=g),torch.cat([c - .1, c + .1], -1),mask

def pose(d=16): return MiddleFrame(Backbone('test_resnet', pretrained=False), d)
def motion(d=16): return ClipFeatures(I3D('MaxPool3d_4a_3x3'), d)

@pytest.mark.parametrize('T', (1, 3, 9, 10))
@pytest.mark.parametrize('make', (pose, motion, lambda: EarlyFusion(pose(8), motion(8))))
def test_features_keep_the_contract(T, make):
    torch.manual_seed(0)
    features,(frames,boxes,_) = make().eval(),batch(T)
    with torch.no_grad(): x = features(frames, boxes)
    assert x.shape == (2, T, 5, features.d) and x.isfinite().all()
    with torch.no_grad(): torch.testing.assert_close(features(frames[1:], boxes[1:]), x[1:], rtol=1e-3, atol=1e-3)   # clips are independent

def test_features_of_single_frames_fit_the_middle_frame():
    single = ActorFeatures(Backbone('test_resnet', pretrained=False), 16)
    load_state(pose(), unique_state(single))

def late(): return LateFusion(AFormer(pose(8)), AFormer(motion(16), heads=2))
def early(): return AFormer(EarlyFusion(pose(8), motion(8)))

@pytest.mark.parametrize('make', (early, late))
def test_freezing_reaches_every_backbone(make):
    model = make().train()
    freeze(model.features.backbone)
    frozen = {n for n,p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n,_ in model.named_parameters() if 'backbone' in n} and len(frozen) > 20
    assert not any(m.training for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)))
    assert any('embedding' in n for n,p in model.named_parameters() if p.requires_grad)

@pytest.mark.parametrize('make', (early, late))
def test_fused_models_take_a_text_branch(make):
    torch.manual_seed(0)
    base,xs = make().eval(),batch(3)
    before,state = base(*xs),{k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).eval()
    out = model(*xs)
    assert torch.equal(out['activity_image'], before['activity']) and torch.equal(out['action'], before['action'])
    x = torch.randn(2, 3, 5, base.d)
    assert torch.equal(model.text_relation(x, *xs[1:]), base.relation(x, *xs[1:]))
    model.train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2): opt.zero_grad(); model(*xs)['activity_text'].square().sum().backward(); opt.step()
    assert all(torch.equal(v, state[k]) for k,v in base.state_dict().items())
    adapters = [m for m in model.text_relation.modules() if isinstance(m, LoRALinear)]
    assert len(adapters) == (3 if make is early else 6) and all(m.B.grad.any() for m in adapters)
    A = model.text_relation.interactions(x, *xs[1:])
    assert len(A) == len(adapters)//3
    for a in A.values(): torch.testing.assert_close(a.sum(-1), torch.ones(2, 5))

def test_late_fusion_goes_through_a_checkpoint():
    torch.manual_seed(0)
    a,xs = ActivityCLIP(late(), r=2, d2=16, layers=1, heads=2).eval(),batch(3)
    b = load_state(ActivityCLIP(late(), r=2, d2=16, layers=1, heads=2).eval(), unique_state(a))
    with torch.no_grad(): assert torch.equal(a(*xs)['activity'], b(*xs)['activity'])

def test_branches_of_different_labels_raise():
    with pytest.raises(ValueError, match='LateFusion'): LateFusion(AFormer(pose()), AFormer(pose(), n_actions=4))
    with pytest.raises(ValueError, match='at least one'): LateFusion()

def test_an_unknown_stage_raises():
    with pytest.raises(ValueError, match=f"no stage 'Mixed_9z'; choose one of {', '.join(STAGES)}"): I3D('Mixed_9z')
