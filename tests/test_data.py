"Data: bad input of every kind gets a clear error, pickles run nothing, and the real annotations are read whole."
import io, json, os, pickle, random, subprocess, sys, time
from collections import Counter
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from aclip.data.clips import Clip, DataError, normalise_boxes, random_frames, read_frame, spread_frames
from aclip.data.loaders import ClipDataset, clip_dls, collate
from aclip.data.findings import check_jpeg
from aclip.data.doctor import doctor
from aclip.data.volleyball_annotation import WINDOW
from aclip.data.safe_pickle import SafeUnpickler
from aclip.data.volleyball_tracks import load_tracks, match_boxes
from aclip.data.volleyball import ACTIONS, ACTIVITIES, read_volleyball

REAL = Path(__file__).parents[2]/'shared'/'data'/'volleyball'
real = pytest.mark.skipif(not REAL.exists(), reason=f'no real data at {REAL}')
SIZE = (90, 160)
EIGHT = '39/29885 39/29905 41/19515 41/19560 7/38025 7/51725 10/20500 10/20525'.split()
CLIPS = {'3/100': 'r-pass 10 20 30 40 standing 50 20 30 40 moving 90 20 30 40 blocking', # training
         '3/200': 'l_set -5 20 30 40 waiting 50 60 30 40 setting',                       # training; two boxes reach outside
         '4/100': 'l-spike 10 20 30 40 spiking 50 20 30 40 standing'}                    # test

@pytest.fixture
def root(tmp_path):
    "A small dataset in the official layout: frames, annotation and tracks of three clips in two videos."
    for name, line in CLIPS.items():
        video, m = name.split('/')
        clip, tracks = tmp_path/'videos'/name, tmp_path/'volleyball_tracking_annotation'/name
        clip.mkdir(parents=True)
        tracks.mkdir(parents=True)
        for d in WINDOW: Image.effect_noise(SIZE[::-1], 80).convert('RGB').save(clip/f'{int(m)+d}.jpg')
        with open(tmp_path/f'videos/{video}/annotations.txt', 'a') as f: f.write(f'{m}.jpg {line}\n')
        rows = [f'{p} {10+40*p} {20+d} {40+40*p} {60+d} {int(m)+d} 0 0 1 standing' for p in range(3) for d in range(-10, 10)]
        (tracks/f'{m}.txt').write_text('\n'.join(rows))
    return tmp_path

def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

# --- clips -------------------------------------------------------------------

@pytest.mark.parametrize('change,message', [
    (dict(frames=()), 'at least one frame'), (dict(actions=np.zeros(0, int)), 'at least one frame and one actor'),
    (dict(actions=np.zeros(3, int)), 'boxes of shape'), (dict(boxes=np.full((2, 2, 4), .5, np.float32)), 'x1 < x2'),
    (dict(boxes=np.tile(np.float32([0, 0, .5, 1.5]), (2, 2, 1))), 'in 0..1'), (dict(boxes=np.full((2, 2, 4), np.nan, np.float32)), 'in 0..1'),
    (dict(boxes=np.tile([0, 0, .5, .5], (2, 2, 1))), 'float32'), (dict(actions=np.array([0, -1])), 'from 0 up'), (dict(activity=-1), 'from 0 up')])
def test_clip_checks_itself(change, message):
    good = dict(name='3/7', frames=('a', 'b'), boxes=np.tile(np.float32([0, 0, .5, .5]), (2, 2, 1)), actions=np.array([0, 1]), activity=0, size=SIZE)
    Clip(**good)
    with pytest.raises(DataError, match=f'3/7.*{message}'): Clip(**good | change)

@pytest.mark.parametrize('box,message', [([5, 5, 5, 9], 'no area'), ([9, 5, 5, 9], 'no area'), ([-9, 5, -1, 9], 'outside'), ([160, 5, 170, 9], 'outside'),
    ([5, 90, 9, 99], 'outside'), ([np.nan, 5, 9, 9], 'not finite'), ([5, 5, np.inf, 9], 'not finite'), ([1, 1, 1+1e-9, 9], 'x1 < x2')])
def test_bad_boxes(box, message):
    with pytest.raises(DataError, match=f'a.txt:3: box 1 .*{message}'): normalise_boxes([[0, 0, 9, 9], box], SIZE, 'a.txt:3')

@pytest.mark.parametrize('window', [9, 10, 11, 20, 41])
@pytest.mark.parametrize('n', [1, 3, 6, 9])
def test_frames_lie_in_the_window(n, window):
    for t in (spread_frames(n, window), random_frames(n, window)):
        assert len(set(t)) == n and 0 <= min(t) and max(t) < window
    assert random_frames(n, window) != list(range(window)) or n == window
    assert window//2 in spread_frames(n, window)

@pytest.mark.parametrize('n,window', [(0, 10), (2, 10), (11, 10), (3, 4), (9, 1)])
def test_impossible_numbers_of_frames(n, window):
    with pytest.raises(DataError, match=f'3/7: {n} frames'): spread_frames(n, window, '3/7')
    if not 1 <= n <= window:
        with pytest.raises(DataError, match=f'3/7: {n} frames'): random_frames(n, window, '3/7')

@pytest.mark.parametrize('bytes_left', [0, 1, 20, 300, 2000])
def test_damaged_jpeg(root, bytes_left):
    path = root/'videos/3/100/101.jpg'
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(DataError, match=r'101\.jpg \(clip 3/100\).*Copy the file again'): read_frame(path, SIZE, SIZE, '3/100')
    with pytest.raises(DataError, match='101.jpg'): check_jpeg(path)

def test_draft_is_a_downscale(root):
    path = root/'smooth.jpg'
    y, x = np.mgrid[:720, :1280]
    Image.fromarray(np.stack([y*255/720, x*255/1280, (x+y)*255/2000], -1).astype(np.uint8)).save(path, quality=95)
    small, full = (read_frame(path, s, (720, 1280), '') for s in ((90, 160), (720, 1280)))
    mean = torch.nn.functional.avg_pool2d(full.float(), 8)
    assert (small.float()-mean).abs().max() <= 4

def test_error_in_a_worker_names_the_frame(root):
    clips = read_volleyball(root, [3])
    os.remove(clips[1].frames[3])
    dls = clip_dls(clips, clips, bs=1, size=(45, 80), n_frames=(10, 10), num_workers=1, device='cpu')
    with pytest.raises(DataError, match=r'198\.jpg \(clip 3/200\): no such frame'): list(dls.valid)

@pytest.mark.parametrize('module,light', [('clips', 'fastai scipy torchvision matplotlib'), ('volleyball', 'fastai scipy torchvision matplotlib')])
def test_import_loads_nothing_heavy(module, light):
    code = f"import sys, aclip.data.{module}; print(*set('{light}'.split()) & set(sys.modules))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == ''

def test_loaders_draw_once_in_the_main_process(root):
    "The same seed gives the same clips and frames for any number of workers, and a copy of a loader does not change them."
    clips = read_volleyball(root, [3, 4])
    def epoch(workers, copy=False):
        random.seed(1)
        dl = clip_dls(clips, clips, bs=2, size=(18, 32), num_workers=workers, device='cpu').train
        if copy: dl = dl.new()
        return torch.cat([b[0] for b in dl])
    first = epoch(0)
    for workers, copy in ((0, True), (1, False), (2, False)): assert torch.equal(epoch(workers, copy), first)

def test_padding_is_marked(root):
    items = [ClipDataset(read_volleyball(root, [3]), size=None, n_frames=10)[i] for i in range(2)]
    frames, boxes, mask, activity, actions = collate(items, n_actors=5)
    assert mask.tolist() == [[True]*3 + [False]*2, [True]*2 + [False]*3] and frames.shape == (2, 10, 3, 0, 0)
    assert not boxes.transpose(1, 2)[~mask].any() and (actions[~mask] == -100).all() and (actions[mask] >= 0).all()
    with pytest.raises(DataError, match='a clip has 3 actors, but n_actors is 2'): collate(items, n_actors=2)

# --- volleyball --------------------------------------------------------------

def test_reads_the_layout(root):
    clips = read_volleyball(root, [3, 4])
    assert [c.name for c in clips] == list(CLIPS)
    assert [ACTIVITIES[c.activity] for c in clips] == ['r_pass', 'l_set', 'l_spike']
    assert [ACTIONS[a] for a in clips[1].actions] == ['waiting', 'setting']
    assert clips[0].size == SIZE and [p.name for p in clips[0].frames] == [f'{i}.jpg' for i in range(95, 105)]
    np.testing.assert_allclose(clips[1].boxes, np.tile(np.array([[0, 20, 25, 60], [50, 60, 80, 90]])/[160, 90, 160, 90], (10, 1, 1)), rtol=1e-6)
    assert [c.name for c in read_volleyball(root/'videos', 'train', frames='available')] == ['3/100', '3/200']

@pytest.mark.parametrize('old,new,message', [
    ('r-pass', 'r-pas', r"annotations.txt:1: unknown activity 'r-pas'.*r_pass"), ('moving', 'running', r"annotations.txt:1: unknown action 'running'"),
    ('50 20', '50 2O', 'annotations.txt:1: could not convert'), (' blocking', '', 'annotations.txt:1: 16 fields'), ('100.jpg', 'x.jpg', 'annotations.txt:1: invalid'),
    ('50 60 30 40', '50 60 30 0', 'annotations.txt:2: box 1 .*no area'), ('50 60 30 40', '160 60 30 40', 'annotations.txt:2: box 1 .*outside'),
    ('50 60 30 40', '50 60 nan 40', 'annotations.txt:2: box 1 .*not finite'), ('100.jpg', '\udcff.jpg', 'annotations.txt:1: invalid')])
def test_malformed_annotation(root, old, new, message):
    path = root/'videos/3/annotations.txt'
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(errors='surrogateescape'), 1))
    with pytest.raises(DataError, match=message): read_volleyball(root, [3])
    report = doctor(root, progress=False)
    assert report.levels['error'] == 1 and 'annotations.txt' in report.findings[0].where

@pytest.mark.parametrize('options,message', [
    (dict(split='valid'), "unknown split 'valid'.*trainval"), (dict(frames='some'), "frames='some'"), (dict(boxes='tracks'), "boxes='tracks'"),
    (dict(split='test'), 'videos/5/annotations.txt: cannot be read'), (dict(split='val', frames='available'), "no clip of split 'val'"), (dict(split=[]), 'no clip')])
def test_bad_requests(root, options, message):
    with pytest.raises(DataError, match=message): read_volleyball(root, **options)

def test_missing_frames(root):
    (root/'videos/3/200/204.jpg').unlink()
    with pytest.raises(DataError, match=r'1 of 3 clips lack frames; the first is 3/200 \(1 of 10, first 204.jpg\).*available'): read_volleyball(root, [3, 4])
    assert [c.name for c in read_volleyball(root, [3], frames='available')] == ['3/100']
    assert len(read_volleyball(root, [3], frames='none')) == 2
    report = doctor(root, progress=False)
    assert report.incomplete == ['3/200'] and report.levels == {'warning': 1, 'note': 2}

def test_tracking(root):
    clip, _ = read_volleyball(root, [3], boxes='tracking')
    np.testing.assert_allclose(clip.boxes[:, 1, 1]*90, 20+np.array(WINDOW), rtol=1e-5)
    assert clip.boxes.shape == (10, 3, 4) and [ACTIONS[a] for a in clip.actions] == ['standing']*3

@pytest.mark.parametrize('old,new,message', [
    ('standing', 'stading', "100.txt:1: unknown action"), (' 0 0 1 standing', ' 0 0 standing', '100.txt:1: 9 fields'), ('90 0 0', '9O 0 0', '100.txt:1: invalid'),
    ('98 0 0', '50 0 0', 'player 0 has no box in frame 98'), ('10 18 40 58 98', '10 18 10 58 98', 'frame 98: box 0 .*no area'),
    ('10 18 40 58 98', '170 18 190 58 98', 'frame 98: box 0 .*outside')])
def test_malformed_tracks(root, old, new, message):
    edit(root/'volleyball_tracking_annotation/3/100/100.txt', old, new)
    with pytest.raises(DataError, match=message): read_volleyball(root, [3], boxes='tracking')
    assert doctor(root, boxes='tracking', progress=False).levels['error'] == 1

def test_lost_player_is_no_actor(root):
    path = root/'volleyball_tracking_annotation/3/100/100.txt'
    lines = [f.split() for f in path.read_text().splitlines()]
    def write(lost): path.write_text('\n'.join(' '.join([*f[:6], str(int(f[0] in lost and f[5] == '100')), *f[7:]]) for f in lines))
    write('1')
    clip, _ = read_volleyball(root, [3], boxes='tracking')
    np.testing.assert_allclose(clip.boxes[5, :, 0]*160, [10, 90], rtol=1e-5)
    write('012')
    with pytest.raises(DataError, match='100.txt: no player is in view in frame 100'): read_volleyball(root, [3], boxes='tracking')

def test_clip_without_tracks(root):
    (root/'volleyball_tracking_annotation/3/200/200.txt').unlink()
    with pytest.raises(DataError, match='3/200/200.txt: cannot be read.*Copy'): read_volleyball(root, [3], boxes='tracking')
    (root/'volleyball_tracking_annotation').rename(root/'elsewhere')
    with pytest.raises(DataError, match='no folder volleyball_tracking_annotation'): read_volleyball(root, [3], boxes='tracking')
    assert not doctor(root, boxes='tracking', progress=False).ok

# --- the pickle --------------------------------------------------------------

def pickled(root, protocol=4, **change):
    "Tracks in the annotation's boxes, players in the opposite order, moved right by 1 pixel a frame."
    yxyx = np.array([[20, 90, 60, 120], [20, 50, 60, 80], [20, 10, 60, 40.]])/[*SIZE, *SIZE]
    own = {100+d: yxyx + [0, d/160, 0, d/160] for d in WINDOW}
    (root/'tracks.pkl').write_bytes(pickle.dumps({(3, 100): own, (3, 200): own} | change, protocol))
    return root/'tracks.pkl'

@pytest.mark.parametrize('protocol', range(6))
def test_pickle_follows_the_matched_track(root, protocol):
    path = pickled(root, protocol)
    tracks = load_tracks(path)
    (root/'videos/3/annotations.txt').write_text(f"100.jpg {CLIPS['3/100']} 140 0 10 10 falling\n") # the last has no track
    clip, = read_volleyball(root, [3], boxes=path)
    assert [ACTIONS[a] for a in clip.actions] == ['standing', 'moving', 'blocking', 'falling']
    np.testing.assert_allclose(clip.boxes[:, :3, 0]*160, np.array([10, 50, 90])+np.array(WINDOW)[:, None], rtol=1e-5)
    np.testing.assert_allclose(clip.boxes[:, 3]*160, np.tile([140, 0, 150, 10*160/90], (10, 1)), rtol=1e-5)
    assert tracks[3, 100][100].shape == (3, 4)

def test_pickle_of_python_2():
    "As Python 2 and an old numpy wrote it: old module names, bytes as str."
    raw = np.array([.1, .2, .3, .4]).tobytes()
    text = b"(dp0\n(I3\nI100\ntp1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
    text += b"(I1\n(I1\nI4\ntp8\ncnumpy\ndtype\np9\n(S'f8'\nI0\nI1\ntp10\nRp11\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntp12\nbI00\n"
    text += b"S'" + ''.join(f'\\x{b:02x}' for b in raw).encode() + b"'\np13\ntp14\nbs."
    np.testing.assert_allclose(SafeUnpickler(io.BytesIO(text), encoding='latin1').load()[3, 100], [[.1, .2, .3, .4]])

class Call:
    "Pickles as a call of a function."
    def __init__(self, f, *args): self.call = f, args
    def __reduce__(self): return self.call

@pytest.mark.parametrize('wanted', ['system', 'exec', 'getattr', 'Popen', 'load', 'save'])
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_malicious_pickle_runs_nothing(root, wanted, protocol):
    harm = root/'harm'
    f, args = {'system': (os.system, (f'echo > {harm}',)), 'exec': (exec, (f"open({str(harm)!r}, 'w')",)), 'getattr': (getattr, (os, 'system')),
               'Popen': (subprocess.Popen, ([sys.executable, '-c', f'open({str(harm)!r}, "w")'],)), 'load': (np.load, ('x',)),
               'save': (np.save, (str(harm), 1))}[wanted]
    args = tuple(a for a in args if a is not os) # a module cannot be pickled; the name alone must raise
    path = root/'evil.pkl'
    path.write_bytes(pickle.dumps({(3, 100): Call(f, *args)}, protocol))
    with pytest.raises(DataError, match=rf'evil.pkl: the pickle asks for \w+\.{wanted}\.'): read_volleyball(root, [3], boxes=path)
    time.sleep(.05 if wanted == 'Popen' else 0)
    assert not harm.exists() and not harm.with_suffix('.npy').exists()

@pytest.mark.parametrize('content,message', [
    (b'', 'cannot be read'), (b'no pickle', 'cannot be read'), (pickle.dumps({1: 2})[:-3], 'cannot be read'), (pickle.dumps([1]), 'holds a list'),
    (pickle.dumps({}), 'clip 3/100: no whole tracks'), (pickle.dumps({(3, 100): 7}), 'no whole tracks'), (pickle.dumps({(3, 100): {100: np.ones((2, 4))}}), 'no whole tracks.*95'),
    (pickle.dumps({(3, 100): {100+d: np.ones((9+d, 4)) for d in WINDOW}}), 'no whole tracks'), (pickle.dumps({(3, 100): {100+d: np.ones((2, 3)) for d in WINDOW}}), r'shape \(2, 3\)'),
    (pickle.dumps({(3, 100): {100+d: np.ones((2, 4)) for d in WINDOW}}), 'box 0 .*no area')])
def test_damaged_pickle(root, content, message):
    (root/'bad.pkl').write_bytes(content)
    with pytest.raises(DataError, match=message): read_volleyball(root, [3], boxes=root/'bad.pkl')
    assert not doctor(root, boxes=root/'bad.pkl', progress=False).ok

def test_matching_undoes_any_order():
    rng = np.random.default_rng(0)
    low = rng.random((12, 2))
    a = np.concatenate([low, low+.1], 1)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(12)
        i, j = match_boxes(a[order] + .005, a)
        assert (order[i] == j).all() and len(i) == 12

# --- real data ---------------------------------------------------------------

@real
def test_all_real_annotations():
    clips = {s: read_volleyball(REAL, s, frames='none') for s in ('trainval', 'test')}
    assert {s: len(c) for s, c in clips.items()} == dict(trainval=3493, test=1337)
    every = clips['trainval'] + clips['test']
    assert Counter(ACTIVITIES[c.activity] for c in every) == dict(l_pass=826, r_pass=801, r_set=644, l_spike=642, l_set=632, r_spike=623, l_winpoint=367, r_winpoint=295)
    assert Counter(ACTIONS[a] for c in every for a in c.actions) == dict(standing=38686, moving=5120, waiting=3600, blocking=2458, digging=2333,
        setting=1332, falling=1241, spiking=1216, jumping=341)
    sizes = json.loads((REAL/'image_sizes.json').read_text())
    assert all(list(c.size) == sizes[c.name.split('/')[0]] for c in every)

@real
def test_real_frames():
    clips = read_volleyball(REAL, range(55), frames='available')
    assert sorted(c.name for c in clips) == sorted(EIGHT)
    ds = ClipDataset(clips, size=(72, 128), n_frames=1)
    assert all(ds[i][0].shape == (1, 3, 72, 128) and ds[i][0].float().std() > 10 for i in range(len(ds)))
    with pytest.raises(DataError, match='clips lack frames'): read_volleyball(REAL, [39])

@real
def test_real_tracks():
    plain, tracked = (read_volleyball(REAL, [7], boxes=b, frames='none') for b in ('annotation', 'tracking'))
    assert [c.name for c in plain] == [c.name for c in tracked] and len(plain) == 106
    pairs = [(p, t, *match_boxes(t.boxes[5], p.boxes[5])) for p, t in zip(plain, tracked)]
    same = np.concatenate([t.actions[i] == p.actions[j] for p, t, i, j in pairs])
    assert len(same) > 1100 and same.mean() > .9
    assert (tracked[0].boxes[0] != tracked[0].boxes[9]).any() # they move
