"SIGTERM and SIGINT: one line, exit status 143 or 130, no worker left, for every kind of command that has workers."
import json, os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from aclip.config import Config
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.zoo import create_model, save_model
from aclip.models.features import RANDOM

pytestmark = pytest.mark.skipif(not Path('/proc/self').exists(), reason='no list of processes here')

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    made = tmp_path_factory.mktemp('made')
    make_world(made/'world', clips=64, videos=4, size=(360, 640), workers=0, progress=False)
    config = Config(list(ACTIVITIES), list(ACTIONS), step=2, backbone='test_resnet', out_indices=[2], d=16, size=(720, 1280), relation=dict(n_graphs=2))
    save_model(made/'model.safetensors', create_model(config, RANDOM), config)
    return made

def children(pid):
    "Processes whose parent is this one."
    found = []
    for d in Path('/proc').glob('[0-9]*'):
        try: fields = (d/'stat').read_text().rsplit(')', 1)[1].split()
        except OSError: continue
        if int(fields[1]) == pid: found.append(int(d.name))
    return found

def alive(pid):
    try: return (Path('/proc')/str(pid)/'stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError: return False

COMMANDS = dict(
    world=lambda made, tmp: ['world', '--out', tmp/'w', '--clips', 400, '--size', 360, 640, '--workers', 2],
    evaluate=lambda made, tmp: ['evaluate', '--model', made/'model.safetensors', '--data', made/'world', '--split', 'train', '--available', '--workers', 2],
    features=lambda made, tmp: ['features', '--model', made/'model.safetensors', '--data', made/'world', '--out', tmp/'store', '--kind', 'crops', '--available', '--workers', 2],
    train=lambda made, tmp: ['train', '--tiny', '--data', made/'world', '--out', tmp/'run', '--steps', 1, '--epochs', 50, '--size', 720, 1280, '--available', '--workers', 2, '--protocol', 'overfit'],
)

@pytest.mark.parametrize('number,status,group', [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)])
@pytest.mark.parametrize('command', COMMANDS)
def test_a_stopped_command(made, tmp_path, command, number, status, group):
    "To the process alone, as from `kill`, or to all of its group, as from a terminal."
    argv = [str(a) for a in COMMANDS[command](made, tmp_path)]
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'aclip.cli', *argv, '--quiet'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        start = time.time()
        while p.poll() is None and len(children(p.pid)) < 2 and time.time() - start < 120: time.sleep(.02)
        time.sleep(.3)
        workers = children(p.pid)
        assert workers and p.poll() is None
        (os.killpg if group else os.kill)(p.pid, number)
        sent = time.time()
        out,err = p.communicate(timeout=30)
        assert p.returncode == status and time.time() - sent < 8, (p.returncode, err)
        assert out == '' and len(err.splitlines()) == 1 and err.startswith(f'aclip {command}: stopped'), err
        assert not [w for w in workers if alive(w)]
    finally:
        if p.poll() is None: p.kill()
