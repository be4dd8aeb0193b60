"Damage and slips that are valid text or numbers: chunks of PNG files, flags, poses, tracks, banks."
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from aclip.data.collective import read_collective
from aclip.data.doctor import doctor
from aclip.data.errors import DataError
from aclip.data.folder import frame_window
from aclip.data.images import frame_size, read_frame
from aclip.data.volleyball import read_volleyball
from aclip.data.volleyball_annotation import ACTIONS
from aclip.text.bank import BankError, TextBank
from fuzz_data import (PICKLE, SEQUENCE, TRACKS, clip_tracks, picture, seed_collective,
                       seed_pickle, seed_tracks)
from PIL import Image


# PNG

@pytest.fixture(scope='module')
def png(tmp_path_factory):
    file = tmp_path_factory.mktemp('png')/'f.png'
    Image.fromarray(picture()).save(file)
    return file.read_bytes()


@settings(max_examples=120, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_png(png, tmp_path_factory, at, bit):
    "Wherever it is: neither the pixels nor the size are read."
    damaged = bytearray(png)
    damaged[int(at*len(png))] ^= 1 << bit
    file = tmp_path_factory.getbasetemp()/'flipped.png'
    file.write_bytes(damaged)
    for read in (frame_size, lambda f: read_frame(f, (64, 96), (64, 96), 'clip')):
        with pytest.raises(DataError, match='flipped.png'): read(file)


@settings(max_examples=100, deadline=None)
@given(length=st.floats(0, 1, exclude_max=True))
def test_a_png_that_ends_early(png, tmp_path_factory, length):
    file = tmp_path_factory.getbasetemp()/'cut.png'
    file.write_bytes(png[:int(length*len(png))])
    with pytest.raises(DataError, match='cut.png'): read_frame(file, (64, 96), (64, 96), 'clip')


# Text

def changed(file, line, word, value):
    "A word of a line has another value."
    lines = [l.split() for l in file.read_text().splitlines()]
    lines[line][word] = value
    file.write_text('\n'.join('\t'.join(l) for l in lines) + '\n')


@pytest.mark.parametrize('pose', ['x', 'nan', '9', '-2', '1.5', '1_0'])
def test_a_pose_that_is_none(tmp_path, pose):
    seed_collective(tmp_path)
    changed(tmp_path/SEQUENCE, 4, 6, pose)
    with pytest.raises(DataError, match='seq01/annotations.txt:5'):
        read_collective(tmp_path, (1,), frames='none')
    assert not doctor(tmp_path, progress=False).ok


@pytest.mark.parametrize('pose', ['-1', '1', '8'])
def test_poses_of_the_dataset(tmp_path, pose):
    seed_collective(tmp_path)
    changed(tmp_path/SEQUENCE, 4, 6, pose)
    assert len(read_collective(tmp_path, (1,), frames='none')) == 3


@pytest.mark.parametrize('line', [0, 4, 8])
def test_one_person_with_two_classes(tmp_path, line):
    seed_collective(tmp_path)
    file = tmp_path/SEQUENCE
    words = file.read_text().splitlines()[line].split()
    file.write_text(file.read_text() + '\t'.join([*words[:5], '2', '1']) + '\n')
    with pytest.raises(DataError, match=f'frame {int(words[0])}: one box appears twice, with the classes'):
        read_collective(tmp_path, (1,), frames='none')
    assert not doctor(tmp_path, progress=False).ok


@pytest.mark.parametrize('word,name', [(6, 'lost'), (7, 'grouping'), (8, 'generated')])
@pytest.mark.parametrize('flag', ['2', '-1', 'x', 'nan', '0.5'])
def test_a_flag_of_a_track_that_is_none(tmp_path, word, name, flag):
    seed_tracks(tmp_path)
    changed(tmp_path/TRACKS, 3, word, flag)
    with pytest.raises(DataError, match=f'100.txt:4: ({name}|invalid)'):
        read_volleyball(tmp_path, (1,), 'tracking', 'none')


@pytest.mark.parametrize('length', [0, -1, 1.5, '3', None, True])
def test_a_window_without_frames(tmp_path, length):
    Image.fromarray(picture()).save(tmp_path/'1.png')
    with pytest.raises(DataError, match='length'): frame_window(tmp_path, length=length)


# Tracks in a pickle

def read_pickle(folder, change):
    "Clips with tracks that are changed frame by frame."
    seed_pickle(folder)
    tracks = {frame: change(boxes) for frame, boxes in clip_tracks().items()}
    (folder/PICKLE).write_bytes(pickle.dumps({(1, 100): tracks}))
    return read_volleyball(folder, (1,), folder/PICKLE, 'none')


@pytest.mark.parametrize('change', [
    lambda b: b*1000, lambda b: -b, lambda b: b[:, :3], lambda b: b.ravel(),
    lambda b: b.astype('U8'), lambda b: b.astype('S8'), lambda b: b.astype(complex),
    lambda b: b.astype(bool), lambda b: b.astype('M8[s]'), lambda b: b.astype(object),
    lambda b: None, lambda b: b*np.nan,
    lambda b: b[:, [1, 0, 3, 2]]], ids=range(13))
def test_tracks_that_are_none(tmp_path, change):
    "The error names the pickle."
    with pytest.raises(DataError, match=PICKLE): read_pickle(tmp_path, change)


@pytest.mark.parametrize('change', [lambda b: b[:0], lambda b: b*.01 + .9])
def test_tracks_of_something_else(tmp_path, change):
    with pytest.warns(UserWarning, match=f'{PICKLE}, clip 1/100: no track'):
        read_pickle(tmp_path, change)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, .03))
def test_true_tracks_are_never_taken_for_exchanged_ones(seed, n, noise):
    "Tracks near the annotated boxes are read as they are."
    from aclip.data.volleyball_tracks import check_order
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, .8, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(.05, .2, (n, 2))], 1)
    check_order(boxes + rng.uniform(-noise, noise, boxes.shape), boxes, 'clip')


def test_tracks_in_a_right_pickle(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        clip, = read_pickle(tmp_path, lambda b: b[::-1])
    boxes = clip_tracks()[100][:, [1, 0, 3, 2]]
    assert np.abs(clip.boxes[5] - boxes).max() < 1e-6


# Banks

def bank(**change):
    "A valid bank with other fields."
    features = torch.nn.functional.normalize(torch.randn(3, 2, 8), dim=-1)
    fields = dict(labels=tuple(ACTIONS[:3]), prompts=('{}', 'a {}'), features=features, tau=.01,
                  source=dict(model='m'))
    return TextBank(**{**fields, **change})


EQUAL = torch.eye(8)[None, :2].expand(3, 2, 8)


@pytest.mark.parametrize('change,says', [
    (dict(prompts=('{}', 'a photo')), 'prompts'), (dict(prompts=('', '{}')), 'prompts'),
    (dict(source={}), 'source'), (dict(features=EQUAL), '1 different'),
    (dict(features=torch.cat([EQUAL[:2], EQUAL[:1].roll(2, -1)])), '2 different')])
def test_a_bank_that_teaches_nothing(change, says):
    bank()
    with pytest.raises(BankError, match=says): bank(**change)
