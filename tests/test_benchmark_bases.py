"Base models of the benchmark beside the paper's three: padding, plugging in, which actors an actor attends to, and bad input."
from functools import partial
import pytest, torch
from torch import nn
from aclip.core import ActivityCLIP
from aclip.models.bilinear import STBiPRelation
from aclip.models.actors import ORDERS, actor_order, take_actors
from aclip.models.dualai import DualAI
from aclip.models.din import DINRelation, make_din
from aclip.models.groupformer import GroupFormer, GroupFormerRelation
from aclip.models.higcin import HiGCINRelation, make_higcin
from aclip.models.pctdm import PCTDM, PCTDMRelation
from aclip.models.position_gin import PositionGIN, PositionGINRelation
from aclip.models.registry import BASES
from aclip.models.stbip import STBiP
from aclip.models.stt import STT, STTRelation
from aclip.models.tce import make_tce
from aclip.text.lora import LoRALinear, lora_view
from helpers import BoxFeatures, batch

B,T,N,D = 2,4,6,16
GROUP = dict(blocks=2, heads=4, d_ff=32, clusters=3, window=2)
din = partial(DINRelation, D, T, N)
# Relation, with every choice that reads the mask in another way
RELATIONS = {'din': din, 'din by place': partial(din, order='x'), 'din actor': partial(din, layer_norm='actor'), 'din features': partial(din, layer_norm='features', residual='outside'),
             'din parallel': partial(din, fields='parallel', border='double'), 'din factorised': partial(din, fields='factorised', ratios=(1, 2), beta=True), 'din sum': partial(din, mode='sum'),
             'din kernel 1 5': partial(din, kernel=(1, 5)), 'higcin': partial(HiGCINRelation, D), 'higcin benchmark': partial(HiGCINRelation, D, 'benchmark'),
             'higcin spatial': partial(HiGCINRelation, D, mode='spatial'), 'higcin all': partial(HiGCINRelation, D, mode='all'),
             'groupformer': partial(GroupFormerRelation, D, **GROUP), 'groupformer ema': partial(GroupFormerRelation, D, **GROUP, update='ema', scene='none', places=False),
             'position gin': partial(PositionGINRelation, D, 3, k=2), 'position gin near': partial(PositionGINRelation, D, 3, 'near'), 'position gin all': partial(PositionGINRelation, D, 3, 'all'), 'stt': partial(STTRelation, D, 2, 4),
             'pctdm': partial(PCTDMRelation, D, 8), 'pctdm one team': partial(PCTDMRelation, D, 8, teams=1), 'pctdm listed': partial(PCTDMRelation, D, 8, 'list', form='benchmark'),
             **{f'stbip {k}': partial(STBiPRelation, D, 2, 8, **v) for k,v in dict(sum={}, cat=dict(fusion='cat'), near=dict(reach=.5), frame=dict(n_frames=1)).items()}}
MODELS = {'din': partial(make_din, n_actors=N, n_frames=T), 'din lite': partial(make_din, n_actors=N, n_frames=T, lite=8), 'higcin': make_higcin, 'higcin benchmark': partial(make_higcin, form='benchmark', teams=2),
          'groupformer': partial(GroupFormer, **GROUP), 'groupformer ema': partial(GroupFormer, **GROUP, update='ema'),
          'position gin': partial(PositionGIN, layers=2), 'stt': partial(STT, layers=1, heads=4), 'stt narrow': partial(STT, width=8, layers=1, heads=4),
          'pctdm': partial(PCTDM, hidden=8), 'pctdm benchmark': partial(PCTDM, hidden=8, n_frames=T, order='list', form='benchmark'),
          'stbip': partial(STBiP, n_heads=2, d_message=8), 'stbip cat': partial(STBiP, n_heads=2, d_message=32, fusion='cat'),
          'dualai options': partial(DualAI, n_frames=T, between=True, fusion='cat', negatives='frames'),
          'tce': partial(make_tce, n_heads=2, d_message=16)}

def randomised(m):
    "With random parameters, also where training starts at zero."
    torch.manual_seed(0)
    for p in m.parameters(): nn.init.normal_(p, std=.3)
    return m

def padded(gap):
    "Boxes and a mask; the padding of the second clip is at the end of the list, or between real actors."
    _,boxes,mask = batch(T, N)
    if gap: mask = mask[:, [4, 0, 1, 5, 2, 3]]
    return boxes,mask

@pytest.mark.parametrize('training', (False, True), ids=('eval', 'train'))
@pytest.mark.parametrize('gap', (False, True), ids=('end', 'between'))
@pytest.mark.parametrize('name', RELATIONS)
def test_padded_actors_never_matter(name, gap, training):
    rel = randomised(RELATIONS[name]()).train(training)
    for m in rel.modules():
        if isinstance(m, nn.Dropout): m.p = 0.
    boxes,mask = padded(gap)
    x = torch.randn(B, T, N, D)
    real = mask[:, None, :, None]
    dirty,boxes_ = torch.where(real, x, torch.nan).requires_grad_(),torch.where(real, boxes, torch.nan)
    y,z = rel(x, boxes, mask),rel(dirty, boxes_, mask)
    torch.testing.assert_close(z, y, rtol=1e-5, atol=1e-6)
    assert z.isfinite().all() and not z.masked_select(~real).any()
    g, = torch.autograd.grad(z.square().sum(), dirty)
    assert g.isfinite().all() and not g.masked_select(~real).any()

@pytest.mark.parametrize('gap', (False, True), ids=('end', 'between'))
@pytest.mark.parametrize('name', [name for name in RELATIONS if name in ('din actor', 'din features', 'pctdm', 'pctdm one team') or name.startswith(('higcin', 'position', 'stt', 'groupformer'))])
def test_padding_is_as_if_it_were_not_there(name, gap):
    rel = randomised(RELATIONS[name]()).eval()
    boxes,mask = padded(gap)
    x = torch.randn(B, T, N, D)
    few = mask[1].nonzero()[:, 0]
    torch.testing.assert_close(rel(x, boxes, mask)[1:, :, few], rel(x[1:, :, few], boxes[1:, :, few]), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('name', RELATIONS)
def test_interactions(name):
    rel = randomised(RELATIONS[name]()).eval()
    boxes,mask = padded(True)
    x = torch.randn(B, T, N, D)
    R, = rel.interactions(x, boxes, mask).values()
    assert R.shape == (B, N, N) and (R >= 0).all()
    sums = R.sum(-1)
    assert ((sums - mask.float()).abs() < 1e-5).logical_or(sums == 0).all()             # a field may read no actor at all
    assert not R.masked_select(~mask[:, None]).any() and not R.masked_select(~mask[..., None]).any()
    view = lora_view(rel, 2)
    assert type(view) is type(rel) and torch.equal(next(iter(view.interactions(x, boxes, mask).values())), R)

@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
@pytest.mark.parametrize('name', ('din', 'din by place', 'higcin', 'higcin benchmark', 'position gin', 'stt', 'pctdm'))
def test_half_precision(name, dtype):
    rel = RELATIONS[name]().eval()
    boxes,mask = padded(False)
    x = torch.randn(B, T, N, D)
    want = rel(x, boxes, mask)
    with torch.autocast('cpu', dtype=dtype): got = rel(x, boxes, mask)
    assert got.isfinite().all() and (got - want).norm()/want.norm() < .05

@pytest.mark.parametrize('name', MODELS)
def test_plugged_in_and_out(name):
    "Both branches run, the image branch stays as it is to the bit, every adapter gets a gradient."
    base = randomised(MODELS[name](BoxFeatures(D))).eval()
    inputs = batch(T, N)
    with torch.no_grad(): before = base(*inputs)                                        # oneDNN's LSTM rounds otherwise where gradients are on
    state = {k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        opt.zero_grad()
        out = model(*inputs)
        out['activity_text'].square().sum().backward()
        opt.step()
    assert torch.equal(out['activity_image'], before['activity'])
    adapters = {n: m for n,m in model.text_relation.named_modules() if isinstance(m, LoRALinear)}
    targets = tuple(base.lora_targets)
    assert len(adapters) == sum(isinstance(m, nn.Linear) and n.endswith(targets or '') for n,m in base.relation.named_modules())
    for n,m in adapters.items(): assert m.A.weight.grad.any() and m.B.grad.any(), n
    for k,v in base.state_dict().items(): assert torch.equal(v, state[k]), k
    with torch.no_grad(): after = model.unplug()(*inputs)
    assert all(torch.equal(after[k], before[k]) for k in before)

def test_batchnorm_of_a_single_actor_in_training():
    rel = randomised(HiGCINRelation(D)).train()
    x,boxes = torch.randn(1, 1, 1, D),torch.rand(1, 1, 1, 4)
    assert rel(x, boxes).isfinite().all()

@pytest.mark.parametrize('by', ORDERS)
def test_order_and_back(by):
    boxes,mask = padded(True)
    x = torch.randn(B, T, N, D)
    order = actor_order(boxes, mask, by)
    assert torch.equal(mask.gather(1, order), mask.sort(-1, descending=True)[0])
    assert torch.equal(take_actors(take_actors(x, order), order.argsort(-1)), x)

@pytest.mark.parametrize('make,message', [
    (lambda: DINRelation(D, kernel=(2, 3)), 'two odd sizes'), (lambda: DINRelation(D, ratios=()), 'no ratios'), (lambda: DINRelation(D, ratios=(0,)), '1 or more'),
    (lambda: DINRelation(D, fields='two'), "fields is 'two'"), (lambda: DINRelation(D, mode='none'), "mode is 'none'"), (lambda: DINRelation(D, order='y'), "order is 'y'"),
    (lambda: DINRelation(D, layer_norm='rows'), "'rows'"), (lambda: HiGCINRelation(5), 'odd'), (lambda: HiGCINRelation(D, 'own'), "form is 'own'"),
    (lambda: HiGCINRelation(D, 'benchmark', 'all'), 'no mode'), (lambda: make_higcin(BoxFeatures(D), body=True), 'body=False'),
    (lambda: make_higcin(BoxFeatures(D), teams=2)(*batch(T, 5)), '5 actors cannot be cut into 2'),
    (lambda: PCTDM(BoxFeatures(D), hidden=8, order='list')(*batch(T, 5)), 'list of 5 actors cannot'), (lambda: PCTDM(BoxFeatures(D), hidden=8, form='benchmark')(*batch(T, N)), 'made for 10 frames, got 4'),
    (lambda: make_din(BoxFeatures(D), n_actors=N, n_frames=T)(*batch(T, 5)), 'made for 6 actors, got 5'),
    (lambda: make_din(BoxFeatures(D), n_actors=N, n_frames=T, lite=8)(*batch(3, N)), 'made for 4 frames, got 3')])
def test_bad_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message): make()

@pytest.mark.parametrize('name', BASES)
def test_any_size(name):
    "With the arguments that an entry names, a relation takes any number of frames and actors."
    rel = BASES[name].relation(D*4, **BASES[name].any_size).eval()
    for t,n in ((3, 2), (6, 7)):
        x = torch.randn(1, t, n, D*4)
        assert rel(x, torch.rand(1, t, n, 4)).shape == (1, t, n, getattr(rel, 'd_out', D*4))
