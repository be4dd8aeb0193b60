"The synthetic world: deterministic, in the official layout, true to the real frequencies, safe to continue and to point at the wrong folder."
import json, shutil, subprocess, sys, time
from collections import Counter
from hashlib import sha1
from pathlib import Path
import numpy as np, pytest
from aclip.data.clips import DataError
from aclip.data.loaders import clip_dl
from aclip.data.doctor import doctor
from aclip.data.players import POSES, Camera, motion, person_box, skeleton
from aclip.data.scene import ACTION_COUNTS, ACTIVITY_COUNTS, PLAYS, cast, make_scene, plan_activities
from aclip.data.scene_labels import PHRASES, faces_right
from aclip.data.synthetic import make_world, read_captions, world_videos
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES, SPLITS
from aclip.data.volleyball import read_volleyball

SMALL = dict(clips=16, videos=4, size=(90, 160), seed=3, workers=0, progress=False)
WORLD = dict(seed=3, difficulty=.5, size=(90, 160), frames=10)

def tree(root): return {str(f.relative_to(root)): sha1(f.read_bytes()).hexdigest() for f in sorted(root.rglob('*')) if f.is_file()}
def read(root, **kw): return read_volleyball(root, range(55), frames='available', **kw)

@pytest.fixture(scope='module')
def whole(tmp_path_factory): return make_world(tmp_path_factory.mktemp('w')/'world', **SMALL)

@pytest.fixture
def copy(whole, tmp_path): return shutil.copytree(whole, tmp_path/'world')

# --- same seed, same bytes ----------------------------------------------------

def test_workers_make_no_difference(whole, tmp_path):
    assert tree(make_world(tmp_path/'two', **SMALL | dict(workers=2))) == tree(whole)

def test_another_seed_is_another_world(whole, tmp_path):
    a, b = tree(whole), tree(make_world(tmp_path/'other', **SMALL | dict(seed=4)))
    assert a.keys() == b.keys() and all(a[k] != b[k] for k in a if k.endswith('.jpg'))

@pytest.mark.parametrize('lost', ['videos/1', 'videos/0/1000', 'videos/0/1000/997.jpg', 'volleyball_tracking_annotation', 'captions/4/1100.txt', 'videos/4/annotations.txt'])
def test_killed_run_continues(whole, copy, lost):
    path = copy/lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (copy/'.partial/7').mkdir(parents=True)
    (copy/'.partial/7/1.jpg').write_bytes(b'half')
    make_world(copy, **SMALL)
    assert tree(copy) == tree(whole)

def test_kill_in_the_middle(whole, tmp_path, monkeypatch):
    from aclip.data import synthetic
    real, done = synthetic._write_frames, []
    def dies(*args):
        if len(done) == 5: raise KeyboardInterrupt
        done.append(real(*args))
    monkeypatch.setattr(synthetic, '_write_frames', dies)
    with pytest.raises(KeyboardInterrupt): make_world(tmp_path/'world', **SMALL)
    monkeypatch.undo()
    assert tree(make_world(tmp_path/'world', **SMALL)) == tree(whole)

def running(word):
    "Processes whose command line holds `word`."
    return [d.name for d in Path('/proc').glob('[0-9]*') if word in _read(d/'cmdline')]

def _read(f):
    try: return f.read_bytes().decode(errors='replace')
    except OSError: return ''

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='no list of processes here')
@pytest.mark.parametrize('clips', [1, 4, 9])
def test_killed_with_workers(whole, tmp_path, clips):
    "kill -9 after a few clips, and at once the next run: same bytes, and no worker of the dead run goes on."
    code = f"from aclip.data.synthetic import make_world; make_world({str(tmp_path/'world')!r}, **{SMALL | dict(workers=2)!r})"
    p = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.DEVNULL)
    start = time.time()
    while p.poll() is None and len([*tmp_path.glob('world/videos/*/*')]) < clips and time.time() - start < 60: time.sleep(.01)
    p.kill(); p.wait()
    assert tree(make_world(tmp_path/'world', **SMALL)) == tree(whole)
    start = time.time()
    while running(str(tmp_path)) and time.time() - start < 20: time.sleep(.1)
    assert not running(str(tmp_path)) and tree(tmp_path/'world') == tree(whole)

def test_finished_clips_are_left_alone(copy):
    jpg = copy/'videos/0/1000/1000.jpg'
    before = jpg.stat().st_mtime_ns
    make_world(copy, **SMALL)
    assert jpg.stat().st_mtime_ns == before

def test_more_frames_change_no_annotation(tmp_path):
    short, long = (make_world(tmp_path/f'{n}', **SMALL | dict(clips=3, videos=3, frames=n)) for n in (10, 41))
    a, b = tree(short), tree(long)
    assert all(a[k] == b[k] for k in a if k.endswith('.txt'))
    assert sorted(int(f.stem) for f in (long/'videos/0/1000').iterdir()) == [*range(980, 1021)]
    assert sorted(int(f.stem) for f in (short/'videos/0/1000').iterdir()) == [*range(995, 1005)]

# --- the official layout --------------------------------------------------------

@pytest.mark.parametrize('boxes', ['annotation', 'tracking'])
def test_doctor_finds_only_notes(whole, boxes):
    r = doctor(whole, boxes=boxes, decode=True, progress=False)
    assert {f.level for f in r.findings} == {'note'} and all('is a part of it' in f.message for f in r.findings), r
    assert all(r.splits[s] for s in ('train', 'val', 'test')) and not r.incomplete and not r.without_frames and sum(r.splits.values()) == 16

def test_tracks_agree_with_the_annotation(whole):
    for a, b in zip(read(whole), read(whole, boxes='tracking')):
        assert a.name == b.name and (a.boxes[5] == b.boxes[5]).all() and (a.actions == b.actions).all()
        assert (b.boxes.std(0) > 0).any() # they move

def test_annotation_is_spelt_as_the_real_one(whole):
    words = {line.split()[1] for f in whole.rglob('annotations.txt') for line in f.read_text().splitlines()}
    assert words <= {'r_set', 'r_spike', 'r-pass', 'r_winpoint', 'l_set', 'l-spike', 'l-pass', 'l_winpoint'} and len(words) > 5

def test_batches(whole):
    frames, boxes, mask, activity, actions = next(iter(clip_dl(read(whole), bs=4, size=(90, 160), n_frames=3, num_workers=0, device='cpu')))
    assert frames.shape == (4, 3, 3, 90, 160) and boxes.shape[-1] == 4 and mask.any(1).all() and frames.float().std() > 20

@pytest.mark.parametrize('n', [3, 10, 55])
def test_every_split_is_populated(n):
    videos = world_videos(n)
    assert len({*videos}) == n and all({*videos} & {*SPLITS[s]} for s in ('train', 'val', 'test'))

# --- what happens in it ---------------------------------------------------------

@pytest.mark.parametrize('clips', [16, 200, 4830])
def test_activity_frequencies(clips):
    n = np.bincount(plan_activities(clips, 1), minlength=8)
    assert np.abs(n - np.array([*ACTIVITY_COUNTS.values()])*clips/4830).max() < 1.01

def test_action_frequencies():
    rng, n = np.random.default_rng(5), Counter()
    for g in plan_activities(4830, 5): n.update(sum(cast(ACTIVITIES[g], rng), []))
    for a in ACTIONS:
        real, ours = ACTION_COUNTS[a]/sum(ACTION_COUNTS.values()), n[a]/n.total()
        assert abs(ours-real) < max(.003, .15*real), (a, real, ours)

@pytest.mark.parametrize('activity', ACTIVITIES)
def test_activity_follows_from_actions(activity):
    rng = np.random.default_rng(0)
    for _ in range(100):
        left, right = cast(activity, rng)
        own, other = (left, right) if activity[0] == 'l' else (right, left)
        assert len(left) == len(right) == 6
        if 'spike' in activity: assert own.count('spiking') == 1 and 1 <= other.count('blocking') <= 3
        if 'set' in activity: assert own.count('setting') == 1
        if 'pass' in activity: assert {'digging', 'falling'} & {*own}
        if 'winpoint' in activity: assert not {'spiking', 'setting', 'blocking', 'digging'} & {*own, *other}

def test_shares_are_shares():
    for sides in PLAYS.values():
        for keys, others in sides: assert abs(sum(keys.values())-1) < 1e-9 and sum(others.values()) < 1 and {*others} < {*ACTIONS}

@pytest.mark.parametrize('difficulty', [0, .5, 1])
def test_scenes(difficulty):
    for i in range(24):
        s = make_scene(i, i%10, ACTIVITIES[i%8], WORLD | dict(difficulty=difficulty))
        assert (s.joints[:, :6, 0, 0] < 0).all() and (s.joints[:, 6:, 0, 0] > 0).all() and s.joints[..., 2].min() > -.01 # own side, above the floor
        assert 7 <= len(s.seen) <= 12 and (np.diff(s.boxes[10, :, 0]) >= 0).all()
        assert (s.boxes >= 0).all() and (s.boxes <= [160, 90]*2).all() and (s.boxes[..., 2:] > s.boxes[..., :2]).all()

def test_difficulty_makes_poses_stray():
    def stray(d):
        joints = [make_scene(i, 0, 'l_set', WORLD | dict(difficulty=d)).joints for i in range(10)]
        clean = [make_scene(i, 0, 'l_set', WORLD | dict(difficulty=0)).joints for i in range(10)]
        rel = lambda j: j-j[:, :, :1]
        return np.mean([np.abs(rel(a)-rel(b)).mean() for a, b in zip(joints, clean)])
    assert stray(.2) < stray(1)

def test_poses_can_be_told_apart():
    shape = {a: (j := skeleton(POSES[a], (0, 0), 0.))[:, [0, 2]] - [j[0, 0], 0] for a in ACTIONS}
    gaps = {(a, b): np.abs(shape[a]-shape[b]).max() for a in ACTIONS for b in ACTIONS if a < b}
    assert min(gaps.values()) > .3, min(gaps, key=gaps.get)

@pytest.mark.parametrize('action', [*POSES])
def test_bodies_stay_whole(action):
    j = skeleton(motion(action, np.linspace(-1, 1, 41)), np.zeros((41, 2)), np.full(41, 1.))
    assert np.isfinite(j).all() and j[..., 2].min() > 0
    assert np.abs(np.linalg.norm(j[:, 10]-j[:, 9], axis=-1) - .45).max() < .06 # thighs keep their length
    box = person_box(*Camera((0, -12, 7), (0, 0, 1), 1., (180, 320)).project(j))
    assert (box[:, 2:] > box[:, :2]).all()

# --- captions -------------------------------------------------------------------

def test_captions_match_labels(whole):
    shirts = Counter()
    for c in read(whole):
        captions = read_captions(c)
        assert len(captions) == len(c.actions) and all(t.endswith((', facing left', ', facing right')) for t in captions)
        for a, text in zip(c.actions, captions): assert PHRASES[ACTIONS[a]] in text and sum(p in text for p in PHRASES.values()) == 1
        worn = {text.split(' in ')[1].split()[0].strip(',') for text in captions}
        assert len(worn) == 2; shirts.update(worn)
    assert len(shirts) > 3

def test_captions_name_the_side_that_players_face():
    right = np.array([faces_right(make_scene(i, i%10, ACTIVITIES[i%8], WORLD)) for i in range(40)]) # two teams at a net
    assert right[:, :6].mean() > .8 and right[:, 6:].mean() < .2

def test_captions_must_be_there(copy):
    clip = read(copy)[0]
    path = copy/f'captions/{clip.name}.txt'
    path.write_text('a player in red standing upright\n')
    with pytest.raises(DataError, match='1 captions for'): read_captions(clip)
    path.unlink()
    with pytest.raises(DataError, match='only synthetic worlds'): read_captions(clip)

# --- bad input ------------------------------------------------------------------

@pytest.mark.parametrize('wrong', [dict(size=(0, 160)), dict(size=(90,)), dict(size=90), dict(size=(90., 160)), dict(size=(160, 90)), dict(size=(90, 9000)), dict(clips=0),
    dict(clips=3), dict(clips=2.5), dict(clips=True), dict(videos=0), dict(videos=56), dict(frames=9), dict(frames=101), dict(difficulty=-.1), dict(difficulty=1.1),
    dict(difficulty=float('nan')), dict(difficulty='hard'), dict(seed=-1), dict(seed=.5), dict(workers=-1)], ids=str)
def test_impossible_arguments(tmp_path, wrong):
    name, = wrong
    with pytest.raises(DataError, match=f'{name}=.*Expected'): make_world(tmp_path/'world', **SMALL | wrong)
    assert not (tmp_path/'world').exists()

@pytest.mark.parametrize('other', [dict(seed=4), dict(clips=17), dict(videos=5), dict(size=(90, 150)), dict(frames=11), dict(difficulty=.4)], ids=str)
def test_another_world_is_refused(whole, other):
    before = tree(whole)
    with pytest.raises(DataError, match=f'another world .*{next(iter(other))}.*--overwrite'): make_world(whole, **SMALL | other)
    assert tree(whole) == before

def test_overwrite_replaces_a_world(copy, tmp_path):
    new = SMALL | dict(clips=8, seed=9)
    (copy/'notes.md').write_text('mine')
    make_world(copy, **new, overwrite=True)
    (copy/'notes.md').unlink() # what a world does not write is not its to remove
    assert tree(copy) == tree(make_world(tmp_path/'fresh', **new))

@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_folder_is_never_touched(tmp_path, overwrite):
    (tmp_path/'videos').mkdir(); (tmp_path/'videos/precious.txt').write_text('60 GB')
    with pytest.raises(DataError, match='something else'): make_world(tmp_path, **SMALL, overwrite=overwrite)
    assert [*tree(tmp_path)] == ['videos/precious.txt']

@pytest.mark.parametrize('card', ['', '{}', '[1]', '{"kind": '])
def test_damaged_card_is_refused(copy, card):
    (copy/'world.json').write_text(card)
    with pytest.raises(DataError, match='another world'): make_world(copy, **SMALL)

def test_card_holds_the_arguments(whole):
    card = json.loads((whole/'world.json').read_text())
    assert all(card[k] == (list(v) if k == 'size' else v) for k, v in SMALL.items() if k not in ('workers', 'progress'))

def test_a_file_is_no_folder(tmp_path):
    (tmp_path/'file').write_text('x')
    for root in (tmp_path/'file', tmp_path/'file/world'):
        with pytest.raises(DataError, match='file.*Expected'): make_world(root, **SMALL)

def test_read_only_folder(tmp_path, monkeypatch): # patched, because root may write everywhere
    def refuse(*args, **kw): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(Path, 'mkdir', refuse)
    with pytest.raises(DataError, match='Permission denied.*Expected a folder that one may write to'): make_world(tmp_path/'world', **SMALL)

def test_disk_full(tmp_path, monkeypatch):
    from PIL import Image
    def full(*args, **kw): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(DataError, match='No space left on device.*room on the disk'): make_world(tmp_path/'world', **SMALL)
