"Every path of every subcommand is checked before the work, and the line names the way out."
import shutil, tempfile
from collections import namedtuple
from pathlib import Path
import pytest
from helpers import refused
from aclip.cli import COMMANDS
from aclip.command_line import paths as checks
from aclip.command_line.options import POSITIONAL, option_name, parameters
from aclip.command_line.subcommands import command_groups
from aclip.data.folder import list_frames
from aclip.data.synthetic import make_world
from aclip.data.volleyball import read_volleyball

OUTPUTS = checks.output_folder, checks.output_file

def path_settings(command):
    "Place of each setting that is annotated as a path -> its option, or nothing for an argument without one."
    found = {}
    for group in command_groups(command):
        for name, p in parameters(group).items():
            if p['anno'] is Path or p['anno'] == list[Path]:
                place = f'{group.key}/{name}'.lstrip('/').replace('model.', 'model/')
                found[place] = '' if name in POSITIONAL else option_name(group, name)
    return found

# Further arguments that a command needs.
NEEDED = {'table': ['1', '--show'], 'import': ['--model', 'arg']}

PLACES = [(command, place) for command in COMMANDS for place in path_settings(command)]

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Paths of every kind that are as expected, except for what is inside."
    good = tmp_path_factory.mktemp('good')
    (good/'folder').mkdir(); (good/'file').write_text('')
    return good

def fitting(check, good):
    return good/('file' if check in (checks.input_file, checks.weights_file) else 'new' if check is checks.output_file else 'folder')

def arguments(command, good, **given):
    "A command line with all its paths; those of `given` (place -> path) differ."
    options = path_settings(command)
    argv = [command]
    for place, option in options.items():
        path = given.get(place, fitting(COMMANDS[command].paths[place], good))
        argv += [option, path] if option else [path]
    return argv + NEEDED.get(command, [])

@pytest.mark.parametrize('command', COMMANDS)
def test_every_path_has_its_check(command):
    assert {*path_settings(command)} == {*COMMANDS[command].paths}

@pytest.mark.parametrize('command,place', PLACES)
def test_a_wrong_path_ends_the_command_first(good, tmp_path, monkeypatch, command, place):
    "Before the function of the command is called; the line names the path."
    called = []
    monkeypatch.setattr('aclip.cli.run_command', lambda *a: called.append(a))
    check = COMMANDS[command].paths[place]
    (tmp_path/'a file').write_text('')
    wrong = [tmp_path/'a file/below'] if check in OUTPUTS else [tmp_path/'nowhere']
    if check in (checks.input_folder, checks.frames_folder, checks.output_folder, checks.work_folder): wrong = [*wrong, tmp_path/'a file']
    if check in (checks.input_file, checks.weights_file, checks.output_file): wrong.append(tmp_path)
    if check is checks.work_folder: wrong = wrong[1:]
    for path in wrong: refused(*arguments(command, good, **{place: path}), says=[path, ''])
    assert not called and [f.name for f in tmp_path.iterdir()] == ['a file']

@pytest.mark.parametrize('fault', ['full', 'read-only'])
@pytest.mark.parametrize('command,place', [(c, p) for c, p in PLACES if COMMANDS[c].paths[p] in OUTPUTS])
def test_a_full_disk_ends_the_command_first(good, tmp_path, monkeypatch, command, place, fault):
    called = []
    monkeypatch.setattr('aclip.cli.run_command', lambda *a: called.append(a))
    if fault == 'full': monkeypatch.setattr(shutil, 'disk_usage', lambda path: namedtuple('Usage', 'total used free')(10**12, 10**12, 1000))
    else:
        def denied(*args, **kw): raise OSError(30, 'Read-only file system')
        monkeypatch.setattr(tempfile, 'NamedTemporaryFile', denied)
    refused(*arguments(command, good, **{place: tmp_path/'out'}), says=['free some space' if fault == 'full' else 'choose a folder you can write to'])
    assert not called and not list(tmp_path.iterdir())

@pytest.mark.parametrize('command', [c for c in COMMANDS if any(COMMANDS[c].paths[p] in OUTPUTS for p in path_settings(c))])
def test_good_paths_pass_and_leave_nothing(good, monkeypatch, command):
    called = []
    monkeypatch.setattr('aclip.cli.run_command', lambda *a: called.append(a) or ([], ''))
    from helpers import aclip
    before = sorted(good.rglob('*'))
    assert aclip(*arguments(command, good))[0] == 0 and called and sorted(good.rglob('*')) == before

@pytest.mark.parametrize('order', ['data first', 'inputs before outputs'])
def test_the_first_thing_that_is_wrong(tmp_path, order):
    argv = ['train', '--data', '/nonexistent', '--out', '/proc/none', '--teacher', 'nosuch']
    refused(*(argv if order == 'inputs before outputs' else argv[:5]), says=['/nonexistent: no such folder'])

@pytest.mark.parametrize('name', ['rally.mp4', 'rally.MOV', 'frames.zip'])
def test_a_video_is_no_folder_of_frames(good, tmp_path, name):
    (tmp_path/name).write_bytes(b'x')
    refused('predict', '--model', good/'file', '--frames', tmp_path/name, '--boxes', good/'file', says=[name, 'split a video first', f'ffmpeg -i {tmp_path/name}'])
    with pytest.raises(ValueError, match='ffmpeg -i'): list_frames(tmp_path/name)

def test_a_drawn_world_names_its_cure(tmp_path):
    world = make_world(tmp_path/'world', clips=4, videos=3, size=(90, 160), workers=0, progress=False)
    with pytest.raises(ValueError, match='--available'): read_volleyball(world, 'train')
    refused('train', '--data', world, '--out', tmp_path/'run', '--tiny', '--steps', 1, says=['--available'])
    assert not (tmp_path/'run').exists()
