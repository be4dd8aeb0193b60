"What cannot work is refused by a sentence that names the module and what would do: on all base models, alone and under both text branches."
from functools import partial
import pytest, torch
from torch import nn
from aclip.models.aformer import AFormer
from aclip.models.arg import ARG
from aclip.models.base import ActivityClassifier, BaseNet
from aclip.text.bank import TextBank
from aclip.core import ActivityCLIP
from aclip.models.series import SeriesCLIP
from aclip.data.clips import Clip, DataError
from aclip.models.dualai import DualAI
from aclip.layers import check_mask
from aclip.text.lora import LoRALinear

B,T,N,D,G,K = 2,3,5,16,8,9
BASES = dict(arg=partial(ARG, n_graphs=2, d_k=8, n_actors=N), aformer=AFormer, dualai=DualAI)
RELATION = dict(arg='ARGRelation', aformer='AFormerRelation', dualai='DualAIRelation')
LORA = dict(arg='relation.theta', aformer='relation.blocks.0.attention.W_q', dualai='relation.transformers.ST.S.attention.W_q')

class BoxFeatures(nn.Module):
    "Actor features from boxes, in place of a backbone."
    def __init__(self, d=D): super().__init__(); self.d,self.linear = d,nn.Linear(4, d)
    def forward(self, frames, boxes): return self.linear(boxes)

def make(name, **kw):
    torch.manual_seed(0)
    return BASES[name](BoxFeatures(), G, K, **kw)

def plug(base, **kw): return ActivityCLIP(base, **{**dict(r=2, d2=16, layers=1, heads=2), **kw})
def series(base): return SeriesCLIP(base, d2=16).set_text(TextBank.random([f'action {k}' for k in range(K)], dim=16))

def batch(T=T, N=N):
    xy = torch.rand(B, T, N, 2)*.8
    return torch.zeros(B, T, 3, 1, 1, dtype=torch.uint8),torch.cat([xy, xy + .1], -1),torch.ones(B, N).bool()

each_base = pytest.mark.parametrize('name', BASES)
each_model = pytest.mark.parametrize('wrap', (lambda b: b, plug, lambda b: plug(b, adapt='scratch'), series), ids=('alone', 'aclip', 'scratch', 'series'))
def refused(say): return pytest.raises(ValueError, match=say)


# When a text branch is plugged in

class Nothing(nn.Module): "A module that is no image branch."

@pytest.mark.parametrize('wrap', (plug, lambda b: plug(b, adapt='scratch'), lambda b: SeriesCLIP(b, d2=16)), ids=('aclip', 'scratch', 'series'))
@pytest.mark.parametrize('base,say', [(lambda: BaseNet(BoxFeatures(), G, K), 'NoRelation has no'), (Nothing, 'Nothing is no image branch: it has no embed, classify, d')])
def test_base_without_a_relation(wrap, base, say):
    with refused(say): wrap(base())

@each_base
def test_base_whose_relation_is_elsewhere(name):
    base = make(name)
    with refused(f"{type(base).__name__} has no module 'graph'; its own are features, relation, .*. Give relation="): plug(base, relation='graph')
    with refused(f"{type(base).__name__} has no module 'relation.nowhere'"): plug(base, relation='relation.nowhere')
    with refused(f'the Linear given as relation is not inside {type(base).__name__}'): plug(base, relation=nn.Linear(2, 2))

@each_base
def test_relation_without_linear_layers(name):
    base = make(name)
    base.relation = nn.LayerNorm(D)
    with refused('LayerNorm has no nn.Linear inside'): plug(base)

@each_base
def test_targets_that_do_not_exist(name):
    with refused(f"no linear map of {RELATION[name]} is called 'query'; it has "): plug(make(name), targets=('query',))

@each_base
@pytest.mark.parametrize('r', (0, -1, D + 1, 1000))
def test_rank_that_does_not_fit(name, r):
    with refused(f'{LORA[name]}: rank r={r} does not fit a map .* choose 1 <= r <= '): plug(make(name), r=r)

@each_base
def test_a_refusal_leaves_nothing_behind(name):
    base,xs = make(name).eval(),batch()
    before = base(*xs)['activity']
    for kw in (dict(r=1000), dict(relation='nowhere'), dict(targets=('query',)), dict(adapt='x')):
        with pytest.raises(ValueError): plug(base, **kw)
    assert torch.equal(base(*xs)['activity'], before) and not any(isinstance(m, LoRALinear) for m in base.modules())
    assert all(p.requires_grad for p in base.parameters())

@pytest.mark.parametrize('build', (lambda: plug(make('arg'), adapt='full'), lambda: plug(make('arg'), heads=3)), ids=('adapt', 'heads'))
def test_arguments(build):
    with refused("choose 'lora' or 'scratch'|Attention: width 16 cannot be split into 3 heads"): build()

@pytest.mark.parametrize('paths,say', [(('ST', 'SS'), "there is no path 'SS'; choose from ST, TS"), (('st',), "there is no path 'st'"), ((), 'no path is given')])
def test_paths_of_dualai(paths, say):
    with refused(f'DualAIRelation: {say}'): make('dualai', paths=paths)


# When a batch comes

@each_base
@each_model
def test_a_clip_without_an_actor(name, wrap):
    model,(frames,boxes,mask) = wrap(make(name)),batch()
    mask[1] = False
    for mode in (True, False):
        with refused(f'{RELATION[name]}: clip 1 of the batch has no actor'): model.train(mode)(frames, boxes, mask)

def test_a_clip_without_an_actor_in_step_one():
    frames,boxes,mask = batch()
    mask[0] = False
    with refused('ActivityClassifier: clip 0 of the batch has no actor'): BaseNet(BoxFeatures(), G, K)(frames, boxes, mask)
    with refused('ActivityClassifier: clip 0'): ActivityClassifier(D, G)(torch.zeros(B, T, N, D), mask)

def test_a_clip_without_an_actor_is_refused_before_any_model():
    import numpy as np
    with pytest.raises(DataError, match='at least one frame and one actor'): Clip('a/b', ('0.jpg',), np.zeros((1, 0, 4), np.float32), np.zeros(0, int), 0, (720, 1280))

def test_a_gpu_is_not_waited_for():
    "On CUDA the mask is looked at by the device: no value is asked for here."
    class OnCuda:
        asked = False
        is_cuda = True
        def any(self, dim): return self
        def all(self): return torch.tensor(False)
        def __bool__(self): OnCuda.asked = True; return True
    with pytest.raises(RuntimeError, match='Linear: a clip of the batch has no actor'): check_mask(nn.Linear(2, 2), OnCuda())   # here the CPU's version of that check
    assert not OnCuda.asked

@each_base
@each_model
def test_other_numbers_of_frames_and_actors(name, wrap):
    "A multiple of the frames trained with is always welcome; what a layer fixes is said."
    model = wrap(make(name)).eval()
    assert model(*batch(T=9))['activity'].isfinite().all()
    bad = dict(arg=[(4, N, 'ARGRelation: 4 frames cannot be cut into graphs of 3'), (1, N, 'ARGRelation: 1 frames'), (3, N + 1, f'ARGRelation: LayerNorm over .* was made for {N} actors a frame, got {N + 1}; pad to {N}'), (3, 1, 'got 1')],
               aformer=[], dualai=[(4, N, 'DualAIRelation: 4 frames cannot be cut into groups of 3'), (1, N, 'DualAIRelation: 1 frames')])[name]
    for t,n,say in bad:
        with refused(say): model(*batch(t, n))
    for t,n in dict(arg=[], aformer=[(1, 1), (10, 12)], dualai=[(3, 1), (3, 12)])[name]: assert model(*batch(t, n))['activity'].isfinite().all()

@each_base
def test_features_boxes_and_mask_that_do_not_fit(name):
    relation,(_,boxes,mask),x = make(name).relation,batch(),torch.randn(B, T, N, D)
    R = RELATION[name]
    for args,say in (((x[..., :8], boxes, mask), 'made for features of width 16, got 8'), ((x, boxes[:, :1], mask), 'features of .* and boxes of .* one box for each feature'),
                     ((x, boxes[:, :, :2], mask), 'and boxes of'), ((x, boxes, mask[:, :2]), r'a mask of \(2, 2\); give one of \(2, 5\)'), ((x[0], boxes[0], mask), 'features must be')):
        with refused(f'{R}: .*{say}'): relation(*args)
        with refused(f'{R}: .*{say}'): relation.interactions(*args)
