"Which actors an actor attends to in ARG and in both branches, and the data of every picture: lines, bars, labels."
import io, itertools, math, subprocess, sys
from pathlib import Path
import numpy as np, pytest, torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn
from aclip.models.arg import ARG, ARGRelation
from aclip.core import ActivityCLIP
from aclip.data.clips import read_frame
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.data.volleyball import read_volleyball
from aclip.text.lora import LoRALinear, lora_view
from aclip.evaluate.plots import differences, plot_confusions, plot_differences, plot_history
from aclip.evaluate.visual import show_clip, show_relation

B = 2
real = Path(__file__).resolve().parents[2]/'shared/data/volleyball'
frame = torch.randint(256, (3, 36, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

def people(N, seed=0):
    "Boxes of N actors, some on top of each other."
    c = torch.rand(N, 2, generator=torch.Generator().manual_seed(seed))*.6 + .2
    return torch.cat([c - .03, c + .08], -1)

def batch(T, N, seed=0):
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(B, T, N, 2, generator=g)*.4 + .3
    mask = torch.ones(B, N).bool()
    mask[1, (N+1)//2:] = False
    return torch.randn(B, T, N, 16, generator=g),torch.cat([c - .05, c + .05], -1),mask

def png(fig):
    file = io.BytesIO(); fig.savefig(file, format='png'); return file.getvalue()


# interactions

sizes = pytest.mark.parametrize('T,N,share', [(1, 1, 1), (3, 12, 3), (9, 12, 3), (4, 5, 2), (2, 2, 1)])

@sizes
@pytest.mark.parametrize('masked', [True, False])
def test_arg_interactions_by_hand(T, N, share, masked):
    torch.manual_seed(0)
    rel = ARGRelation(d=16, n_graphs=3, d_k=8, n_frames=share, norm='features', threshold=.2)
    x,boxes,mask = batch(T, N)
    if not masked: mask = torch.ones_like(mask)
    R = rel.interactions(x, boxes, mask if masked else None)['graphs']
    want = torch.zeros(B, N, N)
    for b,first in itertools.product(range(B), range(0, T, share)):
        nodes,at = ((t*mask[b, None, :, None])[b, first:first+share].flatten(0, 1)[None] for t in (x, boxes))
        A = rel.graphs(nodes, boxes[b, first:first+share].flatten(0, 1)[None], mask[b].repeat(share)[None])[0]
        for g,s,t,i,j in itertools.product(range(3), range(share), range(share), range(N), range(N)):
            if mask[b, i]: want[b, i, j] += A[g, s*N + i, t*N + j]/(3*T)
    torch.testing.assert_close(R, want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(R.sum(-1), mask.float(), rtol=0, atol=1e-5)                       # rows of real actors sum to 1
    assert (R.transpose(1, 2)[~mask] == 0).all() and (R[~mask] == 0).all()                       # no actor attends to a padded one

@sizes
def test_arg_interactions_of_the_view(T, N, share):
    torch.manual_seed(0)
    rel,(x,boxes,mask) = ARGRelation(d=16, n_graphs=3, d_k=8, n_frames=share, norm='features'),batch(T, N)
    view = lora_view(rel, r=2)
    before = rel.interactions(x, boxes, mask)['graphs']
    assert torch.equal(view.interactions(x, boxes, mask)['graphs'], before)                      # B = 0
    for m in view.modules():
        if isinstance(m, LoRALinear): nn.init.normal_(m.B)
    if N > 1: assert not torch.equal(view.interactions(x, boxes, mask)['graphs'], before)
    assert torch.equal(rel.interactions(x, boxes, mask)['graphs'], before)

def test_arg_interactions_padding_permutation_and_distance():
    torch.manual_seed(0)
    rel,(x,boxes,mask) = ARGRelation(d=16, n_graphs=3, d_k=8, norm='features'),batch(3, 6)
    R = rel.interactions(x, boxes, mask)['graphs']
    dirty = torch.where(mask[:, None, :, None], x, torch.nan)
    assert torch.equal(rel.interactions(dirty, boxes, mask)['graphs'], R)
    p = torch.randperm(6)
    torch.testing.assert_close(rel.interactions(x[:, :, p], boxes[:, :, p], mask[:, p])['graphs'], R[:, p][:, :, p], rtol=1e-4, atol=1e-6)
    far = ARGRelation(d=16, n_graphs=3, d_k=8, n_frames=1, norm='features', threshold=0.)
    torch.testing.assert_close(far.interactions(x, boxes)['graphs'], torch.eye(6).expand(B, 6, 6))  # alone: all to oneself

def test_arg_interactions_refuse_the_sizes_that_forward_refuses():
    rel,(x,boxes,mask) = ARGRelation(d=16, n_graphs=3, d_k=8),batch(4, 12)
    with pytest.raises(ValueError, match='4 frames cannot be cut'): rel.interactions(x, boxes, mask)
    x,boxes,mask = batch(3, 5)
    with pytest.raises(ValueError, match='made for 12 actors'): rel.interactions(x, boxes, mask)

class BoxFeatures(nn.Module):
    "Actor features from boxes, in place of a backbone."
    def __init__(self, d): super().__init__(); self.d,self.linear = d,nn.Linear(4, d)
    def forward(self, frames, boxes): return self.linear(boxes*8)

class Deaf(nn.Module):
    "A relation without `interactions`."
    def __init__(self, d): super().__init__(); self.W = nn.Linear(d, d)
    def forward(self, x, boxes, mask=None): return self.W(x)

def plugged(): return ActivityCLIP(ARG(BoxFeatures(16), 8, 9, n_graphs=3, d_k=8, norm='features'), r=2, d2=16, layers=1, heads=2).eval()

def test_interactions_of_both_branches():
    torch.manual_seed(0)
    model,(_,boxes,mask) = plugged(),batch(3, 6)
    frames = torch.zeros(B, 3, 3, 0, 0, dtype=torch.uint8)
    maps = model.interactions(frames, boxes, mask)
    assert {b: list(m) for b,m in maps.items()} == dict(image=['graphs'], text=['graphs'])
    for m in maps.values():
        torch.testing.assert_close(m['graphs'].sum(-1), mask.float(), rtol=0, atol=1e-5)
        assert not m['graphs'].requires_grad
    x = model.base.embed(frames, boxes, mask)
    back = model.image2text(x, mask[:, None])[1]
    assert torch.equal(maps['image']['graphs'], model.relation.interactions(x, boxes, mask)['graphs'])
    assert torch.equal(maps['text']['graphs'], model.relation.interactions(back, boxes, mask)['graphs'])     # B = 0
    assert torch.equal(model.interactions(frames, boxes, mask)['text']['graphs'], maps['text']['graphs'])

def test_interactions_name_the_relation_that_has_none():
    base = ARG(BoxFeatures(16), 8, 9, n_graphs=3, d_k=8, norm='features')
    base.relation = Deaf(16)
    model,(_,boxes,mask) = ActivityCLIP(base, r=2, d2=16, layers=1, heads=2),batch(3, 6)
    with pytest.raises(ValueError, match=r'Deaf has no maps .* interactions\(x, boxes, mask\)'): model.interactions(torch.zeros(B, 3, 3, 1, 1), boxes, mask)


# A clip

@pytest.mark.parametrize('view', [frame, None, torch.empty(3, 0, 0)], ids=['frame', 'none', 'empty'])
@pytest.mark.parametrize('N', [1, 6, 12])
def test_clip_boxes_and_labels(N, view):
    boxes,predicted = people(N),torch.arange(N) % 9
    true = predicted.clone(); true[0] = 8
    if N > 2: true[2] = -100
    ax = show_clip(view, boxes, predicted, ACTIONS, true)
    def name(i):
        if true[i] in (-100, predicted[i]): return ACTIONS[predicted[i]]
        return f'{ACTIONS[predicted[i]]} ({ACTIONS[true[i]]})'
    assert [t.get_text() for t in ax.texts] == [name(i) for i in range(N)]
    rectangles = [l for l in ax.lines if len(l.get_xdata()) == 5]
    for l,(x1,y1,x2,y2) in zip(rectangles, boxes.tolist(), strict=True):
        assert sorted(set(l.get_xdata())) == [x1, x2] and sorted(set(l.get_ydata())) == [y1, y2]
    assert [l.get_linestyle() for l in rectangles] == ['--'] + ['-']*(N-1)                       # only the first is wrong
    right,known = N - 1 - (N > 2),N - (N > 2)
    assert ax.get_xlabel() == f'{right} of {known} actions right; in brackets: the truth'
    assert len(ax.images) == (view is frame) and len(png(ax.figure)) > 1000

def test_clip_mask_leaves_out_padding():
    boxes,mask = people(5),torch.tensor([False, False, True, False, False])
    boxes[~mask] = 0
    ax = show_clip(None, boxes, torch.arange(5), ACTIONS, torch.tensor([-100, -100, 2, -100, -100]), mask)
    assert [t.get_text() for t in ax.texts] == ['falling'] and ax.get_xlabel() == '1 of 1 actions right'

@pytest.mark.parametrize('predicted,true,title', [(None, None, ''), (None, 'l_set', ''), ('l_set', None, 'l_set'), ('l_set', 'l_set', 'l_set'), ('l_set', 'r_set', 'l_set (r_set)')])
def test_clip_title(predicted, true, title):
    ax = show_clip(None, people(2), [0, 1], ACTIONS, activity=predicted, activity_true=true)
    assert ax.get_title() == title and ax.get_xlabel() == ''

def texts_apart(ax):
    "Are all labels inside the picture, and none on another?"
    FigureCanvasAgg(ax.figure).draw()
    frame,boxes = ax.get_window_extent(),[t.get_window_extent() for t in ax.texts]
    inside = all(b.x0 >= frame.x0-4 and b.x1 <= frame.x1+4 and b.y0 >= frame.y0-4 and b.y1 <= frame.y1+4 for b in boxes)
    return inside and not any(a.overlaps(b) for a,b in itertools.combinations(boxes, 2))

@pytest.mark.parametrize('seed', range(4))
def test_clip_labels_do_not_cover_each_other(seed):
    predicted,true = torch.full((12,), 2),torch.full((12,), 0)
    assert texts_apart(show_clip(frame, people(12, seed), predicted, ACTIONS, true))

def test_clip_labels_in_the_corners():
    boxes = torch.tensor([[0, 0, .05, .2], [.95, 0, 1, .2], [0, .8, .05, 1], [.95, .8, 1, 1], [0, 0, 1, 1]])
    assert texts_apart(show_clip(frame, boxes, [0]*5, ACTIONS, [1]*5))

@pytest.mark.skipif(not real.exists(), reason='the real frames are not here (../shared/data/volleyball)')
def test_clip_on_real_frames():
    clips = read_volleyball(real, 'trainval', frames='available')
    for c in clips:
        t = len(c.frames)//2
        ax = show_clip(read_frame(c.frames[t], (360, 640), c.size, c.name), torch.tensor(c.boxes[t]), c.actions, ACTIONS, c.actions, activity=ACTIVITIES[c.activity])
        assert len(ax.texts) == len(c.actions) and texts_apart(ax)

@pytest.mark.parametrize('args,message', [
    ((frame.permute(1, 2, 0), people(2), [0, 1]), r'shape \(36, 64, 3\)'), ((frame[None], people(2), [0, 1]), 'expected RGB'),
    ((None, people(2)[None], [0, 1]), r'expected \(N, 4\)'), ((None, people(2), [0]), '1 action ids for 2 boxes'),
    ((None, people(2), [0, 9]), 'ids 0 to 8'), ((None, people(2), [0, 1], ACTIONS, [0, -1]), 'ids 0 to 8')])
def test_clip_bad_input(args, message):
    with pytest.raises(ValueError, match=message): show_clip(*args[:3], *args[3:] or (ACTIONS,))

@pytest.mark.parametrize('mask', [[False, False], [True], [True]*3])
def test_clip_bad_mask(mask):
    with pytest.raises(ValueError, match='one entry a box'): show_clip(None, people(2), [0, 1], ACTIONS, mask=torch.tensor(mask))


# Relations

def maps_of(N, names=('graphs',), seed=0, lead=()):
    g = torch.Generator().manual_seed(seed)
    return {b: {k: torch.rand(*lead, N, N, generator=g).softmax(-1) for k in names} for b in ('image', 'text')}

def lines(ax): return [l for l in ax.lines if l.get_zorder() == 2]

@pytest.mark.parametrize('view', [frame, None], ids=['frame', 'none'])
@pytest.mark.parametrize('names', [('graphs',), ('ST', 'TS')])
@pytest.mark.parametrize('lead', [(), (1,)])
def test_relation_lines(view, names, lead):
    N,actor,boxes,maps = 6,4,people(6),maps_of(6, names, lead=lead)
    fig = show_relation(view, boxes, maps, actor, predicted=dict(image='l_set', text='l_spike'))
    panels = [(b, k) for b in maps for k in names]
    assert [ax.get_title() for ax in fig.axes] == [f"{b} branch, {k}: {dict(image='l_set', text='l_spike')[b]}" for b,k in panels]
    spec = fig.axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (2, len(names))                                           # rows are branches, columns maps
    others,centre = [j for j in range(N) if j != actor],(boxes[:, :2] + boxes[:, 2:])/2
    rows = {(b, k): maps[b][k].reshape(N, N)[actor] for b,k in panels}
    top = max(r[others].max() for r in rows.values())
    for ax,p in zip(fig.axes, panels, strict=True):
        for l,j in zip(lines(ax), others, strict=True):
            np.testing.assert_allclose(l.get_xydata(), [centre[actor].tolist(), centre[j].tolist()], atol=1e-6)
            assert l.get_alpha() == pytest.approx((rows[p][j]/top).item(), abs=1e-6)
        star = [l for l in ax.lines if l.get_marker() == '*']
        np.testing.assert_allclose(star[0].get_xydata(), [centre[actor].tolist()], atol=1e-6)
        assert len(star) == 1 and [t.get_text() for t in ax.texts] == [str(j) for j in others]
        assert ax.get_xlabel() == f'to itself {rows[p][actor]:.0%}, darkest line {top:.0%}'
    assert len(png(fig)) > 1000

@pytest.mark.parametrize('apart', [0, .01])
def test_numbers_of_a_relation_do_not_cover_each_other(apart):
    "Six actors at one place, or nearly so: the circles are apart as they are drawn, the lines end at the actors."
    x = torch.arange(6)*apart + .4
    boxes = torch.stack([x, torch.full((6,), .4), x + .05, torch.full((6,), .6)], -1)
    fig = show_relation(None, boxes, dict(image=maps_of(6)['image']), 0)
    FigureCanvasAgg(fig).draw()
    circles = [t.get_bbox_patch().get_window_extent() for t in fig.axes[0].texts]
    for a, b in itertools.combinations(circles, 2):
        assert math.dist((a.x0 + a.x1, a.y0 + a.y1), (b.x0 + b.x1, b.y0 + b.y1))/2 >= (a.width + b.width)/2 - 1
    for l, j in zip(lines(fig.axes[0]), range(1, 6)): np.testing.assert_allclose(l.get_xydata()[1], [x[j] + .025, .5], atol=1e-6)

def test_relation_leaves_out_padding():
    mask = torch.tensor([True, False, True, True, False])
    fig = show_relation(None, people(5), maps_of(5), 2, mask)
    for ax in fig.axes: assert len(lines(ax)) == 2 and [t.get_text() for t in ax.texts] == ['0', '3']
    with pytest.raises(ValueError, match=r'no actor 1; choose among \[0, 2, 3\]'): show_relation(None, people(5), maps_of(5), 1, mask)

@pytest.mark.parametrize('N', [1, 4])
def test_relation_of_one_alone(N):
    mask = torch.arange(N) == N - 1
    fig = show_relation(frame, people(N), dict(image=dict(graphs=torch.eye(N))), N - 1, mask)
    ax, = fig.axes
    assert not lines(ax) and not ax.texts and ax.get_xlabel() == 'to itself 100%' and len(png(fig)) > 1000

def test_relation_of_an_actor_that_attends_to_itself_only():
    ax, = show_relation(None, people(3), dict(image=dict(graphs=torch.eye(3))), 0).axes
    assert [l.get_alpha() for l in lines(ax)] == [0, 0] and ax.get_xlabel() == 'to itself 100%'

def test_relation_with_fewer_maps_in_a_branch():
    maps = maps_of(3, ('ST', 'TS'))
    del maps['text']['TS']
    assert [ax.axison for ax in show_relation(None, people(3), maps, 0).axes] == [True, True, True, False]

def test_relation_from_the_model():
    torch.manual_seed(0)
    model,(_,boxes,mask) = plugged(),batch(3, 6)
    maps = model.interactions(torch.zeros(1, 3, 3, 0, 0), boxes[1:], mask[1:])
    fig = show_relation(None, boxes[1, 0], maps, torch.tensor(0), mask[1], predicted=dict(text='l_set'))
    assert [ax.get_title() for ax in fig.axes] == ['image branch, graphs', 'text branch, graphs: l_set']
    assert len(fig.axes) == 2 and all(len(lines(ax)) == 2 for ax in fig.axes)

@pytest.mark.parametrize('maps,message', [({}, 'nothing to draw'), (dict(image={}), 'nothing to draw'), (maps_of(4), r'\(4, 4\) for 3 boxes'), (maps_of(3, lead=(2,)), 'the map of one clip')])
def test_relation_bad_maps(maps, message):
    with pytest.raises(ValueError, match=message): show_relation(None, people(3), maps, 0)


# Confusions, differences, histories

@pytest.mark.parametrize('n,cols,grid', [(1, 2, (1, 1)), (2, 2, (1, 2)), (2, 1, (2, 1)), (3, 2, (2, 2)), (4, 3, (2, 3))])
@pytest.mark.parametrize('normalise', [True, False])
def test_confusions(n, cols, grid, normalise):
    cms = {f'model {k}': torch.randint(1, 50, (4, 4), generator=torch.Generator().manual_seed(k)) for k in range(n)}
    fig = plot_confusions(cms, list('abcd'), cols, normalise)
    spec = fig.axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == grid and [ax.axison for ax in fig.axes] == [True]*n + [False]*(math.prod(grid) - n)
    for ax,(title,cm) in zip(fig.axes, cms.items()):
        want = 100*cm/cm.sum(1, keepdim=True) if normalise else cm
        assert ax.get_title() == title and [t.get_text() for t in ax.texts] == [f'{v:.1f}' if normalise else str(v) for v in want.flatten().tolist()]
        if normalise: assert ax.images[0].get_clim() == (0, 100)                                 # one scale for all
    assert len(png(fig)) > 1000

def test_confusions_of_nothing():
    with pytest.raises(ValueError, match='nothing to draw'): plot_confusions({}, list('abcd'))

@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize('M,G', [(1, 2), (40, 8), (300, 4)])
def test_differences_by_counting(seeds, M, G):
    g = torch.Generator().manual_seed(M)
    pred,base = (torch.randint(G, (seeds, M), generator=g) for _ in range(2))
    target = torch.randint(G, (M,), generator=g)
    if M > 1: target[0] = -100
    d = differences(pred, base, target, G)
    assert d.shape == (seeds, G)
    for s,c in itertools.product(range(seeds), range(G)):
        here = target == c
        if not here.any(): assert d[s, c].isnan()
        else: assert d[s, c] == (pred[s][here] == c).sum() - (base[s][here] == c).sum()
    if seeds == 1: torch.testing.assert_close(differences(pred[0], base[0], target, G), d, equal_nan=True)
    torch.testing.assert_close(differences(pred, base[0], target, G), differences(pred, base[:1].expand_as(pred), target, G), equal_nan=True)

def test_differences_bad_input():
    with pytest.raises(ValueError, match='ids 0 to 1'): differences([0, 2], [0, 1], [0, 1], 2)
    with pytest.raises(ValueError, match='one shape'): differences([0, 1, 1], [0, 1, 1], [0, 1], 2)

@pytest.mark.parametrize('names', [['a'], ['a', 'b', 'c']])
@pytest.mark.parametrize('seeds', [0, 1, 4])
def test_difference_bars(names, seeds):
    g = torch.Generator().manual_seed(0)
    d = {n: torch.randint(-9, 9, (max(seeds, 1), 5), generator=g).float() for n in names}
    d['a'][:, 3] = torch.nan
    ax = plot_differences({n: v if seeds else v[0] for n,v in d.items()}, list('vwxyz'))          # 0: one row without an axis for it
    heights = np.array([p.get_height() for p in ax.patches])
    np.testing.assert_allclose(heights, torch.cat([v.mean(0) for v in d.values()]))
    middle = np.array([p.get_x() + p.get_width()/2 for p in ax.patches]).reshape(len(names), 5)
    np.testing.assert_allclose(middle.mean(0), range(5), atol=1e-9)                               # each group is centred at its tick
    assert (np.diff(middle.T.flatten()) > 0).all() and [t.get_text() for t in ax.get_xticklabels()] == list('vwxyz')
    points = [l for l in ax.lines if l.get_marker() == 'o']
    assert len(points) == (len(names)*seeds if seeds > 1 else 0)
    for l,row in zip(points, torch.cat([*d.values()])): np.testing.assert_allclose(l.get_ydata(), row)
    labels = [t.get_text() for t in ax.texts]
    assert labels[3] == 'no clips' and labels.count('no clips') == 1
    for text,h in zip(labels, heights):
        if text != 'no clips': assert float(text) == pytest.approx(h, abs=.051)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == names and len(png(ax.figure)) > 1000

def test_difference_bars_all_zero(): assert [t.get_text() for t in plot_differences(dict(a=torch.zeros(3, 2)), 'xy').texts] == ['0', '0']

def test_difference_bars_bad_input():
    with pytest.raises(ValueError, match='nothing to draw'): plot_differences({}, 'ab')
    with pytest.raises(ValueError, match='a: differences of 3 activities, but there are 2 names'): plot_differences(dict(a=torch.zeros(3)), 'xy')

def written(path, *lines): path.write_text('\n'.join(['epoch,train_loss,valid_loss,mca,time', *lines]) + '\n'); return path

def test_history_lines(tmp_path):
    a = written(tmp_path/'a.csv', '0,2.5,2.0,0.25,00:01', '1,2.0,1.5,0.5,00:01', '2,1.0,nan,0.75,00:01')
    b = written(tmp_path/'b.csv', '0,3.5,3.0,0.125,00:01', '1,3.0')                              # broke off in the second epoch
    fig = plot_history(dict(a=a, b=b))
    assert [ax.get_title() for ax in fig.axes] == ['train_loss', 'valid_loss', 'mca']
    want = [([2.5, 2, 1], [3.5, 3]), ([2, 1.5, np.nan], [3, np.nan]), ([.25, .5, .75], [.125, np.nan])]
    for ax,ys in zip(fig.axes, want):
        for l,y in zip(ax.lines, ys, strict=True):
            np.testing.assert_array_equal(l.get_ydata(), y); np.testing.assert_array_equal(l.get_xdata(), range(1, len(y) + 1))
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ['a', 'b'] and len(png(fig)) > 1000

@pytest.mark.parametrize('cols,grid', [(1, (3, 1)), (2, (2, 2)), (9, (1, 3))])
def test_history_of_one_epoch_and_many_runs(tmp_path, cols, grid):
    files = {f'run {k}': written(tmp_path/f'{k}.csv', f'0,{k},1,.5,00:01') for k in range(9)}
    fig = plot_history(files, cols=cols)
    spec = fig.axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == grid
    looks = [(l.get_color(), l.get_linestyle()) for l in fig.axes[0].lines]
    assert len(set(looks)) == 9 and all(l.get_marker() == 'o' for l in fig.axes[0].lines)         # a single point is seen

def test_history_bad_input(tmp_path):
    a = written(tmp_path/'a.csv', '0,2.5,2.0,0.25,00:01')
    with pytest.raises(ValueError, match='after its first epoch'): plot_history(dict(a=written(tmp_path/'none.csv')))
    with pytest.raises(ValueError, match="no run has a column 'auc'; they have mca, train_loss, valid_loss"): plot_history(dict(a=a), ['auc'])
    with pytest.raises(FileNotFoundError): plot_history(dict(a=tmp_path/'absent.csv'))
    for runs,columns in (({}, ['mca']), (dict(a=a), [])):
        with pytest.raises(ValueError): plot_history(runs, columns)

def test_same_data_same_picture():
    def draw(): return [png(f) for f in (show_clip(frame, people(12), [0]*12, ACTIONS, [1]*12).figure, show_relation(frame, people(6), maps_of(6), 1))]
    assert draw() == draw()

def test_needs_no_screen_and_leaves_pyplot_alone():
    code = ("import io, torch; from aclip.evaluate.visual import show_clip; "
            "show_clip(None, torch.rand(2, 4).sort().values, [0, 1], 'ab').figure.savefig(io.BytesIO()); import matplotlib.pyplot as plt; assert not plt.get_fignums()")
    subprocess.run([sys.executable, '-c', code], check=True, env={'PATH': '', 'MPLBACKEND': 'tkagg', 'PYTHONPATH': str(Path(__file__).resolve().parents[1])})
