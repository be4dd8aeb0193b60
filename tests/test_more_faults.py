"Faults of kinds that other tests cover, met in other places: numbers, lists, files, pictures, tracks, windows, streams, launchers."
import os
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from aclip.checkpoint import CheckpointError
from aclip.data.collective import read_collective
from aclip.data.doctor import doctor
from aclip.data.errors import DataError, DataWarning
from aclip.data.findings import check_jpeg
from aclip.data.folder import read_folder
from aclip.data.images import read_frame
from aclip.data.volleyball import read_volleyball
from aclip.models.backbone import Backbone
from helpers import aclip

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = ((100, 200, 60, 120), (400, 210, 70, 130), (800, 250, 64, 128))


def volleyball(root, frame=100):
    folder = root/'videos/4'
    folder.mkdir(parents=True)
    people = ' '.join(f'{x} {y} {w} {h} standing' for x, y, w, h in PEOPLE)
    (folder/'annotations.txt').write_text(f'{frame}.jpg r_set {people}\n')
    return root


def collective(root, frames=(1, 11), more=''):
    folder = root/'seq05'
    folder.mkdir(parents=True)
    rows = [f'{frame}\t100\t100\t40\t80\t{2 + i%2}\t1\n' for i, frame in enumerate(frames)]
    (folder/'annotations.txt').write_text(''.join(rows) + more)
    return root


def levels(root, **options):
    return [f.level for f in doctor(root, progress=False, **options).findings]


@contextmanager
def seconds(n):
    "A hang is an error."
    def stop(*_): raise TimeoutError
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(n)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Numbers and lists of numbers

@pytest.mark.parametrize('digits', [17, 200, 301, 4000])
def test_a_frame_number_that_no_file_has(tmp_path, digits):
    root = volleyball(tmp_path, '1'*digits)
    with pytest.raises(DataError, match='txt:1: frame 1.*Correct'):
        read_volleyball(root, [4], frames='none')
    assert 'error' in levels(root)


@pytest.mark.parametrize('split', [[4, 4], 4, None, [4.5], [-1], [True], ['x'], 'valid'])
@pytest.mark.parametrize('read,make', [(read_volleyball, volleyball), (read_collective, collective)])
def test_a_split_that_is_none(tmp_path, read, make, split):
    root = make(tmp_path)
    with pytest.raises(DataError, match='Expected'): read(root, split, frames='none')


def test_rows_between_key_frames(tmp_path):
    root = collective(tmp_path/'a', (1, 11, 20, 31))
    with pytest.warns(DataWarning, match='1 of 4 rows are left out'):
        assert len(read_collective(root, [5], frames='none')) == 3
    assert 'warning' in levels(root)
    root = collective(tmp_path/'b', more='12\tx\ty\tz\t9\t99\t1000\n')
    with pytest.raises(DataError, match='txt:3: '): read_collective(root, [5], frames='none')
    assert 'error' in levels(root)


# Files that are no files, pictures of another kind

def test_a_pipe_is_no_file(tmp_path):
    root = volleyball(tmp_path/'data')
    (root/'videos/4/annotations.txt').unlink()
    os.mkfifo(root/'videos/4/annotations.txt')
    os.mkfifo(tmp_path/'1.jpg')
    with seconds(10):
        with pytest.raises(DataError, match='a pipe or a device'):
            read_volleyball(root, [4], frames='none')
        assert 'error' in levels(root)
        with pytest.raises(DataError, match='a pipe or a device'):
            read_frame(tmp_path/'1.jpg', (90, 160), (90, 160), 'c')
        status, _, error = aclip('predict', '--model', tmp_path/'1.jpg', '--frames', root,
                                 '--boxes', tmp_path/'1.jpg')
    assert status == 1 and 'is a pipe or a device' in error


@pytest.mark.parametrize('decode', [True, False])
def test_a_jpeg_of_several_pictures(tmp_path, decode):
    first, second = (Image.new('RGB', (160, 90), colour) for colour in ('red', 'blue'))
    first.save(tmp_path/'1.jpg', format='MPO', save_all=True, append_images=[second])
    frame = read_frame(tmp_path/'1.jpg', (90, 160), (90, 160), 'c')
    assert frame[0].float().mean() > 250 > 5 > frame[2].float().mean()
    assert check_jpeg(tmp_path/'1.jpg', decode) == (90, 160)


# Tracks and windows

def tracked(root, scale=1., twice=False):
    volleyball(root)
    folder = root/'volleyball_tracking_annotation/4/100'
    folder.mkdir(parents=True)
    people = [*PEOPLE, PEOPLE[0]] if twice else PEOPLE
    lines = []
    for player, (x, y, w, h) in enumerate(people):
        box = ' '.join(str(int(scale*v)) for v in (x, y, x + w, y + h))
        lines += [f'{player} {box} {frame} 0 0 0 standing' for frame in range(90, 111)]
    (folder/'100.txt').write_text('\n'.join(lines) + '\n')
    return root


@pytest.mark.parametrize('given,says', [
    (dict(scale=.5), 'of 3 tracks overlap'), (dict(scale=1.5), 'of 3 tracks overlap'),
    (dict(twice=True), '1 of 4 players')])
def test_tracks_that_do_not_fit_the_annotation(tmp_path, given, says):
    root = tracked(tmp_path, **given)
    with pytest.warns(DataWarning, match=says):
        read_volleyball(root, [4], boxes='tracking', frames='none')
    assert 'warning' in levels(root, boxes='tracking')


def test_tracks_that_fit(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read_volleyball(tracked(tmp_path), [4], boxes='tracking', frames='none')


def own(root, numbers, boxes):
    (root/'frames').mkdir()
    for n in numbers: Image.new('RGB', (160, 90)).save(root/f'frames/{n}.jpg')
    (root/'boxes.txt').write_text(boxes)
    return root/'frames', root/'boxes.txt'


def test_a_hole_in_the_window(tmp_path):
    given = own(tmp_path, [*range(1, 6), *range(500, 506)], '80 20 30 40\n')
    with pytest.warns(DataWarning, match='frame 5 is followed by frame 500'): read_folder(*given)


@pytest.mark.parametrize('numbers', [range(0, 100, 10), [1, 2, 3, 5, 6, 7, 8, 9, 10, 11], [3]])
def test_windows_without_a_hole(tmp_path, numbers):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read_folder(*own(tmp_path, numbers, '80 20 30 40\n'))


def test_two_actors_with_one_box(tmp_path):
    boxes = ''.join(f'{n} {actor} 80 20 30 40\n' for n in range(10) for actor in (1, 2))
    with pytest.warns(DataWarning, match='10 of 20 boxes repeat'):
        read_folder(*own(tmp_path, range(10), boxes))


# Streams, launchers, scripts

def shell(command, **environment):
    settings = dict(os.environ, PYTHONPATH=str(ROOT), **environment)
    return subprocess.run(['sh', '-c', f'{sys.executable} -m aclip.cli {command}'], text=True,
                          capture_output=True, env=settings, timeout=120)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no device that is always full')
def test_a_result_that_cannot_be_printed():
    r = shell('params >/dev/full')
    assert r.returncode == 1
    assert r.stderr.splitlines() == ['aclip params: the result cannot be printed (No space left on '
                                     'device); free some space']


def test_a_closed_output():
    r = shell('params >&-')
    assert r.returncode == 0 and not r.stderr


LAUNCHED = dict(WORLD_SIZE='2', RANK='0', MASTER_ADDR='localhost', MASTER_PORT='29500')


@pytest.mark.parametrize('name,value', [('RANK', '2'), ('RANK', '7'), ('RANK', ''),
                                        ('MASTER_ADDR', ''), ('MASTER_PORT', '')])
def test_variables_with_which_processes_would_wait_for_ever(tmp_path, monkeypatch, name, value):
    for variable, good in {**LAUNCHED, name: value}.items(): monkeypatch.setenv(variable, good)
    with seconds(60):
        status, _, error = aclip('train', '--data', volleyball(tmp_path), '--out', tmp_path/'run')
    assert status == 1 and f'variable {name} is' in error and 'torchrun' in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize('kind', ['folder', 'file', 'link'])
def test_the_whole_check_deletes_no_folder_of_somebody_else(tmp_path, kind):
    venv = tmp_path/'venv'
    if kind == 'folder':
        venv.mkdir()
        (venv/'notes.txt').write_text('mine')
    if kind == 'file': venv.write_text('mine')
    if kind == 'link': venv.symlink_to(tmp_path/'elsewhere')
    (tmp_path/'python').write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\nexit 1\n')
    (tmp_path/'python').chmod(0o755)
    r = subprocess.run(['bash', ROOT/'tests/all.sh'], capture_output=True, text=True,
                       env=dict(os.environ, VENV=str(venv), PYTHON=str(tmp_path/'python')))
    assert r.returncode and 'holds no environment' in r.stdout
    assert os.path.lexists(venv)
    if kind == 'folder': assert (venv/'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('content', [{}, {'state_dict': {}}])
def test_an_empty_file_of_weights_does_not_ask_the_hub(tmp_path, monkeypatch, content):
    import timm.models._builder as builder
    def asked(*_, **__): raise AssertionError('the hub was asked')
    monkeypatch.setattr(builder, 'load_state_dict_from_hf', asked)
    torch.save(content, tmp_path/'empty.pth')
    with pytest.raises(CheckpointError, match='no weights in it'): Backbone('test_resnet', True, tmp_path/'empty.pth')
