"TCE with the map of the frame: padding, text branches after a forward pass with gradients, stores of features, checkpoints."
import pytest, torch
from aclip.config import Config
from aclip.core import ActivityCLIP
from aclip.data.loaders import clip_dls
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.data.volleyball import read_volleyball
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.models.base import BaseModel
from aclip.models.bilinear import STBiPRelation
from aclip.models.tce import TCE, make_tce
from aclip.train.extract import on_store
from aclip.train.frozen import FrozenPart
from aclip.train.run import RunConfig
from aclip.train.store import FeatureStore
from aclip.zoo import create_model, load_model, save_model
from helpers import BoxFeatures, batch

B,T,N,D,C = 2,3,6,16,8
SIZE = (90, 160)
SMALL = dict(context_heads=2, d_context=8, n_heads=2, d_message=16)

class MapFeatures(BoxFeatures):
    "Actor features from boxes, and a map of each frame made of its number; NaN at padded boxes, which are NaN."
    def __init__(self, d):
        super().__init__(d)
        self.backbone.channels,self.seen = C,0
    def maps(self, frames):
        self.seen += 1
        return torch.randn(*frames.shape[:2], C, 4, 5, generator=torch.Generator().manual_seed(0))
    def forward(self, frames, boxes, maps=None): return super().forward(frames, boxes)

def made(**kw):
    torch.manual_seed(0)
    return make_tce(MapFeatures(D), **{**SMALL, **kw})

@pytest.mark.parametrize('more', (dict(), dict(context_layers=2), dict(fusion='cat')), ids=('one layer', 'two layers', 'cat'))
def test_padded_actors_never_matter(more):
    base = made(**more).eval()
    frames,boxes,mask = batch(T, N)
    mask = mask[:, [4, 0, 1, 5, 2, 3]]
    real = mask[:, None, :, None]
    want,got = base(frames, boxes, mask),base(frames, torch.where(real, boxes, torch.nan), mask)
    few = mask[1].nonzero()[:, 0]
    maps = base.features.maps(frames)
    x = base.embed(frames[1:], boxes[1:, :, few], maps=maps[1:])
    alone,_ = base.classify(base.relation(x, boxes[1:, :, few]))
    torch.testing.assert_close(alone, want['activity'][1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got['activity'], want['activity'])
    y = base.embed(frames, torch.where(real, boxes, torch.nan), mask)
    assert y.isfinite().all() and not y.masked_select(~real).any()

def test_the_map_is_computed_once_or_given():
    base = made().eval()
    frames,boxes,mask = batch(T, N)
    maps = base.features.maps(frames)
    base.features.seen = 0
    x = base.embed(frames, boxes, mask)
    assert base.features.seen == 1
    assert torch.equal(base.embed(frames, boxes, mask, maps=maps), x) and base.features.seen == 1

@pytest.mark.parametrize('method', ('lora', 'scratch'))
def test_a_text_branch_plugs_in_after_a_forward_pass_with_gradients(method):
    base = made().train()
    inputs = batch(T, N)
    sum(v.square().sum() for v in base(*inputs).values()).backward()
    base.eval()
    before = base(*inputs)
    assert before['activity'].requires_grad
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2, adapt=method).train()
    for _ in range(2):
        out = model(*inputs)
        out['activity_text'].square().sum().backward()
    assert torch.equal(out['activity_image'], before['activity'])
    assert not any(p.requires_grad for p in base.parameters())
    after = model.unplug()(*inputs)
    assert all(torch.equal(after[k], before[k]) for k in before) and all(p.requires_grad for p in base.parameters())

def test_a_failed_plug_leaves_the_base_as_it_was():
    base = made().train()
    inputs = batch(T, N)
    base(*inputs)['activity'].sum().backward()
    state = {k: v.clone() for k,v in base.state_dict().items()}
    with pytest.raises(ValueError, match='r=99'): ActivityCLIP(base, r=99, d2=16, layers=1, heads=2)
    assert all(p.requires_grad for p in base.parameters())
    assert all(torch.equal(v, state[k]) for k,v in base.state_dict().items())

def test_a_relation_of_ones_own_that_keeps_a_result():
    "Even a relation that leaves a tensor with a graph on itself is copied."
    class Keeps(STBiPRelation):
        def forward(self, x, boxes, mask=None):
            self.kept = super().forward(x, boxes, mask)
            return self.kept
    tce = made()
    base = TCE(tce.features, tce.context, Keeps(tce.d, 2, 16))
    inputs = batch(T, N)
    base(*inputs)['activity'].sum().backward()
    assert ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).eval()(*inputs)['activity'].isfinite().all()

def test_without_a_map():
    assert type(make_tce(BoxFeatures(D))) is BaseModel and type(made(context=False)) is BaseModel and type(made()) is TCE
    with pytest.raises(ValueError, match="BoxFeatures has no map of the frame; choose context=False"): make_tce(BoxFeatures(D), context=True)
    odd = MapFeatures(D)
    odd.backbone.channels = 6
    with pytest.raises(ValueError, match='6 channels'): make_tce(odd)
    config = Config(list(ACTIVITIES), list(ACTIONS), model='tce', features='boxes', step=2)
    assert config.relation['context'] is False and type(create_model(config)) is BaseModel

@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
def test_half_precision(dtype):
    base = made().eval()
    inputs = batch(T, N)
    want = base(*inputs)['activity']
    with torch.autocast('cpu', dtype=dtype): got = base(*inputs)['activity']
    assert (got - want).norm()/want.norm() < .05


# On frames

def config(step, features='actor'):
    return Config(list(ACTIVITIES), list(ACTIONS), step=step, model='tce', features=features, backbone='test_resnet', d=16, crop=3 if features == 'actor' else 24, size=SIZE,
                  n_frames=(3, 3), relation=SMALL, text=dict(d2=16, r=2, layers=1, heads=2) if step == 3 else {})

def build(step, features='actor'):
    torch.manual_seed(0)
    return create_model(config(step, features)).eval()

@pytest.fixture(scope='module')
def world(tmp_path_factory): return make_world(tmp_path_factory.mktemp('world')/'world', clips=6, videos=3, size=SIZE, workers=0, progress=False)

@pytest.fixture(scope='module')
def clips(world): return read_volleyball(world, range(55), frames='available')

@pytest.mark.parametrize('features', ('actor', 'person'))
def test_scores_from_a_store_of_actors_are_those_from_frames(clips, features):
    model = build(3, features)
    assert type(model.base) is TCE
    dls = clip_dls(clips[:4], clips[4:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=12)
    batch = next(iter(dls.valid))
    direct = model(*batch[:3])
    with on_store(model, dls, FeatureStore(dtype='float32', channels_last=False), workers=0) as loaders:
        stored = next(iter(loaders.valid))
        assert stored[0].shape[-1] == model.base.d
        again = model(*stored[:3])
        model.train()
        model(*stored[:3])['activity'].sum().backward()
    for k in ('activity', 'action', 'activity_text'): torch.testing.assert_close(again[k], direct[k], rtol=1e-4, atol=1e-5)

def test_the_encoding_is_part_of_the_fingerprint():
    model = build(2)
    before = FrozenPart(model, 'actors').fingerprint
    next(model.context.parameters()).data += 1e-6
    assert FrozenPart(model, 'actors').fingerprint != before

def test_crops_cannot_be_stored(clips, world, tmp_path):
    for step in (2, 3):
        with pytest.raises(ValueError, match="TCE reads the whole feature map of a frame, not only crops"): FrozenPart(build(step), 'crops')
    dls = clip_dls(clips[:4], clips[4:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=12)
    with pytest.raises(ValueError, match='step 2 without a store'):
        with on_store(build(2), dls, FeatureStore(), workers=0): pass

def test_a_run_with_a_store_is_refused_before_it_starts(world, tmp_path):
    source = ClipSource(world, available=True)
    with pytest.raises(ValueError, match='step 2 without a store'): RunConfig(source, config(2), tmp_path/'out', [1, 2], store=FeatureStore())
    RunConfig(source, Config(**{**config(2).to_dict(), 'relation': dict(context=False, n_heads=2, d_message=16)}), tmp_path/'out', [1, 2], store=FeatureStore())

@pytest.mark.parametrize('features', ('actor', 'person'))
def test_a_checkpoint_alone_gives_it_back(clips, features, tmp_path):
    model = build(3, features)
    again,_,_ = load_model(save_model(tmp_path/'m.safetensors', model, config(3, features)))
    dls = clip_dls(clips[:4], clips[4:], bs=2, size=SIZE, n_frames=(3, 3), num_workers=0, n_actors=12)
    inputs = next(iter(dls.valid))[:3]
    assert torch.equal(model(*inputs)['activity'], again(*inputs)['activity'])
