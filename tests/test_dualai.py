"Dual-AI over sizes: its transformers against torch's, its losses against loops, its place in ActivityCLIP, in training and in a file."
import copy, itertools, math
from pathlib import Path
import numpy as np
import pytest, torch
import torch.nn.functional as F
from torch import nn
from helpers import BoxFeatures, batch
from aclip.models.arg import ARG
from aclip.cli import parse
from aclip.core import ActivityCLIP
from aclip.data.clips import Clip
from aclip.data.loaders import clip_dls
from aclip.models.dualai import DualAI, DualAIRelation, SpatialTransformer, TemporalTransformer
from aclip.models.dualai_losses import PARTS, check_known, contrastive_loss, info_nce
from aclip.train.callbacks import ExtraLosses
from aclip.train.losses import PartLoss
from aclip.evaluate.scores import predict_scores, report
from aclip.train.learner import relation_learner
from aclip.text.lora import LoRALinear, lora_view
from aclip.config import Config
from aclip.zoo import create_model, load_model, save_model

B,K,G = 2,9,8

def one_path(p): return dict(paths=(p,), joint=0, parts=())
sizes = pytest.mark.parametrize('T,N,d,kw', [(3, 12, 16, {}), (9, 5, 32, dict(heads=2)), (2, 4, 8, dict(n_frames=2, bias=True)), (10, 3, 16, dict(n_frames=10, encodings=())),
    (3, 5, 16, one_path('ST')), (3, 5, 16, one_path('TS')), (3, 5, 16, dict(between=True, fusion='cat')), (6, 4, 8, dict(between=True, negatives='frames')), (3, 4, 8, dict(fusion='cat', negatives='frames', parts=('frame-frame',)))])
def make(d, **kw):
    torch.manual_seed(0)
    return DualAI(BoxFeatures(d), G, K, **kw)


# In ActivityCLIP

@sizes
def test_plugging_in_changes_nothing(T, N, d, kw):
    base,xs = make(d, **kw).eval(),batch(T, N)
    before = base(*xs)
    out = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2)(*xs)
    assert torch.equal(out['activity_image'], before['activity']) and torch.equal(out['action'], before['action'])
    assert torch.equal(out['activity'], out['activity_image'] + out['activity_text'])

@sizes
def test_without_B_the_view_is_the_relation(T, N, d, kw):
    model,(_,boxes,mask) = ActivityCLIP(make(d, **kw), r=2, d2=16, layers=1, heads=2).eval(),batch(T, N)
    x = torch.randn(B, T, N, d)
    assert torch.equal(model.text_relation(x, boxes, mask), model.relation(x, boxes, mask))
    ours,theirs = (r.interactions(x, boxes, mask) for r in (model.text_relation, model.relation))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)

@sizes
def test_adapters_learn_and_the_image_branch_stays(T, N, d, kw):
    base,xs = make(d, **kw),batch(T, N)
    before = {k: v.clone() for k,v in base.state_dict().items()}
    model = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2).train()
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3): opt.zero_grad(); model(*xs)['activity_text'].square().sum().backward(); opt.step()
    for k,v in base.state_dict().items(): assert torch.equal(v, before[k]), k
    adapters = {n: m for n,m in model.text_relation.named_modules() if isinstance(m, LoRALinear)}
    assert len(adapters) == 6*len(base.relation.transformers) and {n.split('.')[-1] for n in adapters} == {'W_q', 'W_k', 'W_v'}
    for n,m in adapters.items(): assert m.A.weight.grad.any() and m.B.grad.any(), n


# Actors

@sizes
def test_actors_permute(T, N, d, kw):
    rel,(_,boxes,mask) = make(d, **kw).relation.eval(),batch(T, N)
    x,p = torch.randn(B, T, N, d),torch.randperm(N)
    torch.testing.assert_close(rel(x[:, :, p], boxes[:, :, p], mask[:, p]), rel(x, boxes, mask)[:, :, p], rtol=1e-4, atol=1e-5)
    for k,a in rel.interactions(x, boxes, mask).items():
        torch.testing.assert_close(rel.interactions(x[:, :, p], boxes[:, :, p], mask[:, p])[k], a[:, p][:, :, p], rtol=1e-4, atol=1e-5)

@sizes
def test_padded_actors_change_nothing(T, N, d, kw):
    model,(frames,boxes,mask) = make(d, **kw).eval(),batch(T, N)
    rel,x = model.relation,torch.randn(B, T, N, d)
    y,A = rel(x, boxes, mask),rel.interactions(x, boxes, mask)
    bad,bad_boxes = x.clone(),boxes.clone()
    bad[1, :, N-2:] = bad_boxes[1, :, N-2:] = math.nan
    bad.requires_grad_()
    z = rel(bad, bad_boxes, mask)
    assert torch.equal(z, y) and not z[1, :, N-2:].any()
    for k,a in rel.interactions(bad, bad_boxes, mask).items(): assert torch.equal(a, A[k])
    g, = torch.autograd.grad(z.square().sum(), bad)
    assert g.isfinite().all() and not g[1, :, N-2:].any()
    torch.testing.assert_close(y[1:, :, :N-2], rel(x[1:, :, :N-2], boxes[1:, :, :N-2]), rtol=1e-4, atol=1e-5)   # as if they were not there
    if len(rel.transformers) == 2:                                      # nor the losses
        out = model(frames, bad_boxes, mask)
        assert all(v.isfinite() for v in model.extra_losses(out, torch.zeros(B).long(), torch.zeros(B, N).long(), mask).values())

@sizes
def test_groups_of_frames_are_clips_of_their_own(T, N, d, kw):
    rel,(_,boxes,mask) = make(d, **kw).relation.eval(),batch(T, N)
    x,n = torch.randn(B, T, N, d),rel.n_frames
    y = rel(x, boxes, mask)
    for t in range(0, T, n): torch.testing.assert_close(y[:, t:t+n], rel(x[:, t:t+n], boxes[:, t:t+n], mask), rtol=1e-4, atol=1e-5)

@sizes
def test_paths_are_spelled_by_their_names(T, N, d, kw):
    rel,(_,boxes,_) = make(d, **kw).relation.eval(),batch(T, N)
    x,t = torch.randn(B, T, N, d),rel.transformers
    got,h = rel.paths(x, boxes),rel.encode(x, boxes).reshape(-1, rel.n_frames, N, d)
    order = {'ST': lambda S, T, m: T(m(S(h))), 'TS': lambda S, T, m: S(m(T(h)))}
    for k,y in got.items():
        between = (lambda y: h + rel.between[k].net(y)) if kw.get('between') else nn.Identity()
        torch.testing.assert_close(y, order[k](t[k]['S'], t[k]['T'], between).view(x.shape))
    assert torch.equal(rel(x, boxes), torch.cat([*got.values()], -1) if rel.fusion == 'cat' else sum(got.values())/len(got))


# Against torch

@pytest.mark.parametrize('heads', (1, 2, 4))
@pytest.mark.parametrize('Block', (SpatialTransformer, TemporalTransformer))
@pytest.mark.parametrize('padded', (False, True))
def test_transformers_are_torchs(Block, heads, padded):
    torch.manual_seed(0)
    T,N,d = 3,5,16
    ours = Block(d, heads, dropout=0., bias=False)
    a,x,mask = ours.attention,torch.randn(B, T, N, d),batch(T, N)[2] if padded else None
    mha = nn.MultiheadAttention(d, heads, bias=False, batch_first=True)
    mha.in_proj_weight.data = torch.cat([W.weight.data for W in (a.W_q, a.W_k, a.W_v)])
    nn.init.eye_(mha.out_proj.weight)
    spatial = Block is SpatialTransformer
    rows = (x if spatial else x.transpose(1, 2)).flatten(0, 1)          # what attends to each other, a set per row
    hidden = None if mask is None or not spatial else ~mask.repeat_interleave(T, 0)
    z = ours.norm1(rows + mha(rows, rows, rows, key_padding_mask=hidden, need_weights=False)[0])
    z = ours.norm2(z + ours.ffn(z)).unflatten(0, (B, -1))
    theirs,y = z if spatial else z.transpose(1, 2),ours(x, mask)
    keep = torch.ones(B, T, N).bool() if mask is None else mask[:, None].expand(B, T, N)
    torch.testing.assert_close(y[keep], theirs[keep], rtol=1e-4, atol=1e-5)
    g = torch.autograd.grad(y[keep].square().sum(), a.W_k.weight)[0],torch.autograd.grad(theirs[keep].square().sum(), mha.in_proj_weight)[0][d:2*d]
    torch.testing.assert_close(*g, rtol=1e-3, atol=1e-4)

@sizes
def test_interactions_are_mean_attention(T, N, d, kw):
    rel,(_,boxes,mask) = make(d, **kw).relation.eval(),batch(T, N)
    x,n = torch.randn(B, T, N, d),rel.n_frames
    A = rel.interactions(x, boxes, mask)
    assert list(A) == list(rel.transformers)
    for k,a in A.items():
        assert a.shape == (B, N, N)
        torch.testing.assert_close(a.sum(-1), mask.float())             # one for a real actor, nothing for padding
        by_hand = torch.zeros(N, N)
        h = rel.encode(x, boxes)[1:, :, :N-2]                           # the real actors of the second clip
        for t in range(0, T, n):
            y = h[:, t:t+n]
            if k == 'TS':
                z = rel.transformers[k]['T'](y)
                y = y + rel.between[k].net(z) if rel.between else z
            by_hand[:N-2, :N-2] += rel.transformers[k]['S'].attention.weights(y).mean((0, 1, 2))*n/T
        torch.testing.assert_close(a[1], by_hand, rtol=1e-4, atol=1e-5)


# Losses

def by_loops(u, v, tau):
    "InfoNCE of lists of actors, both ways."
    total = 0.
    for a,b in ((u, v), (v, u)):
        for i in range(len(a)):
            cos = [float(a[i] @ b[j]/a[i].norm()/b[j].norm())/tau for j in range(len(b))]
            total += math.log(sum(map(math.exp, cos))) - cos[i]
    return total/2

@pytest.mark.parametrize('T,N,d,tau', [(1, 1, 4, 1.), (3, 5, 8, 1.), (2, 12, 16, .1), (9, 3, 4, .5)])
def test_contrastive_loss_by_loops(T, N, d, tau):
    torch.manual_seed(0)
    st,ts,mask = torch.randn(B, T, N, d),torch.randn(B, T, N, d),batch(T, N)[2]
    want,frames,videos = dict.fromkeys(PARTS, 0.),0,0
    for b in range(B):
        n = int(mask[b].sum())
        u,v = st[b, :, :n],ts[b, :, :n]
        want['video-video'] += by_loops(u.mean(0), v.mean(0), tau); videos += n
        for t in range(T):
            want['frame-frame'] += by_loops(u[t], v[t], tau); frames += n
            want['frame-video'] += (by_loops(u[t], v.mean(0), tau) + by_loops(u.mean(0), v[t], tau))/2
    st[~mask[:, None].expand(B, T, N)] = math.nan
    got = contrastive_loss(st, ts, mask, tau=tau)
    for k,v in got.items(): assert v.item() == pytest.approx(want[k]/(videos if k == 'video-video' else frames), rel=1e-4, abs=1e-5), k

@pytest.mark.parametrize('parts', [p for n in range(4) for p in itertools.combinations(PARTS, n)])
def test_each_part_has_its_switch(parts):
    T,N = 3,5
    xs = frames,boxes,mask = batch(T, N)
    activity,actions = torch.tensor([0, 1]),torch.zeros(B, N).long()
    whole,model = make(16).eval(),make(16, joint=0, parts=parts).eval()
    out = model(*xs)
    losses,every = model.extra_losses(out, activity, actions, mask),whole.extra_losses(out, activity, actions, mask)
    assert set(losses) == {f"{p.replace('-', '_')}_loss" for p in parts} and set(every) == {'joint_loss'} | {f"{p.replace('-', '_')}_loss" for p in PARTS}
    for k,v in losses.items(): assert torch.equal(v, every[k])

def test_weights_of_losses():
    xs = batch(3, 5)
    args = make(16).eval()(*xs),torch.tensor([0, 1]),torch.zeros(B, 5).long(),xs[2]
    one,two = make(16).extra_losses(*args),make(16, joint=.5, contrastive=2.).extra_losses(*args)
    for k in one: torch.testing.assert_close(two[k], one[k]*(.5 if k == 'joint_loss' else 2.))

def test_both_paths_get_gradients_from_every_loss():
    model,xs = make(16),batch(3, 5)
    for k,v in model.extra_losses(model(*xs), torch.tensor([0, 1]), torch.zeros(B, 5).long(), xs[2]).items():
        model.zero_grad(); v.backward(retain_graph=True)
        for p,blocks in model.relation.transformers.items():
            for l,block in blocks.items(): assert block.attention.W_v.weight.grad.any(), (k, p, l)

def test_in_half_precision():
    model,xs = make(64),batch(3, 12)
    with torch.autocast('cpu', torch.bfloat16): out = model(*xs)
    out = {k: v.float() for k,v in out.items()}                         # as fastai's MixedPrecision does
    loss = sum(model.extra_losses(out, torch.tensor([0, 1]), torch.zeros(B, 12).long(), xs[2]).values())
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.relation.parameters())

def test_info_nce_falls_where_paths_agree():
    torch.manual_seed(0)
    u,v = torch.randn(4, 12, 32),torch.randn(4, 12, 32)
    losses = [info_nce(u, (1 - s)*v + s*u).item() for s in (0., .3, .6, 1.)]
    assert losses == sorted(losses, reverse=True)


# Open choices

OPTIONS = [dict(between=b, fusion=f) for b in (False, True) for f in ('mean', 'cat')]

@pytest.mark.parametrize('kw', OPTIONS, ids=str)
def test_parameter_counts(kw):
    "At the paper's width, beside the printed 1.30 M; the classifiers read one path or two."
    sizes = {k: sum(p.numel() for p in m.parameters()) for k,m in DualAI(BoxFeatures(256), **kw).named_children()}
    d = 256*(1 + (kw['fusion'] == 'cat'))
    assert sizes['relation'] == (1_580_032 if kw['between'] else 1_316_864)
    assert (sizes['activity'], sizes['action']) == (G*(d + 1), K*(d + 1))

def test_options_leave_the_default_as_it_is():
    "The same names, the same start, the same random numbers."
    state = make(16).state_dict()
    assert not any('between' in k for k in state)
    for kw in OPTIONS:
        other = make(16, **kw).relation.state_dict()
        assert all(torch.equal(other[k.removeprefix('relation.')], v) for k,v in state.items() if k.startswith('relation.'))

def test_paths_alone_are_halves_of_the_joined_scores():
    model,xs = make(16, fusion='cat').eval(),batch(3, 5)
    out = model(*xs)
    torch.testing.assert_close(out['activity_ST'] + out['activity_TS'] - model.activity.linear.bias, out['activity'])
    out['activity_ST'].sum().backward()
    g = model.activity.linear.weight.grad
    assert g[:, :16].any() and not g[:, 16:].any()

def test_networks_between_learn_and_may_start_anew():
    model,xs = make(16, between=True),batch(3, 5)
    model(*xs)['activity'].square().sum().backward()
    assert all(p.grad.any() for p in model.relation.between.parameters())
    text = ActivityCLIP(model, adapt='scratch', d2=16, layers=1, heads=2).text_relation
    assert not torch.equal(text.between['ST'].net[0].weight, model.relation.between['ST'].net[0].weight) and text.between['ST'].net[0].weight.requires_grad
    text = ActivityCLIP(model, r=2, d2=16, layers=1, heads=2).text_relation
    assert not text.between['ST'].net[0].weight.requires_grad

@pytest.mark.parametrize('T,N,d,tau', [(1, 1, 4, 1.), (3, 5, 8, 1.), (9, 3, 4, .5)])
def test_other_frames_by_loops(T, N, d, tau):
    torch.manual_seed(0)
    st,ts,mask = torch.randn(B, T, N, d),torch.randn(B, T, N, d),batch(T, N)[2]
    actors = [(st[b, :, i], ts[b, :, i]) for b in range(B) for i in range(N) if mask[b, i]]
    want = sum(by_loops(u, v, tau) for u,v in actors)/(T*len(actors))
    dirty,dirty_ts = (torch.where(mask[:, None, :, None], y, torch.nan).requires_grad_() for y in (st, ts))
    got = contrastive_loss(dirty, dirty_ts, mask, tau=tau, negatives='frames')
    assert got['frame-frame'].item() == pytest.approx(want, rel=1e-4, abs=1e-5)
    others = contrastive_loss(st, ts, mask, tau=tau)
    for part in PARTS[1:]: assert torch.equal(got[part], others[part])               # actors in both
    for g in torch.autograd.grad(got['frame-frame'], (dirty, dirty_ts)): assert g.isfinite().all() and not g[~mask[:, None].expand(B, T, N)].any()

def test_from_the_command_line_to_the_model():
    argv = '--data x --out y --model dualai --relation.n_frames 3 --relation.between --relation.fusion cat --relation.negatives frames'
    relation = parse('train', argv.split())[0]['model']['relation']
    config = Config(['left', 'right'], ['spiking', 'waiting'], step=3, model='dualai', features='boxes', d=16, relation=relation, text=dict(layers=1, heads=2))
    base = create_model(config).base
    assert base.negatives == 'frames' and base.d_out == 32 and len(base.relation.between) == 2


# Bad input

@pytest.mark.parametrize('kw,message', [(dict(paths=('ST', 'SS')), "DualAIRelation: there is no path 'SS'; choose from ST, TS"), (dict(paths='ST'), "DualAIRelation: there is no path 'S'"),
    (dict(paths=()), 'DualAIRelation: no path'), (dict(encodings=('place',)), "DualAIRelation: there is no encoding 'place'"), (dict(paths=('ST',)), 'DualAI: .* need both paths'),
    (dict(parts=('video',)), "DualAI: there is no part 'video' of the contrastive loss; choose from frame-frame"), (dict(heads=3), 'Attention: width 16'),
    (dict(encodings=('frames', 'time')), "there is no encoding 'time'"), (dict(fusion='max'), "DualAIRelation: fusion is 'max'; choose mean or cat"),
    (dict(negatives='clips'), "DualAI: negatives is 'clips'; choose actors or frames"), (dict(negatives='frames', n_frames=1), "DualAI: negatives='frames' compares .* n_frames is 1")])
def test_bad_arguments(kw, message):
    with pytest.raises(ValueError, match=message): make(16, **kw)

def test_known_options_pass():
    for parts in ((), PARTS[:1], PARTS): check_known('DualAI', 'part', parts, PARTS)
    with pytest.raises(ValueError, match="^X: there is no part 'a'; choose from frame-frame, frame-video, video-video, as a tuple$"): check_known('X', 'part', ('a',), PARTS)

def test_bad_input():
    rel,(_,boxes,mask) = DualAIRelation(16),batch(4, 5)
    x = torch.randn(B, 4, 5, 16)
    with pytest.raises(ValueError, match='DualAIRelation: 4 frames .* groups of 3'): rel(x, boxes, mask)
    mask[1] = False
    with pytest.raises(ValueError, match='DualAIRelation: clip 1 of the batch has no actor'): rel(x[:, :3], boxes[:, :3], mask)
    with pytest.raises(ValueError, match='DualAIRelation: clip 1 of the batch has no actor'): rel.interactions(x[:, :3], boxes[:, :3], mask)
    with pytest.raises(ValueError, match='DualAIRelation: made for features of width 16, got 8'): rel(x[:, :3, :, :8], boxes[:, :3])
    with pytest.raises(ValueError, match='DualAIRelation: features of .* and boxes of'): rel(x[:, :3], boxes[:, :1])
    with pytest.raises(ValueError, match='DualAIRelation: width 18 cannot hold'): DualAIRelation(18)
    with pytest.raises(ValueError, match="contrastive_loss: there is no part 'frames'"): contrastive_loss(x, x, parts=('frames',))

@pytest.mark.parametrize('N', (1, 2, 30))
def test_any_number_of_actors(N):
    rel,(_,boxes,mask) = DualAIRelation(16).eval(),batch(3, N)
    assert rel(torch.randn(B, 3, N, 16), boxes, mask).isfinite().all()


# In training, and in a file

def toy_dls(n=24, n_frames=(3, 9)):
    rng,clips = np.random.default_rng(0),[]
    for i in range(n):
        N = rng.integers(2, 5)
        xy = rng.uniform(.05, .8, (N, 2))
        box = np.concatenate([xy, xy + .1], -1).astype(np.float32)
        clips.append(Clip(f'toy/{i}', tuple(Path(f'{j}.jpg') for j in range(10)), np.repeat(box[None], 10, 0), rng.integers(0, K, N), int(xy[:, 0].mean() > .42), (720, 1280)))
    return clip_dls(clips[:16], clips[16:], bs=4, size=None, n_frames=n_frames, num_workers=0, n_actors=5, device='cpu')

def quietly(learn, do):
    with learn.no_bar(), learn.no_logging(): return do(learn)

def test_step_two_learns_from_all_losses():
    dls,model = toy_dls(),make(16)
    learn = relation_learner(dls, model)
    names = ('joint_loss', 'frame_frame_loss', 'frame_video_loss', 'video_video_loss')
    learn.metrics = [*learn.metrics, *map(PartLoss, names)]
    frozen = {k: v.clone() for k,v in model.features.backbone.state_dict().items()}
    before = quietly(learn, lambda l: l.validate())
    quietly(learn, lambda l: l.fit(5, 5e-3))
    after = quietly(learn, lambda l: l.validate())
    assert set(names) <= set(learn.loss_func.parts)
    assert before[0] == pytest.approx(before[1] + before[2] + sum(before[-4:]), rel=1e-4)      # valid_loss: activity, action, and its own
    assert sum(after[-3:]) < sum(before[-3:])
    for k,v in model.features.backbone.state_dict().items(): assert torch.equal(v, frozen[k])

def test_a_model_without_extra_losses_pays_nothing():
    dls = toy_dls()
    torch.manual_seed(0)
    start = ARG(BoxFeatures(16), G, K, n_graphs=2, d_k=4, n_actors=5)
    losses = []
    for extra in (True, False):
        learn = relation_learner(dls, copy.deepcopy(start))
        if not extra: learn.remove_cb(ExtraLosses)
        assert any(isinstance(c, ExtraLosses) for c in learn.cbs) == extra
        losses.append(quietly(learn, lambda l: l.validate()))
    assert losses[0] == losses[1]

def test_scores_are_gathered_and_features_are_not():
    dls,model = toy_dls(),make(16)
    scores = predict_scores(model, dls.valid)
    assert set(scores) == {'activity', 'action', 'activity_ST', 'activity_TS', 'activity_true', 'action_true'}
    assert scores['activity_ST'].shape == (8, G) and scores['action'].shape == (8, 5, K)
    assert set(report(scores)) == {'clips', 'activity', 'activity_ST', 'activity_TS', 'action'}
    scores = predict_scores(ActivityCLIP(model, r=2, d2=16, layers=1, heads=2), dls.valid)
    assert set(report(scores)) == {'clips', 'activity', 'activity_image', 'activity_text', 'action'}

@pytest.mark.parametrize('relation', ({}, dict(paths=['TS'], joint=0, parts=[]), dict(encodings=['centres'], heads=2, tau=.1), dict(between=True, fusion='cat', negatives='frames')))
def test_through_a_file(relation, tmp_path):
    config = Config(['left', 'right'], ['spiking', 'waiting'], step=3, model='dualai', backbone='test_resnet', d=32, n_actors=5,
                    relation=relation, text=dict(r=2, d2=16, layers=1, heads=2))
    torch.manual_seed(0)
    model = create_model(config).eval()
    again,config_,_ = load_model(save_model(tmp_path/'m.safetensors', model, config))
    _,boxes,mask = batch(3, 5)
    frames = torch.randint(256, (B, 3, 3, 64, 96), dtype=torch.uint8)
    assert config_ == config or config_.to_dict() == {**config.to_dict(), 'size': list(config.size), 'n_frames': list(config.n_frames)}
    for k,v in model(frames, boxes, mask).items(): assert torch.equal(v, again(frames, boxes, mask)[k]), k

def test_table_5():
    "The trainable parameters of the text branch's relation at every rank of the paper."
    for r,printed in {1: '6.14K', 2: '12.29K', 4: '24.58K', 6: '36.86K', 8: '49.15K', 10: '61.44K'}.items():
        view = lora_view(DualAIRelation(), r, targets=DualAI.lora_targets)
        n = sum(p.numel() for p in view.parameters() if p.requires_grad)
        assert n == 6144*r and f'{n/1e3:.2f}K' == printed
