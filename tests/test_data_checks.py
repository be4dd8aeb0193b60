"Nothing wrong is read in silence: units, sizes, empty sources, contradictions, images, text and odd files; readers and doctor agree."
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, ImageOps
from aclip.data.boxes import normalise_boxes
from aclip.data.collective import read_collective
from aclip.data.doctor import doctor
from aclip.data.errors import DataError, DataWarning
from aclip.data.findings import Report, check_jpeg
from aclip.data.folder import read_boxes, read_folder
from aclip.data.images import MODES, frame_size, read_frame
from aclip.data.lines import parse_numbers
from aclip.data.volleyball import read_volleyball
from aclip.data.volleyball_annotation import WINDOW
from helpers import aclip

REAL = Path(__file__).parents[2]/'shared'/'data'
real = pytest.mark.skipif(not REAL.exists(), reason=f'no real data at {REAL}')
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

def collected(call):
    "The result of a call, and the texts of the `DataWarning`s that it gave."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        result = call()
    return result, [str(w.message) for w in caught if w.category is DataWarning]

def frames(folder, numbers, size=(90, 160), name='{}.jpg'):
    "Grey frames of a size (height, width)."
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers: Image.new('RGB', size[::-1], (90, 80, 70)).save(folder/name.format(n))
    return folder

class Source:
    "One kind of file with boxes: how it is written, and read, in a folder of frames of 720 x 1280 or 480 x 720."
    def __init__(self, root): self.root = root
    def doctor(self): return doctor(self.root, boxes=self.boxes, progress=False)
    boxes = 'annotation'

class Volleyball(Source):
    size = 720, 1280
    def write(self, xywh, repeat=1):
        self.path = self.root/'videos/7/annotations.txt'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = '100.jpg r_set ' + ' '.join(f'{x} {y} {w} {h} standing' for x, y, w, h in xywh)
        self.path.write_text(f'{line}\n'*repeat)
    def read(self): return read_volleyball(self.root, [7], boxes=self.boxes, frames='none')[0]

class Tracks(Volleyball):
    boxes = 'tracking'
    def write(self, xywh, repeat=1):
        super().write([(10, 10, 20, 30)])
        self.path = self.root/'volleyball_tracking_annotation/7/100/100.txt'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f'{i} {x} {y} {x+w} {y+h} {100+d} 0 0 1 standing' for i, (x, y, w, h) in enumerate(xywh) for d in WINDOW]
        self.path.write_text('\n'.join(rows*repeat))

class Collective(Source):
    size = 480, 720
    def write(self, xywh, repeat=1):
        self.path = self.root/'seq05/annotations.txt'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text('\n'.join([f'1\t{x}\t{y}\t{w}\t{h}\t3\t-1' for x, y, w, h in xywh]*repeat))
    def read(self): return read_collective(self.root, [5], frames='none')[0]

class Own(Source):
    size = 90, 160
    def write(self, xywh, repeat=1):
        frames(self.root/'f', range(10))
        self.path = self.root/'boxes.txt'
        self.path.write_text('\n'.join([f'{x} {y} {w} {h}' for x, y, w, h in xywh]*repeat))
    def read(self): return read_folder(self.root/'f', self.path)
    doctor = None

SOURCES = Volleyball, Tracks, Collective, Own
each_source = pytest.mark.parametrize('kind', SOURCES)
GOOD = [(10, 20, 20, 40), (60, 25, 20, 40), (110, 30, 20, 40)]

def fails(source, match):
    "The reader raises, and the doctor has an error about the same file."
    with pytest.raises(DataError, match=match) as e: source.read()
    if source.doctor:
        report = source.doctor()
        assert not report.ok and any(source.path.name in f.where for f in report.findings if f.level == 'error')
    return str(e.value)

def warns(source, words):
    "The reader warns, and the doctor has a finding that is more than a note."
    clip, texts = collected(source.read)
    assert any(words in t for t in texts), texts
    if source.doctor: assert any(words in f.message for f in source.doctor().findings if f.level != 'note')
    return clip

# --- units -------------------------------------------------------------------

@each_source
def test_good_boxes_give_no_warning(kind, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    clip, texts = collected(source.read)
    assert not texts and len(clip.actions) == 3
    h, w = source.size
    np.testing.assert_allclose(clip.boxes[0]*[w, h, w, h], [[x, y, x+a, y+b] for x, y, a, b in GOOD], rtol=1e-5)
    if source.doctor: assert source.doctor().ok and not source.doctor().levels['warning']

@each_source
@given(data=st.data())
@often
def test_boxes_in_0_to_1(kind, tmp_path, data):
    box = st.tuples(st.floats(0, .6), st.floats(0, .6), st.floats(.01, .4), st.floats(.01, .4))
    source = kind(tmp_path)
    source.write(data.draw(st.lists(box, min_size=1, max_size=4, unique=True)))
    assert 'in pixels' in fails(source, 'smaller than a pixel')

@each_source
@pytest.mark.parametrize('bad,message', [
    ((10, 20, .5, 40), 'smaller than a pixel'), ((10, 20, 20, .9), 'smaller than a pixel'), ((0, 0, 1, 1), 'smaller than a pixel'),
    ((10, 20, 10**6, 40), 'larger than twice'), ((10, 20, 20, 5000), 'larger than twice'), ((10, 20, 'nan', 40), 'finite'), ((10, 'inf', 20, 40), 'finite')])
def test_one_impossible_box(kind, bad, message, tmp_path):
    source = kind(tmp_path)
    if kind is Tracks: bad = tuple(map(float, bad))
    source.write([*GOOD, bad])
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        fails(source, message)

@pytest.mark.parametrize('kind', [Volleyball, Collective, Own])
@pytest.mark.parametrize('corners', [
    [(30, 20, 50, 80), (70, 20, 90, 80), (110, 30, 130, 88)],   # all inside
    [(90, 40, 120, 80), (100, 45, 140, 85)]])                    # two that reach out, where frames are small
def test_corners_in_place_of_widths(kind, corners, tmp_path):
    source = kind(tmp_path)
    if len(corners) == 2: corners = [tuple(v*source.size[0]//90 for v in c) for c in corners]
    source.write(corners)
    warns(source, 'look like corners')

@pytest.mark.parametrize('kind', [Volleyball, Collective, Own])
def test_a_large_share_at_the_edge(kind, tmp_path):
    h, w = (source := kind(tmp_path)).size
    source.write([(w - 10 - i, 5*i, 20 + i, 30) for i in range(12)])
    warns(source, '12 of 12 boxes reach over the edge')

@given(st.lists(st.lists(st.floats(-2000, 3000), min_size=4, max_size=4), min_size=1, max_size=5), st.sampled_from([(90, 160), (720, 1280)]))
@settings(max_examples=120, deadline=None)
def test_boxes_that_pass_are_plausible(xyxy, size):
    "Whatever comes, the result lies in 0..1 and its boxes were between one pixel and two frames large."
    try: boxes, _ = normalise_boxes(xyxy, size, 'a.txt:1')
    except DataError as e:
        assert str(e).startswith('a.txt:1: box ') and 'Expected' in str(e)
        return
    wh = np.subtract(np.array(xyxy)[:, 2:], np.array(xyxy)[:, :2])
    assert (0 <= boxes).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (wh >= 1).all() and (wh <= np.multiply(size[::-1], 2)).all()

def test_a_pickle_in_pixels(tmp_path):
    import pickle
    Volleyball(tmp_path).write(GOOD)
    yxyx = np.array([[0, 0, 60., 30], [25, 60, 65, 80]])
    (tmp_path/'t.pkl').write_bytes(pickle.dumps({(7, 100): {100+d: yxyx for d in WINDOW}}))
    with pytest.raises(DataError, match='tracks of the pickle: box 0 .*larger than twice.*in 0..1 of the frame'):
        read_volleyball(tmp_path, [7], boxes=tmp_path/'t.pkl', frames='none')

def test_a_pickle_that_matches_no_actor(tmp_path):
    import pickle
    Volleyball(tmp_path).write(GOOD)
    yxyx = np.array([[.8, .8, .9, .9]])
    (tmp_path/'t.pkl').write_bytes(pickle.dumps({(7, 100): {100+d: yxyx for d in WINDOW}}))
    _, texts = collected(lambda: read_volleyball(tmp_path, [7], boxes=tmp_path/'t.pkl', frames='none'))
    assert any('no track of the pickle overlaps' in t for t in texts)

# --- the size of the frames ----------------------------------------------------

@pytest.mark.parametrize('video,official', [(7, (720, 1280)), (39, (1080, 1920))])
@pytest.mark.parametrize('scale', [.5, 2/3, 1, 1.5, 2])
def test_frames_saved_at_another_size(tmp_path, video, official, scale):
    "The boxes of an official video are right whatever the size of its frames on disk."
    size = tuple(int(s*scale) for s in official)
    x, y = official[1]-280, official[0]-320
    frames(tmp_path/f'videos/{video}/100', range(95, 105), size)
    (tmp_path/f'videos/{video}/annotations.txt').write_text(f'100.jpg r_set {x} {y} 60 160 standing\n')
    (clip,), texts = collected(lambda: read_volleyball(tmp_path, [video]))
    h, w = official
    np.testing.assert_allclose(clip.boxes[0, 0]*[w, h, w, h], [x, y, x+60, y+160], rtol=1e-5)
    assert clip.size == size and bool(texts) == (scale != 1)
    assert read_frame(clip.frames[0], (18, 32), clip.size, clip.name).shape == (3, 18, 32)
    report = doctor(tmp_path, progress=False)
    assert report.ok and report.clipped == 0 and report.levels['warning'] == (scale != 1)

@pytest.mark.parametrize('seq,official', [(5, (480, 720)), (20, (450, 800))])
@pytest.mark.parametrize('scale', [.5, 1, 2])
def test_sequences_saved_at_another_size(tmp_path, seq, official, scale):
    size = tuple(int(s*scale) for s in official)
    x, y = official[1]-100, official[0]-150
    folder = frames(tmp_path/f'seq{seq:02}', [f'{n:04}' for n in range(1, 11)], size, 'frame{}.jpg')
    (folder/'annotations.txt').write_text(f'1\t{x}\t{y}\t60\t120\t3\t-1\n')
    (clip,), texts = collected(lambda: read_collective(tmp_path, [seq]))
    h, w = official
    np.testing.assert_allclose(clip.boxes[0, 0]*[w, h, w, h], [x, y, x+60, y+120], rtol=1e-5)
    assert clip.size == size and bool(texts) == (scale != 1)
    assert doctor(tmp_path, progress=False).levels['warning'] == (scale != 1)

def test_cropped_frames_are_an_error(tmp_path):
    frames(tmp_path/'videos/7/100', range(95, 105), (960, 1280))
    (tmp_path/'videos/7/annotations.txt').write_text('100.jpg r_set 1000 400 60 160 standing\n')
    with pytest.raises(DataError, match='The shape differs'): read_volleyball(tmp_path, [7])
    assert not doctor(tmp_path, progress=False).ok

@pytest.mark.parametrize('size,doubt', [((90, 160), False), ((180, 320), False), ((700, 1244), True), ((480, 854), True)])
def test_small_frames_with_boxes_that_fit(tmp_path, size, doubt):
    "Boxes that fit the frames on disk are taken for theirs, with a warning if they can belong to the official size; a synthetic world has its own size."
    frames(tmp_path/'videos/7/100', range(95, 105), size)
    (tmp_path/'videos/7/annotations.txt').write_text('100.jpg r_set 10 20 30 40 standing\n')
    (clip,), texts = collected(lambda: read_volleyball(tmp_path, [7]))
    assert clip.boxes[0, 0, 0] == np.float32(10/size[1])
    assert ['the official video has 720 x 1280' in t for t in texts] == [True]*doubt
    assert doctor(tmp_path, progress=False).levels['warning'] == doubt
    (tmp_path/'world.json').write_text('{}')
    assert collected(lambda: read_volleyball(tmp_path, [7]))[1] == []

# --- who counts as an actor ------------------------------------------------------

@given(present=st.sets(st.integers(0, 6), min_size=1), window=st.integers(100, 109), absent=st.sets(st.integers(10, 16)), far=st.sampled_from([1, 50, 99, 111, 120, 999]))
@often
def test_actors_without_a_box_in_the_window(tmp_path, present, window, absent, far):
    folder = frames(tmp_path/'f', range(100, 110)) if not (tmp_path/'f').exists() else tmp_path/'f'
    rows = [f'{window} {a} {10+20*a} 20 15 40' for a in sorted(present)] + [f'{far} {a} {8*a} 20 15 40' for a in sorted(absent)]
    (tmp_path/'b.txt').write_text('\n'.join(rows))
    clip, texts = collected(lambda: read_folder(folder, tmp_path/'b.txt'))
    assert clip.boxes.shape == (10, len(present), 4)
    left_out = f'{len(absent)} of {len(present | absent)} actors are left out'
    assert [left_out in t for t in texts] == [True]*bool(absent)

# --- nothing, or too much ----------------------------------------------------------

@each_source
@pytest.mark.parametrize('text', ['', '\n \n\t\n'])
def test_an_empty_file(kind, text, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    source.path.write_text(text)
    with pytest.raises(DataError, match=source.path.name): source.read()
    if source.doctor: assert not source.doctor().ok

def test_one_empty_video_among_others(tmp_path):
    for video, text in ((4, '100.jpg r_set 10 20 20 40 standing\n'), (5, '')):
        (tmp_path/f'videos/{video}').mkdir(parents=True)
        (tmp_path/f'videos/{video}/annotations.txt').write_text(text)
    for mode in ('none', 'available'):
        with pytest.raises(DataError, match='5/annotations.txt: no annotated frame'): read_volleyball(tmp_path, [4, 5], frames=mode)
    assert [f.where[-17:] for f in doctor(tmp_path, progress=False).findings if f.level == 'error'] == ['5/annotations.txt']

def test_a_dataset_without_any_clip(tmp_path):
    "All key frames are too late, so the reader has nothing; the doctor must not be content."
    (tmp_path/'seq05').mkdir()
    (tmp_path/'seq05/annotations.txt').write_text('531\t10\t20\t30\t40\t3\t-1\n')
    with pytest.raises(DataError, match='no clip'): read_collective(tmp_path, [5], frames='none')
    assert not doctor(tmp_path, progress=False).ok

LINE = '100.jpg r_set 10 20 20 40 standing 60 25 20 40 moving'
@pytest.mark.parametrize('second', [LINE, LINE.replace('r_set', 'l_set'), LINE.replace('moving', 'jumping'), LINE.replace('60 25', '61 25'), LINE.rpartition(' 60 25')[0]])
def test_a_frame_annotated_twice(tmp_path, second):
    source = Volleyball(tmp_path)
    source.write(GOOD)
    source.path.write_text(f'{LINE}\n{second}\n')
    assert 'annotations.txt:2: frame 100' in fails(source, 'is annotated in a line before')

def test_one_person_twice(tmp_path):
    "In a line of Volleyball it is a warning; in Collective Activity it is a line that appears twice."
    line = Volleyball(tmp_path/'v')
    line.write([*GOOD, GOOD[1]])
    assert len(warns(line, '1 of 4 boxes repeat another one').actions) == 4
    lines = Collective(tmp_path/'c')
    lines.write([*GOOD, GOOD[1]])
    fails(lines, 'one box appears twice')

@each_source
def test_every_line_twice(kind, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD, repeat=2)
    fails(source, r'boxes.txt:4: repeats .*boxes.txt:1' if kind is Own else 'in a line before|appears twice|in frame 95 twice')

@pytest.mark.parametrize('change', ['10', 'standing', '0 0 1'])
def test_one_player_twice_in_a_frame_of_a_track(tmp_path, change):
    source = Tracks(tmp_path)
    source.write(GOOD)
    line = source.path.read_text().splitlines()[0]
    other = line.replace(change, {'10': '11', 'standing': 'moving', '0 0 1': '1 0 1'}[change], 1)
    with open(source.path, 'a') as f: f.write(f'\n{other}\n')
    fails(source, r'100.txt:31: player 0 is in frame 95 twice')

@pytest.mark.parametrize('lost', ['2', '-1', '01x', '1.0', '10'])
def test_a_lost_flag_that_is_none(tmp_path, lost):
    source = Tracks(tmp_path)
    source.write(GOOD)
    source.path.write_text(source.path.read_text().replace(' 0 0 1 ', f' {lost} 0 1 ', 1))
    fails(source, '100.txt:1: (lost is|invalid)')

@pytest.mark.parametrize('kind,old,new', [(Volleyball, '100.jpg', '-100.jpg'), (Collective, '1\t10', '-9\t10'), (Tracks, ' 95 ', ' -95 '), (Tracks, '0 10', '-1 10')])
def test_negative_numbers_of_frames_and_players(kind, old, new, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    text = source.path.read_text()
    assert old in text
    source.path.write_text(text.replace(old, new, 1))
    fails(source, ':1: (frame|player) -')

@pytest.mark.parametrize('frame', [541, 5311, 10**8 + 1])
def test_a_key_frame_after_the_end(tmp_path, frame):
    source = Collective(tmp_path)
    source.write(GOOD)
    with open(source.path, 'a') as f: f.write(f'\n{frame}\t10\t20\t20\t40\t3\t-1')
    fails(source, f'frame {frame}: the sequence has 536 frames')

@pytest.mark.parametrize('row', ['-1 0 10 20 30 40', '1 -2 10 20 30 40', '1.5 0 10 20 30 40', '1 0.5 10 20 30 40', 'nan 0 10 20 30 40', '1 inf 10 20 30 40', '1 0 10 20 30 40\n1 0 50 20 30 40'])
def test_frames_and_actors_of_own_boxes(tmp_path, row):
    (tmp_path/'b.txt').write_text(row)
    with pytest.raises(DataError, match='b.txt:[12]: '): read_boxes(tmp_path/'b.txt')

# --- numbers as people and programs write them ---------------------------------------

@given(st.text(min_size=1, max_size=8), st.sampled_from([int, float]))
@settings(max_examples=150, deadline=None)
def test_numbers_are_plain_digits_or_an_error(text, kind):
    try: number, = parse_numbers([text], kind, 'a.txt:1')
    except DataError as e:
        assert str(e).startswith('a.txt:1: ')
        return
    assert text.isascii() and '_' not in text and number == kind(text) or number != number

@each_source
@pytest.mark.parametrize('odd', ['1_0', '\u0661\u0660', '\uff11\uff10', '1O', '0x10', '1,0,', '--10', ''])
def test_words_that_are_no_numbers(kind, odd, tmp_path):
    source = kind(tmp_path)
    source.write([(10, 20, 20, 40)])
    for at in (1, 2):
        words = source.path.read_text(encoding='utf-8').splitlines()[0]
        assert '20' in words
        source.path.write_text(words.replace('20', odd, at) + '\n', encoding='utf-8')
        with pytest.raises(DataError, match=f'{source.path.name}:1: '): source.read()
        source.write([(10, 20, 20, 40)])

# --- images ----------------------------------------------------------------------

def picture(mode='RGB', size=(40, 30)):
    "A smooth picture in a mode of Pillow."
    y, x = np.mgrid[:size[1], :size[0]]
    rgb = np.stack([x*255//size[0], y*255//size[1], (x+y)*255//sum(size)], -1).astype(np.uint8)
    if mode.startswith('I'): return Image.fromarray(rgb[..., 0].astype(np.uint16)*257)
    return Image.fromarray(rgb).convert(mode)

def as_array(path, size=(30, 40)): return read_frame(path, size, size, 'c').permute(1, 2, 0).numpy()

@pytest.mark.parametrize('mode', ['RGB', 'L', '1', 'P', 'RGBA', 'LA', 'I;16'])
def test_accepted_modes_are_exact(mode, tmp_path):
    image = picture(mode)
    image.save(tmp_path/'1.png')
    expected = picture('RGB') if mode == 'RGBA' else image.convert('RGB') if mode[0] != 'I' else Image.fromarray(np.array(picture())[..., 0]).convert('RGB')
    assert (as_array(tmp_path/'1.png') == np.array(expected)).all()
    assert check_jpeg(tmp_path/'1.png', decode=True) == (30, 40)

@given(st.lists(st.integers(0, 65535), min_size=1, max_size=64))
@settings(max_examples=50, deadline=None)
def test_sixteen_bits_are_rounded(tmp_path_factory, values):
    path = tmp_path_factory.mktemp('grey')/'1.png'
    Image.fromarray(np.array([values], np.uint16)).save(path)
    assert as_array(path, (1, len(values)))[0, :, 0].tolist() == [round(v/257) for v in values]

def transparent(path): Image.new('RGBA', (40, 30), (9, 9, 9, 128)).save(path, format='PNG')
def coloured_key(path): Image.new('RGB', (40, 30), (9, 9, 9)).save(path, format='PNG', transparency=(9, 9, 9))
def cmyk(path): Image.new('CMYK', (40, 30)).save(path, format='JPEG')
def gif(path): Image.new('P', (40, 30)).save(path, format='GIF')
def bmp(path): Image.new('RGB', (40, 30)).save(path, format='BMP')
def eps(path): path.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n')
def text(path): path.write_text('not a picture')
def folder(path): path.mkdir()
def broken_ihdr(path): path.write_bytes(bytes.fromhex('89504e470d0a1a0a00000005494844520000000000f8e9f21f'))

@pytest.mark.parametrize('make', [transparent, coloured_key, cmyk, gif, bmp, eps, text, folder, broken_ihdr])
@pytest.mark.parametrize('name', ['1.jpg', '1.png'])
def test_what_is_no_frame(make, name, tmp_path):
    make(tmp_path/name)
    with pytest.raises(DataError, match=name): as_array(tmp_path/name)
    with pytest.raises(DataError, match=name): check_jpeg(tmp_path/name, decode=True)

@pytest.mark.parametrize('suffix', ['jpg', 'png'])
@pytest.mark.parametrize('turn', range(0, 10))
@pytest.mark.parametrize('wanted', [(30, 40), (15, 20), (7, 11)])
def test_exif_orientation(suffix, turn, wanted, tmp_path):
    "As Pillow's own function turns it; unknown values do nothing."
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path/f'1.{suffix}'
    picture().save(path, exif=exif)
    with Image.open(path) as image: expected = ImageOps.exif_transpose(image).convert('RGB')
    assert frame_size(path) == expected.size[::-1] == check_jpeg(path, decode=True)
    full = as_array(path, frame_size(path))
    assert (full == np.array(expected)).all()
    small = read_frame(path, wanted, frame_size(path), 'c').permute(1, 2, 0).numpy().astype(float)
    assert np.abs(small - np.array(expected.resize(wanted[::-1], Image.Resampling.BILINEAR))).mean() < 12

def test_damaged_exif_is_ignored(tmp_path):
    picture().save(tmp_path/'1.jpg', exif=b'Exif\0\0MM\0*\xff\xff\xff\xff nonsense')
    assert as_array(tmp_path/'1.jpg').shape == (30, 40, 3)

# --- readers and doctor agree ---------------------------------------------------------

def whole_file(suffix):
    data = io.BytesIO()
    Image.effect_noise((32, 18), 60).convert('RGB').save(data, format=dict(jpg='JPEG', png='PNG')[suffix])
    return data.getvalue()

FILES = {suffix: whole_file(suffix) for suffix in ('jpg', 'png')}

@st.composite
def damaged(draw):
    "Bytes of an image: whole, cut, with bytes changed, with bytes behind it, or of the other format."
    data = bytearray(FILES[draw(st.sampled_from(['jpg', 'png']))])
    kind = draw(st.sampled_from(['whole', 'cut', 'changed', 'longer', 'inserted']))
    at = draw(st.integers(0, len(data)-1))
    if kind == 'cut': del data[at:]
    if kind == 'changed': data[at:at+4] = draw(st.binary(min_size=1, max_size=4))
    if kind == 'longer': data += bytes(draw(st.integers(1, 5000)))
    if kind == 'inserted': data[at:at] = draw(st.binary(min_size=1, max_size=30))
    return bytes(data)

@given(damaged())
@settings(max_examples=150, deadline=None)
def test_image_bytes_are_read_or_a_data_error(tmp_path_factory, data):
    "No decoder's own error escapes, and the doctor finds whole what training reads, and nothing else."
    path = tmp_path_factory.mktemp('image')/'1.jpg'
    path.write_bytes(data)
    try: readable = bool(len(read_frame(path, frame_size(path), frame_size(path), 'c')))
    except DataError: readable = False
    for decode in (True, False):
        try: found = bool(check_jpeg(path, decode))
        except DataError: found = False
        # without decoding, damage inside may be missed, but nothing is reported that can be read
        assert found == readable if decode else found or not readable

WORDS = ['100.jpg', '200.jpg', '-1.jpg', 'r_set', 'l-pass', 'r_sit', '10', '20', '30', '0', '-5', '0.4', '170', '1_0', 'nan', '99999', 'standing', 'moving', '']

@st.composite
def dataset_changes(draw):
    "Changes of a small dataset: words of its text files, whole lines, and one of its frames."
    word = st.tuples(st.sampled_from(['annotation', 'tracks']), st.integers(0, 200), st.sampled_from(WORDS))
    line = st.tuples(st.sampled_from(['annotation', 'tracks']), st.sampled_from(['repeat', 'delete', 'empty']), st.integers(0, 40))
    return draw(st.lists(st.one_of(word, line), max_size=2)), draw(st.one_of(st.none(), st.tuples(st.integers(95, 104), damaged())))

def apply_changes(root, changes):
    for path, lines in ((root/'videos/3/annotations.txt', [f'{m}.jpg r_set 2 3 10 12 standing 20 4 8 12 moving' for m in (100, 200)]),
                        (root/'volleyball_tracking_annotation/3/100/100.txt', [f'{p} {2+9*p} 3 {10+9*p} 14 {100+d} 0 0 1 standing' for p in range(2) for d in WINDOW])):
        which = 'tracks' if 'tracking' in str(path) else 'annotation'
        for target, what, other in changes[0]:
            if target != which or not lines: continue
            if what == 'empty': lines = []
            elif what == 'delete': del lines[other % len(lines)]
            elif what == 'repeat': lines.append(lines[other % len(lines)])
            else:
                words = [w.split() for w in lines]
                i = what % len(words)
                words[i][what % len(words[i])] = other
                lines = [' '.join(w) for w in words]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(lines))
    tracks = root/'volleyball_tracking_annotation/3/200'
    tracks.mkdir()
    (tracks/'200.txt').write_text('\n'.join(f'0 2 3 10 14 {200+d} 0 0 1 standing' for d in WINDOW))
    (root/'videos/3/100').mkdir()
    for n in range(95, 105): (root/f'videos/3/100/{n}.jpg').write_bytes(FILES['jpg'])
    if changes[1]: (root/f'videos/3/100/{changes[1][0]}.jpg').write_bytes(changes[1][1])

@given(dataset_changes(), st.sampled_from(['annotation', 'tracking']))
@settings(max_examples=100, deadline=None)
def test_the_doctor_is_content_if_and_only_if_it_can_be_read(tmp_path_factory, changes, boxes):
    root = tmp_path_factory.mktemp('dataset')
    apply_changes(root, changes)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            clips = read_volleyball(root, [3], boxes=boxes, frames='none')
            for clip in clips:
                for f in clip.frames:
                    if f.exists(): read_frame(f, (9, 16), clip.size, clip.name)
            readable = ''
        except DataError as e: readable = str(e)
        report = doctor(root, boxes=boxes, decode=True, progress=False)
    assert report.ok == (not readable), (readable, report)

CELLS = ['1', '2', '11', '521', '531', '541', '9991', '-9', '0', '5', '20', '300', '0.3', '1_1', 'nan', '3', '7', '-1', '1e5', '']

@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from(CELLS)), max_size=2), st.sampled_from(['', 'repeat', 'delete', 'empty']),
       st.one_of(st.none(), st.tuples(st.integers(1, 20), damaged())))
@settings(max_examples=100, deadline=None)
def test_the_same_for_collective_activity(tmp_path_factory, words, lines, image):
    root = tmp_path_factory.mktemp('dataset')
    folder = root/'seq05'
    folder.mkdir()
    rows = [[f, x, 2, 8, 12, 3, -1] for f in (1, 11) for x in (3, 15)]
    for i, word in words: rows[i % 4][i % 7] = word
    if lines == 'repeat': rows.append(rows[1])
    if lines in ('delete', 'empty'): del rows[:3 if lines == 'delete' else 4]
    (folder/'annotations.txt').write_text('\n'.join('\t'.join(map(str, row)) for row in rows))
    for n in range(1, 21): (folder/f'frame{n:04}.jpg').write_bytes(FILES['jpg'])
    if image: (folder/f'frame{image[0]:04}.jpg').write_bytes(image[1])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for clip in read_collective(root, [5], frames='none'):
                for f in clip.frames:
                    if f.exists(): read_frame(f, (9, 16), clip.size, clip.name)
            readable = ''
        except DataError as e: readable = str(e)
        report = doctor(root, decode=True, progress=False)
    assert report.ok == (not readable), (readable, report)

# --- text files ----------------------------------------------------------------------

@each_source
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_text_of_any_editor(kind, encoding, end, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    expected = source.read()
    source.path.write_bytes(source.path.read_text().replace('\n', end).encode(encoding))
    clip = source.read()
    assert (clip.boxes == expected.boxes).all() and (clip.actions == expected.actions).all()
    if source.doctor: assert source.doctor().ok

@each_source
@pytest.mark.parametrize('data', [b'\xff\xfe\x00', b'\x00\x01\x02', b'\xef\xbb\xbf\xff', b'1\x000\x00\n\x00', bytes(range(256))])
def test_bytes_that_are_no_text(kind, data, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    source.path.write_bytes(data)
    fails(source, source.path.name)

@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('name,text', [('s.json', '{"model": {"model": "aformer"}}\n'), ('s.toml', '[model]\nmodel = "aformer" # größe\n')])
def test_settings_of_any_editor(name, text, encoding, tmp_path):
    from aclip.command_line.settings import read_settings
    (tmp_path/name).write_bytes(text.encode(encoding))
    assert read_settings(tmp_path/name) == dict(model=dict(model='aformer'))
    (tmp_path/name).write_bytes(text.replace('aformer', 'a\udcfformer').encode('utf-8', 'surrogateescape'))
    with pytest.raises(ValueError, match=f'{name}: cannot be read as'): read_settings(tmp_path/name)

# --- files and names --------------------------------------------------------------------

STRAY = ['.DS_Store', 'Thumbs.db', 'desktop.ini', '._100.jpg', '._annotations.txt', '.100.jpg.swp', '@eaDir', '__MACOSX']

def litter(root):
    "Files of operating systems in every folder."
    for folder in [root, *(f for f in root.rglob('*') if f.is_dir())]:
        for name in STRAY:
            if '.' in name: (folder/name).write_bytes(b'\0\5\26\7')
            else: (folder/name).mkdir(exist_ok=True)

@each_source
def test_stray_files_have_no_effect(kind, tmp_path):
    source = kind(tmp_path)
    source.write(GOOD)
    expected = source.read()
    litter(tmp_path)
    clip = source.read()
    assert (clip.boxes == expected.boxes).all() and clip.frames == expected.frames
    if source.doctor: assert source.doctor().ok

ODD = ['two words', 'a: b', 'a#b%20', "it's", '[1]*?', 'größe', '日本', '-x', 'a\tb', '100%', '{0}', '$HOME', 'é'*60]

@each_source
@pytest.mark.parametrize('name', ODD)
def test_paths_of_any_characters(kind, name, tmp_path):
    (tmp_path/name).mkdir()
    source = kind(tmp_path/name)
    source.write(GOOD)
    assert len(source.read().actions) == 3
    source.path.write_text('x y z')
    with pytest.raises(DataError) as e: source.read()
    assert str(e.value).startswith(f'{source.path}:1: ')
    if source.doctor: assert [f.where for f in source.doctor().findings if f.level == 'error'][0] == f'{source.path}:1'

def test_a_path_that_the_terminal_cannot_show(tmp_path):
    root = tmp_path/os.fsdecode(b'caf\xe9')
    root.mkdir()
    Volleyball(root).write(GOOD)
    env = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    done = subprocess.run([sys.executable, '-m', 'aclip.cli', 'doctor', '--data', root, '--quiet'], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and 'Traceback' not in done.stderr and 'caf\\udce9' in done.stdout

@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='permissions do not bind this user')
def test_a_folder_that_may_not_be_read(tmp_path):
    Volleyball(tmp_path).write(GOOD)
    (tmp_path/'videos').chmod(0)
    try: assert not doctor(tmp_path, progress=False).ok
    finally: (tmp_path/'videos').chmod(0o755)

def test_an_error_of_the_system_is_a_finding(tmp_path, monkeypatch):
    Volleyball(tmp_path).write(GOOD)
    def denied(*args): raise PermissionError(13, 'Permission denied', str(tmp_path/'videos'))
    monkeypatch.setattr('aclip.data.check_volleyball.numbered_folders', denied)
    report = doctor(tmp_path, progress=False)
    assert [(f.level, f.where) for f in report.findings] == [('error', str(tmp_path/'videos'))]

def test_a_colon_in_the_path_of_the_folder():
    report = Report('/data/a: b')
    report.add('error', '/data/a: b/videos/3/annotations.txt:4: 18 fields: too many')
    assert report.findings[0][1:] == ('/data/a: b/videos/3/annotations.txt:4', '18 fields: too many')

# --- the environment -----------------------------------------------------------------

@pytest.mark.parametrize('name', ['WORLD_SIZE', 'RANK', 'LOCAL_RANK'])
@pytest.mark.parametrize('value', ['', ' ', 'two', '-1', '1.5', '\u0662'])
def test_variables_of_launchers(name, value, tmp_path, monkeypatch):
    "An empty variable has no effect; anything but a number is one line that names it."
    Volleyball(tmp_path).write(GOOD)
    monkeypatch.setenv(name, value)
    status, out, err = aclip('doctor', '--data', tmp_path, '--quiet')
    if value.strip(): assert status == 1 and len(err.splitlines()) == 1 and f'{name}=' in err and 'whole number' in err
    else: assert status == 0 and '1 clip ' in out

def test_a_warning_is_one_line_of_the_command(tmp_path):
    from aclip.config import Config
    from aclip.zoo import create_model, save_model
    config = Config(['set', 'pass'], ['stand', 'move'], step=2, model='aformer', features='boxes', d=16)
    model = save_model(tmp_path/'m.safetensors', create_model(config), config)
    frames(tmp_path/'f', range(100, 110))
    (tmp_path/'b.txt').write_text('104 1 10 20 15 40\n7 2 60 20 15 40\n')
    status, out, err = aclip('predict', '--model', model, '--frames', tmp_path/'f', '--boxes', tmp_path/'b.txt', '--quiet', '--json')
    assert status == 0 and out.startswith('{'), err
    assert [l for l in err.splitlines() if 'warning' in l] == [f"aclip predict: warning: {tmp_path/'b.txt'}: 1 of 2 actors are left out. They have no box in frames 100 to 109 around the target."]

# --- real data ---------------------------------------------------------------------------

@real
@pytest.mark.parametrize('name', ['volleyball', 'collective'])
def test_the_real_annotations_give_no_warning(name):
    from aclip.data.datasets import DATASETS
    for split in ('trainval', 'test'):
        _, texts = collected(lambda: DATASETS[name].read(REAL/name, split, frames='none'))
        assert texts == []
    report = doctor(REAL/name, progress=False)
    assert report.ok and not report.levels['warning']

@real
def test_the_real_tracks_give_no_warning():
    clips, texts = collected(lambda: read_volleyball(REAL/'volleyball', [7, 10, 13], boxes='tracking', frames='none'))
    assert len(clips) == 305 and texts == []

@real
def test_how_far_clipping_moves_samples():
    "The numbers in the list of what we do otherwise than the official code: 5 x 5 samples a box, maps of 87 x 157 and 57 x 87."
    from aclip.data import collective, collective_annotation, volleyball_annotation
    def moved(boxes, size, cells):
        boxes = np.concatenate(boxes)
        ends = np.array([size[1], size[0]]*2)
        shift = (boxes.clip(0, ends) - boxes)*np.array([cells[1], cells[0]]*2)/ends
        share = (np.arange(5) + .5)/5
        return np.abs(shift[:, None, :2]*(1 - share[:, None]) + shift[:, None, 2:]*share[:, None]).max((1, 2))
    people = [moved([k.boxes for k in collective_annotation.read_key_frames(f/'annotations.txt')], collective.known_size(f), (57, 87)) for f in sorted((REAL/'collective').glob('seq*'))]
    players = [moved([t.boxes for t in volleyball_annotation.read_targets(f/'annotations.txt')], volleyball_annotation.known_size(f), (87, 157)) for f in (REAL/'volleyball/videos').iterdir()]
    people, players = np.concatenate(people), np.concatenate(players)
    assert (len(people), len(players), (players > 0).sum()) == (13_044, 56_327, 6)
    assert round((people > 0).mean()*100, 1) == 2.8 and round(people.max()) == 14 and round(players.max()) == 2 and round(np.median(people[people > 0])) == 2
    note = (Path(__file__).parents[1]/'nbs/02_notation.ipynb').read_text(encoding='utf-8')
    for number in ('2 cells', '6 of the 56,327', '14 cells (median 2)', '2.8 % of the 13,044'): assert number in note
