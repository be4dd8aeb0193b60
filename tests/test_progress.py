"What long commands show of their progress: plain lines in a file, a bar with the time left in a terminal, and no warning of a library."
import json, os, pty, re, subprocess, sys
import pytest
from aclip.cli import main
from aclip.data.synthetic import make_world

# All commands in one process, with few epochs. Before each, its name is printed to standard error.
SCRIPT = '''
import json, sys
from dataclasses import replace
from aclip.cli import main
from aclip.evidence.demo import TRAINING
from aclip.evidence.setups import SETUPS
for recipe in TRAINING.values(): recipe.update(epochs=2, warmup=.2)
SETUPS['boxes'] = replace(SETUPS['boxes'], training={2: dict(epochs=2), 3: dict(epochs=2)})
for argv in json.loads(sys.argv[1]):
    print('===', argv[0], file=sys.stderr, flush=True)
    assert main(argv) == 0, argv
'''
# Which lines a command prints into a file, in this order, and how often at least.
EPOCH = r'.* epoch {}/2: train_loss \d+\.\d+, .*mca \d\.\d+.*, \d\d:\d\d left'
FIRST, SECOND = EPOCH.format(1), EPOCH.format(2)
LINES = dict(world=[r'drawing: 8/8 in \d\d:\d\d'], doctor=[r'videos: 4/4 in \d\d:\d\d'], train=[FIRST, SECOND], evaluate=[r'testing: 1/1 in \d\d:\d\d'],
             **{'label-errors': [r'testing: 1/1 in \d\d:\d\d']},
             features=[r'features: 8/8 in \d\d:\d\d'], demo=[r'drawing: .*', *[FIRST, SECOND]*3, r'testing: .*'],
             table=[FIRST, SECOND, FIRST, SECOND, r'seed 0, ACLIP\(AFormer\): MCA \d+\.\d, 00:00 left'])
# What a bar shows: the share, the steps, the time left.
BAR = r'\d+\.\d\d% \[\d+/\d+ \d\d:\d\d<(?:\d\d:\d\d|\?)'
COLUMNS = 80

def commands(out, data):
    "Arguments of each command; `out` is its folder."
    small = ['--data', data, '--model', 'aformer', '--d', 16, '--epochs', 2, '--warmup', 0]
    pixels = ['--features', 'person', '--size', 90, 160, '--backbone', 'test_resnet', '--no-pretrained', '--steps', 1, '--workers', 0]
    model = out/'run/1-backbone/best.safetensors'
    return [['world', '--clips', 8, '--videos', 4, '--size', 90, 160, '--out', out/'world'], ['doctor', '--data', data],
            ['train', *small, *pixels, '--available', '--protocol', 'overfit', '--out', out/'run'],
            ['evaluate', '--model', model, '--data', data, '--available', '--split', 'train', '--out', out/'test'],
            ['label-errors', '--model', model, '--data', data, '--available', '--split', 'train'],
            ['features', '--model', model, '--data', data, '--available', '--kind', 'crops', '--out', out/'store'],
            ['demo', '--clips', 10, '--videos', 5, '--size', 90, 160, '--out', out/'demo'],
            ['table', 1, '--data', data, '--available', '--rows', 'ACLIP(AFormer)', '--seeds', 0, '--out', out/'runs']]

def shown(out, data, stderr):
    "A process that runs all commands; its standard error goes to `stderr`."
    argv = json.dumps([[str(a) for a in c] for c in commands(out, data)])
    return subprocess.Popen([sys.executable, '-c', SCRIPT, argv], stdout=subprocess.DEVNULL, stderr=stderr, env={**os.environ, 'COLUMNS': str(COLUMNS)})

def by_command(text):
    "What each command has printed."
    parts = re.split(r'=== (\S+)\r?\n', text)
    return dict(zip(parts[1::2], parts[2::2]))

@pytest.fixture(scope='module')
def data(tmp_path_factory): return make_world(tmp_path_factory.mktemp('data')/'world', clips=8, videos=4, size=(90, 160), workers=0, progress=False)

@pytest.fixture(scope='module')
def in_file(data, tmp_path_factory):
    p = shown(tmp_path_factory.mktemp('file'), data, subprocess.PIPE)
    text = p.communicate()[1].decode()
    assert p.returncode == 0, text
    return by_command(text)

@pytest.fixture(scope='module')
def in_terminal(data, tmp_path_factory):
    reader, writer = pty.openpty()
    p = shown(tmp_path_factory.mktemp('terminal'), data, writer)
    os.close(writer)
    parts = []
    try:
        while part := os.read(reader, 65536): parts.append(part)
    except OSError: pass                       # how a terminal ends on Linux
    os.close(reader)
    text = b''.join(parts).decode()
    assert p.wait() == 0, text
    return by_command(text)

@pytest.mark.parametrize('command', LINES)
def test_a_file_gets_plain_lines(in_file, command):
    assert '\r' not in in_file[command]
    lines = iter(in_file[command].splitlines())
    for pattern in LINES[command]:
        assert any(re.fullmatch(pattern, line) for line in lines), f'{command}: no line {pattern!r} in this place:\n{in_file[command]}'

@pytest.mark.parametrize('command', LINES)
def test_a_file_gets_at_most_one_line_an_epoch(in_file, command):
    epochs = re.findall(r'^.* epoch \d+/\d+:', in_file[command], re.M)
    assert len(epochs) == sum(p in (FIRST, SECOND) for p in LINES[command])

@pytest.mark.parametrize('command', LINES)
def test_a_terminal_gets_a_bar_with_the_time_left(in_terminal, command):
    drawn = [line for line in re.split(r'[\r\n]+', in_terminal[command]) if re.search(BAR, line)]
    assert len(drawn) >= 2, f'{command}: no bar in {in_terminal[command]!r}'
    assert re.search(r'<\d\d:\d\d', drawn[-1]), f'{command}: no time left in {drawn[-1]!r}'
    assert max(map(len, drawn)) <= COLUMNS, f'{command}: this line wraps: {max(drawn, key=len)!r}'

def screen(text):
    "The lines that a terminal shows in the end: after a carriage return, text is written over the line."
    lines = []
    for line in text.replace('\r\n', '\n').split('\n'):
        kept = ''
        for part in line.split('\r'): kept = part + kept[len(part):]
        lines.append(kept.rstrip())
    return [line for line in lines if line]

@pytest.mark.parametrize('command', LINES)
def test_no_bar_stays_on_the_screen(in_terminal, command):
    left = [line for line in screen(in_terminal[command]) if re.search(BAR, line) or '|' in line]
    assert not left, f'{command} leaves {left}'

@pytest.mark.parametrize('command,lines', [('train', 2), ('demo', 0), ('table', 0)])
def test_epochs_that_stay_in_a_terminal(in_terminal, command, lines):
    "`train` keeps a line for each epoch; demo and tables have a bar alone."
    assert sum(bool(re.search(r' epoch \d/2: ', line)) for line in screen(in_terminal[command])) == lines

@pytest.mark.parametrize('where', ['in_file', 'in_terminal'])
def test_no_library_warns(where, request):
    text = ''.join(request.getfixturevalue(where).values())
    assert 'Warning' not in text, re.findall(r'.*Warning.*', text)

@pytest.mark.parametrize('module', ['aclip.train.learner', 'aclip.evidence.demo', 'aclip.data.loaders', 'aclip.text.tiny_clip'])
def test_no_warning_at_import(module):
    "fastai calls a deprecated function of torch when it is imported."
    r = subprocess.run([sys.executable, '-c', f'import {module}'], capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != 'PYTHONWARNINGS'})
    assert (r.returncode, r.stderr) == (0, '')

def test_only_this_warning_is_silent():
    code = 'import warnings, aclip\nwarnings.warn("old", FutureWarning)\nwarnings.warn("`torch.jit.script` is deprecated", FutureWarning)'
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != 'PYTHONWARNINGS'})
    assert r.stderr.count('FutureWarning') == 2

def test_quiet_shows_nothing(data, capfd):
    assert main(['doctor', '--data', str(data), '--quiet']) == 0
    assert capfd.readouterr().err == ''
