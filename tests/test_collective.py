"Collective Activity: bad input of every kind gets a clear error, the doctor sees it too, and the real annotations are read whole."
import json
from collections import Counter
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from aclip.data.clips import DataError
from aclip.data.loaders import clip_dl
from aclip.data.collective import LENGTHS, count_key_frames, partition_key_frames, read_collective, sequence_folders
from aclip.data.collective_annotation import ACTIONS, ACTIVITIES, CLASSES, MERGED, SPLITS, group_activity, read_key_frames
from aclip.data.datasets import DATASETS, detect_dataset
from aclip.data.doctor import doctor
from helpers import aclip

REAL = Path(__file__).parents[2]/'shared'/'data'/'collective'
real = pytest.mark.skipif(not REAL.exists(), reason=f'no real data at {REAL}')
ROWS = {'seq01': ['1 -5 20 30 40 2 -1', '1 50 60 30 40 5 3', '1 90 60 30 40 1 -1', '11 50 60 30 40 3 -1'], # training
        'seq05': ['1 50 60 30 40 6 -1', '11 10 10 20 20 1 -1', '531 10 10 20 20 2 -1'],                                    # test; all NA, and too short
        'seq20': ['1 150 60 30 40 4 -1']}                                                                                  # training; reaches out
USED = {'seq01': (1, 11), 'seq05': (1,), 'seq20': (1,)}
SIZE = (100, 160)

@pytest.fixture
def root(tmp_path):
    "A small dataset in the official layout: four whole clips in three sequences."
    for name, rows in ROWS.items():
        (tmp_path/name).mkdir()
        (tmp_path/name/'annotations.txt').write_text('\n'.join(r.replace(' ', '\t') for r in rows))
        for k in USED[name]:
            for f in range(k, k+10): Image.effect_noise(SIZE[::-1], 80).convert('RGB').save(tmp_path/name/f'frame{f:04}.jpg', quality=50)
    return tmp_path

def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

def test_reads_the_layout(root):
    clips = read_collective(root, [1, 5, 20])
    assert [c.name for c in clips] == ['seq01/1', 'seq01/11', 'seq05/1', 'seq20/1']
    assert [ACTIVITIES[c.activity] for c in clips] == ['moving', 'waiting', 'talking', 'queueing']
    assert [ACTIONS[a] for a in clips[0].actions] == ['moving', 'moving', 'NA']
    assert all(c.size == SIZE for c in clips) and [p.name for p in clips[1].frames] == [f'frame{i:04}.jpg' for i in range(11, 21)]
    boxes = np.array([[0, 20, 25, 60], [50, 60, 80, 100], [90, 60, 120, 100]])/[160, 100, 160, 100]
    np.testing.assert_allclose(clips[0].boxes, np.tile(boxes, (10, 1, 1)), rtol=1e-6)
    assert read_collective(root, [5, 1], frames='none')[0].name == 'seq05/1'
    assert count_key_frames(root, [1, 5, 20]) == dict(used=4, all_NA=1, short=1)

def test_batches_of_any_number_of_actors(root):
    clips = read_collective(root, [1, 5, 20])
    frames, boxes, mask, activity, actions = clip_dl(clips, bs=4, size=(24, 36), num_workers=0, n_actors=13, device='cpu').one_batch()
    assert frames.shape == (4, 9, 3, 24, 36) and mask.sum(1).tolist() == [3, 1, 1, 1] and (actions[~mask] == -100).all() and not boxes[:, :, 3:].any()

def test_known_sizes_without_frames(root):
    for p in root.glob('*/*.jpg'): p.unlink()
    edit(root/'seq20/annotations.txt', '150', '750')
    assert [c.size for c in read_collective(root, [5, 20], frames='none')] == [(480, 720), (450, 800)]

@pytest.mark.parametrize('old,new,message', [
    ('\t2\t-1', '\t0\t-1', 'annotations.txt:1: class 0. Expected 1 to 6: NA crossing'), ('\t5\t3', '\t7\t3', 'annotations.txt:2: class 7'),
    ('\t2\t-1', '\tx\t-1', 'annotations.txt:1: invalid'), ('\t5\t3', '\t5', 'annotations.txt:2: 6 fields. Expected 7'), ('\t5\t3', '\t5\t3\t3', '8 fields'),
    ('50\t60', '5O\t60', 'annotations.txt:2: could not convert'), ('1\t-5', 'one\t-5', 'annotations.txt:1: invalid'), ('1\t-5', '1.5\t-5', 'annotations.txt:1: invalid'),
    ('50\t60\t30\t40', '50\t60\t30\t0', 'frame 1: box 1 .*no area'), ('50\t60\t30\t40', '50\t60\t-3\t40', 'frame 1: box 1 .*no area'),
    ('50\t60', '160\t60', 'frame 1: box 1 .*outside'), ('-5\t20', '-50\t20', 'frame 1: box 0 .*outside'), ('50\t60', 'nan\t60', 'frame 1: box 1 .*not finite')])
def test_malformed_annotation(root, old, new, message):
    edit(root/'seq01/annotations.txt', old, new)
    with pytest.raises(DataError, match=f'seq01.*{message}'): read_collective(root, [1])
    report = doctor(root, progress=False)
    assert report.levels['error'] == 1 and 'seq01/annotations.txt' in next(f.where for f in report.findings if f.level == 'error')

@pytest.mark.parametrize('kw,message', [
    (dict(split='valid'), "unknown split 'valid'.*trainval"), (dict(frames='some'), "frames='some'"), (dict(boxes='tracking'), "boxes='tracking'.*annotation"),
    (dict(merge='never'), "merge='never'.*after or before"), (dict(split='val'), 'seq04/annotations.txt: cannot be read'), (dict(split='val', frames='available'), "no clip of split 'val'"),
    (dict(split='test', frames='available'), "split 'test' has one activity, talking"), (dict(split=[]), 'no clip'), (dict(root='nowhere'), 'nowhere: no such folder')])
def test_bad_requests(root, kw, message):
    with pytest.raises(DataError, match=message): read_collective(**dict(root=root, split=[1]) | kw)

@pytest.mark.parametrize('text', ['', '\n\n', '2 1 1 9 9 2 -1'])
def test_no_key_frames(root, text):
    (root/'seq05/annotations.txt').write_text(text)
    with pytest.raises(DataError, match='seq05/annotations.txt: no key frame'): read_collective(root, [5])
    assert [f.message[:12] for f in doctor(root, progress=False).findings if f.level == 'error'] == ['no key frame']

def test_missing_frames(root):
    (root/'seq01/frame0015.jpg').unlink()
    with pytest.raises(DataError, match=r'1 of 2 clips lack frames; the first is seq01/11 \(1 of 10, first frame0015.jpg\).*available'): read_collective(root, [1])
    assert [c.name for c in read_collective(root, 'trainval', frames='available')] == ['seq01/1', 'seq20/1']
    assert len(read_collective(root, [1], frames='none')) == 2
    report = doctor(root, progress=False)
    assert report.ok and report.incomplete == ['seq01/11'] and report.levels['warning'] == 1

def test_no_limit_to_a_sequence_of_ones_own(root):
    (root/'seq05').rename(root/'seq77')
    assert [c.name for c in read_collective(root, [77], frames='none')] == ['seq77/1', 'seq77/531']
    assert any('seq77' in f.where and 'not one of the official 44' in f.message for f in doctor(root, progress=False).findings)

def published(classes):
    "The activity as the public readers count it: of the two most frequent classes, the first that is not NA; then merged."
    first, *second = Counter(classes).most_common(2)
    c = first[0] if first[0] else second[0][0]
    return MERGED[c] - 1

def test_the_activity_is_that_of_the_public_readers():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        classes = rng.integers(0, 6, rng.integers(1, 14)).tolist()
        if any(classes): assert group_activity(classes) == published(classes)
        else: assert group_activity(classes) is None

def test_merging_first_is_a_majority_of_the_merged():
    rng = np.random.default_rng(1)
    for _ in range(500):
        classes = rng.integers(1, 6, rng.integers(1, 14)).tolist()
        n = Counter(MERGED[c]-1 for c in classes)
        assert n[group_activity(classes, 'before')] == max(n.values())

def test_splits():
    every = SPLITS['train'] + SPLITS['val'] + SPLITS['test']
    assert sorted(every) == list(range(1, 45)) == sorted(LENGTHS) and set(SPLITS['trainval']) == set(SPLITS['train'] + SPLITS['val'])

# --- both datasets, and the doctor --------------------------------------------

def test_detects_and_reads_alike(root, tmp_path_factory):
    d = detect_dataset(root)
    assert d is DATASETS['collective'] and len(d.read(root, [1], boxes='annotation', frames='none')) == 2
    with pytest.raises(AttributeError): d.name = 'other'
    with pytest.raises(DataError, match='no known dataset.*volleyball.*seq01 to seq44'): detect_dataset(tmp_path_factory.mktemp('empty'))
    (root/'videos').mkdir()
    with pytest.raises(DataError, match='two datasets'): detect_dataset(root)
    assert not doctor(root, progress=False).ok

def test_doctor_of_a_sound_folder(root):
    report = doctor(root, decode=True, progress=False)
    assert report.ok and report.dataset == 'collective' and report.splits == {'train': 3, 'test': 1} and report.players == {3: 1, 1: 3}
    assert report.actions == dict(crossing=1, walking=1, NA=1, waiting=1, talking=1, queueing=1) and report.left_out == dict(all_NA=1, short=1)
    assert report.clipped == 2 and report.sizes == {'100 x 160': 4} and {f.level for f in report.findings} == {'note'}
    assert any('1 box begins at negative pixels, 1 reaches beyond' in f.message for f in report.findings)
    assert json.loads(json.dumps(report.to_dict()))['left_out'] == dict(all_NA=1, short=1)

def test_doctor_finds_everything_at_once(root):
    with open(root/'seq01/annotations.txt', 'a') as f: f.write('\n11 50 60 30 40 4 -1\n41 10 10 9 9 8 -1\n51 10 10 9 9 2 -1\n51 10 200 9 9 2 -1')
    (root/'seq20/frame0003.jpg').write_bytes(b'')
    Image.new('RGB', (80, 50)).save(root/'seq20/frame0004.jpg')
    (root/'seq02').mkdir()
    report = doctor(root, progress=False)
    found = sorted((f.level, f.where.removeprefix(str(root))) for f in report.findings if f.level != 'note')
    assert found == sorted([('error', '/seq01/annotations.txt:6'), ('error', '/seq01/annotations.txt, frame 51'), ('error', '/seq01/annotations.txt, frame 11'),
        ('error', '/seq20/frame0003.jpg'), ('error', '/seq20/frame0004.jpg'), ('error', '/seq02/annotations.txt')])
    assert any(f.where == 'seq01' and '3 key frames without annotation between' in f.message for f in report.findings)
    assert report.without_frames == ['seq01/51']

@pytest.mark.parametrize('boxes', ['tracking', 'tracks.pkl'])
def test_doctor_knows_no_tracks(root, boxes): assert not doctor(root, boxes=boxes, progress=False).ok

def test_the_command_takes_either_layout(root):
    status, out, _ = aclip('doctor', '--data', root, '--json', '--quiet')
    assert status == 0 and json.loads(out)['dataset'] == 'collective'
    (root/'seq01/frame0001.jpg').write_bytes(b'')
    assert aclip('doctor', '--data', root, '--quiet')[0] == 1

# --- real data ---------------------------------------------------------------

@real
def test_all_real_annotations():
    keys = {f.name: read_key_frames(f/'annotations.txt') for f in sequence_folders(REAL, range(1, 45))}
    classes = Counter(CLASSES[l] for ks in keys.values() for k in ks for l in k.labels)
    assert classes == dict(NA=271, crossing=2436, waiting=2197, queueing=3735, walking=2523, talking=1882)
    assert (sum(map(len, keys.values())), sum(classes.values())) == (2547, 13_044)
    assert all(group_activity(k.labels) == published(k.labels.tolist()) for ks in keys.values() for k in ks)
    assert sum(len(partition_key_frames(ks)['all_NA']) for ks in keys.values()) == 0

@real
def test_real_splits():
    clips = {s: read_collective(REAL, s, frames='none') for s in ('train', 'val', 'trainval', 'test')}
    assert {s: len(c) for s, c in clips.items()} == dict(train=1410, val=336, trainval=1746, test=765)
    assert all({c.activity for c in cs} == set(range(4)) and {a for c in cs for a in c.actions} == set(range(5)) for cs in clips.values())
    assert max(len(c.actions) for cs in clips.values() for c in cs) == 11
    other = read_collective(REAL, 'test', frames='none', merge='before')
    assert [a.name for a, b in zip(clips['test'], other) if a.activity != b.activity] == [f'seq05/{f}' for f in (191, 201, 251, 351, 501)]

@real
def test_real_folder_passes_the_doctor():
    report = doctor(REAL, progress=False)
    assert report.ok and not report.levels['warning'] and report.left_out == {'short': 36}
    assert {f.where for f in report.findings if 'between the others' in f.message} == {'seq02', 'seq08', 'seq21', 'seq37'}
    status, out, _ = aclip('doctor', '--data', REAL, '--quiet')
    assert status == 0 and '2511 clips' in out
