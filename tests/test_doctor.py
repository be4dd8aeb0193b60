"The doctor: a sound folder has no errors, every fault is found in one pass, and a new dataset needs only its registry entry."
import json
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from aclip.data.clips import Clip, DataError
from aclip.data.datasets import DATASETS, Dataset, detect_dataset
from aclip.data.doctor import doctor
from aclip.data.findings import Report, check_sizes, count_clip
from aclip.data.volleyball_annotation import WINDOW
from helpers import aclip

REAL = Path(__file__).parents[2]/'shared'/'data'/'volleyball'
real = pytest.mark.skipif(not REAL.exists(), reason=f'no real data at {REAL}')
SIZE = (90, 160)
CLIPS = {
    # Training videos. Two boxes of the second clip reach outside the frame.
    '3/100': 'r-pass 10 20 30 40 standing 50 20 30 40 moving 90 20 30 40 blocking',
    '3/200': 'l_set -5 20 30 40 waiting 50 60 30 40 setting',
    # Test video.
    '4/100': 'l-spike 10 20 30 40 spiking 50 20 30 40 standing'}

def track_lines(target):
    "A track file's lines: three players, who move down one pixel a frame."
    return [f'{p} {10+40*p} {20+d} {40+40*p} {60+d} {target+d} 0 0 1 standing' for p in range(3) for d in range(-10, 10)]

@pytest.fixture
def root(tmp_path):
    "A small Volleyball folder: frames, annotation and tracks of three clips in two videos."
    for name, line in CLIPS.items():
        video, target = name.split('/')
        clip = tmp_path/'videos'/name
        clip.mkdir(parents=True)
        for d in WINDOW: Image.effect_noise(SIZE[::-1], 80).convert('RGB').save(clip/f'{int(target)+d}.jpg')
        with open(tmp_path/f'videos/{video}/annotations.txt', 'a') as f: f.write(f'{target}.jpg {line}\n')
        tracks = tmp_path/'volleyball_tracking_annotation'/name
        tracks.mkdir(parents=True)
        (tracks/f'{target}.txt').write_text('\n'.join(track_lines(int(target))))
    return tmp_path

def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

def serious(report): return [f for f in report.findings if f.level != 'note']

# --- one folder --------------------------------------------------------------

def test_doctor_of_a_sound_folder(root):
    report = doctor(root, boxes='tracking', decode=True, progress=False)
    assert report.ok and report.splits == {'train': 2, 'test': 1} and report.players == {2: 2, 3: 1}
    assert {f.level for f in report.findings} == {'note'}
    assert doctor(root, progress=False).clipped == 2
    assert json.loads(json.dumps(report.to_dict()))['activities'] == {'r_pass': 1, 'l_set': 1, 'l_spike': 1}

def test_doctor_finds_everything_in_one_pass(root):
    videos = root/'videos'
    edit(videos/'3/annotations.txt', 'r-pass', 'r-pas')
    with open(videos/'3/annotations.txt', 'a') as f:
        f.write(f"200.jpg {CLIPS['3/200']}\n300.jpg l_set 1\n400.jpg l_set 500 0 9 9 moving\n")
    cut = videos/'4/100/100.jpg'
    cut.write_bytes(cut.read_bytes()[:500])
    Image.new('RGB', (80, 45)).save(videos/'4/100/101.jpg')
    (videos/'4/100/102.jpg').unlink()
    for name in ('99', '5', '6'): (videos/name).mkdir()
    (videos/'6/annotations.txt').write_bytes(b'\xff\x00\n\n')
    report = doctor(root, progress=False)
    found = sorted((f.level, f.where.replace(str(videos), '')[-20:]) for f in serious(report))
    assert found == sorted([
        ('error', '/3/annotations.txt:1'), ('error', '/3/annotations.txt:4'), ('error', '/3/annotations.txt:5'), ('error', '/3/annotations.txt:3'),
        ('error', '/4/100/100.jpg'), ('error', '/4/100/101.jpg'), ('warning', '4/100'),
        ('error', '/99/annotations.txt'), ('error', '/5/annotations.txt'), ('error', '/6/annotations.txt:1')])
    assert report.without_frames == ['3/400'] and '3/annotations.txt:4' in str(report)
    assert [f.where for f in report.findings if 'not one of the official 55' in f.message] == ['video 99']

def test_damage_inside_a_frame_needs_decoding(root):
    path = root/'videos/3/100/100.jpg'
    data = path.read_bytes()
    at = data.index(b'\xff\xc4') + 5 # in a Huffman table: header and end marker are still fine
    path.write_bytes(data[:at] + b'\xff'*8 + data[at+8:])
    assert doctor(root, progress=False).ok
    errors = [f.where for f in doctor(root, decode=True, progress=False).findings if f.level == 'error']
    assert errors == [f'{path} (clip 100)']

@pytest.mark.parametrize('path', ['', 'nowhere', 'videos/3/annotations.txt'])
def test_doctor_of_no_dataset(tmp_path, path):
    report = doctor(tmp_path/path, progress=False)
    assert not report.ok and report.dataset == ''

def test_all_bad_lines_of_a_track_file(root):
    path = root/'volleyball_tracking_annotation/3/100/100.txt'
    path.write_text(path.read_text().replace('0 0 1 standing', '0 0 standing', 3))
    found = [f.where for f in serious(doctor(root, boxes='tracking', progress=False))]
    assert found == [f'{path}:{i}' for i in (1, 2, 3)]
    assert doctor(root, progress=False).ok

@pytest.mark.parametrize('boxes', ['tracks.pkl', 'trackings'])
def test_unknown_boxes(root, boxes):
    report = doctor(root, boxes=boxes, progress=False)
    assert [f.level for f in report.findings] == ['error'] and 'no such file' in report.findings[0].message

def test_folder_names(root):
    (root/'videos/4').rename(root/'videos/04')
    assert [f.where for f in serious(doctor(root, progress=False))] == [str(root/'videos/04')]
    for name in ('3', '04'): (root/'videos'/name).rename(root/name)
    assert 'no video folders' in doctor(root/'volleyball_tracking_annotation/..', progress=False).findings[0].message

def test_too_many_people_and_no_split(root):
    report = Report('toy')
    count_clip(report, DATASETS['volleyball'], 77, '77/1', 'r_set', ['standing']*13, (720, 1280))
    assert report.splits == {'no split': 1} and report.players == {13: 1}
    assert [(f.level, f.where) for f in report.findings] == [('error', '77/1')]

def test_the_most_frequent_size_is_expected():
    report = Report('toy')
    assert check_sizes(report, {i: (4, 5) if i in (1, 2) else (8, 9) for i in range(6)}) == (8, 9)
    assert [f.where for f in report.findings] == ['1', '2']

def test_a_printed_report_has_at_most_twenty_findings():
    report = Report('toy')
    for i in range(30): report.add('note', f'clip {i}: late')
    report.add('error', 'clip 30: broken')
    lines = str(report).splitlines()
    assert '  error   clip 30: broken' in lines and lines[-1] == '... and 11 more; to_dict() has them all'
    assert len(report.to_dict()['findings']) == 31

# --- the official counts -----------------------------------------------------

@real
def test_clips_missing_from_a_complete_folder(tmp_path):
    for folder in (REAL/'videos').iterdir():
        (tmp_path/'videos'/folder.name).mkdir(parents=True)
        (tmp_path/'videos'/folder.name/'annotations.txt').write_text((folder/'annotations.txt').read_text())
    report = doctor(tmp_path, progress=False)
    assert report.levels == {'note': 1} and report.splits == dict(train=2152, val=1341, test=1337)
    path = tmp_path/'videos/4/annotations.txt'
    path.write_text(''.join(path.read_text().splitlines(True)[1:]))
    assert [(f.level, f.where) for f in serious(doctor(tmp_path, progress=False))] == [('warning', 'test')]
    (tmp_path/'videos/53/annotations.txt').unlink()
    (tmp_path/'videos/53').rmdir()
    assert doctor(tmp_path, progress=False).ok and not serious(doctor(tmp_path, progress=False))

# --- the registry ------------------------------------------------------------

def test_entries_are_whole():
    for name, dataset in DATASETS.items():
        assert dataset.name == name and dataset.title
        assert set(dataset.splits) == {'train', 'val', 'trainval', 'test'} and set(dataset.official) == {'trainval', 'test'}
        assert set(dataset.splits['train']) | set(dataset.splits['val']) == set(dataset.splits['trainval'])
        assert dataset.numbers == set(dataset.splits['trainval']) | set(dataset.splits['test'])
        assert dataset.box_sources[0] == 'annotation' and callable(dataset.read) and callable(dataset.check)
        assert len(dataset.action_weights or dataset.actions) == len(dataset.actions)

@pytest.mark.parametrize('name', DATASETS)
def test_box_sources_are_those_that_exist(name):
    "The reader raises for each kind of boxes that the entry does not list, and for no other reason than missing files if it does."
    for kind in {k for d in DATASETS.values() for k in d.box_sources}:
        with pytest.raises(DataError) as e: DATASETS[name].read('nowhere', boxes=kind)
        assert ('Expected annotation:' in str(e.value)) == (kind not in DATASETS[name].box_sources)

def lobby(root, split='trainval', boxes='annotation', frames='required'):
    "Reader of a dataset of one clip."
    return [Clip('cam1/1', (Path(root)/'cam1/1.jpg',), np.float32([[[0, 0, .5, .5]]]), np.array([0]), 0, SIZE)]

def check_lobby(report, dataset, root, boxes, decode, progress):
    report.add('warning', 'cam1: the lens is dirty')
    for clip in dataset.read(root): count_clip(report, dataset, 1, clip.name, 'rest', ['sit'], clip.size)
    return True

LOBBY = Dataset(
    'lobby', 'Lobby', actions=('sit',), activities=('rest',), action_weights=None,
    splits=dict(train=(1,), val=(), trainval=(1,), test=()), official=dict(trainval=1, test=0), read=lobby,
    check=check_lobby, box_sources=('annotation',), n_actors=5, size=(48, 72), recipes={}, dropout={}, relation={}, teacher='random',
    folders=r'cam\d', layout='folders cam1 to cam9')

def test_a_third_dataset_is_one_entry(tmp_path, monkeypatch):
    (tmp_path/'cam1').mkdir()
    assert not doctor(tmp_path, progress=False).ok
    monkeypatch.setitem(DATASETS, 'lobby', LOBBY)
    assert detect_dataset(tmp_path) is LOBBY and detect_dataset(tmp_path).read(tmp_path)[0].name == 'cam1/1'
    report = doctor(tmp_path, progress=False)
    assert report.dataset == 'lobby' and report.splits == {'train': 1} and [f.where for f in report.findings] == ['cam1']
    status, out, _ = aclip('doctor', '--data', tmp_path, '--json', '--quiet')
    assert status == 0 and json.loads(out)['dataset'] == 'lobby'
    monkeypatch.setitem(DATASETS, 'lobby', replace(LOBBY, official=dict(trainval=2, test=0)))
    assert [f.where for f in serious(doctor(tmp_path, progress=False))] == ['cam1', 'trainval']
    with pytest.raises(DataError, match=r'folders cam1 to cam9 \(lobby\)'): detect_dataset(tmp_path/'cam1')
