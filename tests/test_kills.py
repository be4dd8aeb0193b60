"""Kills at aimed places: inside a training step, between shards, while each kind of file is written.

The process sends a signal to itself at the place. Before a file gets its name, its half-written
temporary file stays behind, as a kill in mid-write leaves it. The same command then runs again
and must end in the same files and numbers as one that nothing disturbed.
"""
import contextlib
import importlib
import json
import os
import signal
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch

from aclip.checkpoint import load_tensors
from aclip.cli import main
from aclip.config import Config
from aclip.data.source import ClipSource
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.evidence.demo import TRAINING, demo
from aclip.evidence.experiments import table
from aclip.evidence.setups import SETUPS
from aclip.models.features import RANDOM
from aclip.text.bank import TextBank
from aclip.zoo import create_model, save_model
from fuzz_data import volleyball_lines

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
processes = get_context('forkserver')
processes.set_forkserver_preload([
    'pytest', 'fastai.torch_core', 'aclip.cli', 'aclip.train.features', 'aclip.train.steps',
    'aclip.evaluate.evaluation', 'aclip.evidence.demo', 'aclip.evidence.experiments'])


# What is killed

def command(*argv):
    "Run the command; its exit status is that of the process."
    if status := main([str(a) for a in (*argv, '--quiet')]): sys.exit(status)


def train(made, out):
    command('train', '--data', made/'world', '--available', '--workers', 0, '--out', out/'run',
            '--features', 'boxes', '--model', 'aformer', '--d', 16, '--layers', 1, '--r', 2,
            '--heads', 2, '--teacher', 'tiny', '--protocol', 'best-on-test', '--epochs', 3,
            '--bs', 2, '--steps', 2, 3)


def evaluate(made, out):
    command('evaluate', '--model', made/'whole/train/run/3-text/best.safetensors', '--data',
            made/'world', '--available', '--workers', 0, '--out', out/'evaluation')


def features(made, out):
    command('features', '--model', made/'image.safetensors', '--data', made/'world', '--available',
            '--workers', 0, '--out', out/'store', '--kind', 'crops', '--per-shard', 2)


def bank(made, out):
    TextBank.random([*ACTIONS], dim=64, seed=1).save(out/'bank.safetensors')


def world(made, out):
    command('world', '--out', out/'drawn', '--clips', 4, '--videos', 3, '--size', 90, 160,
            '--workers', 0)


def results(made, out):
    setup = replace(SETUPS['boxes'], training={2: dict(epochs=1)})
    splits = dict(train=(1,), val=(0,), test=(4,), trainval=(0, 1))
    with patch('aclip.data.volleyball.SPLITS', splits):
        table('1', out/'runs', ClipSource(made/'annotations', workers=0), setup, [0, 1],
              ['AFormer'], out/'results.json', report=lambda line: None, progress=False)


def whole_demo(made, out):
    training = {step: dict(epochs=2, warmup=.2) for step in TRAINING}
    demo(out/'demo', seeds=[3], clips=16, videos=4, size=(90, 160), training=training,
         progress=False)


class Place(NamedTuple):
    "Where a process is killed."
    job:object # a function of two folders: what is there, and where it writes
    target:str # the function that sends the signal when it is called, as module:name
    word:str # a word in its arguments; empty: any call
    count:int # which of these calls
    signal:int


STEP = 'torch.optim:AdamW.step'
SHARD = 'aclip.train.store:FeatureStore.write_shard'
WRITE = 'os:replace'
PLACES = {
    'inside a step of the relation, KILL': Place(train, STEP, '', 2, KILL),
    'inside a step of the text branch, TERM': Place(train, STEP, '', 13, TERM),
    'inside a step of the text branch, INT': Place(train, STEP, '', 16, INT),
    'last checkpoint, first, KILL': Place(train, WRITE, 'last.safetensors', 1, KILL),
    'last checkpoint, later, INT': Place(train, WRITE, '2-relation/last.safetensors', 3, INT),
    'best checkpoint, KILL': Place(train, WRITE, '3-text/best.safetensors', 1, KILL),
    'best checkpoint, TERM': Place(train, WRITE, '2-relation/best.safetensors', 1, TERM),
    'run.json of the relation, INT': Place(train, WRITE, '2-relation/run.json', 1, INT),
    'run.json of the text branch, KILL': Place(train, WRITE, '3-text/run.json', 1, KILL),
    'config.json, KILL': Place(train, WRITE, 'config.json', 1, KILL),
    'between shards, KILL': Place(features, SHARD, '', 2, KILL),
    'between shards, TERM': Place(features, SHARD, '', 3, TERM),
    'shard, KILL': Place(features, WRITE, 'shard-00001', 1, KILL),
    'shard, INT': Place(features, WRITE, 'shard-00003', 1, INT),
    'manifest, KILL': Place(features, WRITE, 'manifest.json', 1, KILL),
    'text bank, KILL': Place(bank, WRITE, 'bank.safetensors', 1, KILL),
    'result of a run, KILL': Place(results, WRITE, 'seed-1/result.json', 1, KILL),
    'results of a table, TERM': Place(results, WRITE, 'results.json', 1, TERM),
    'evaluation.json, KILL': Place(evaluate, WRITE, 'evaluation.json', 1, KILL),
    'drawn world, TERM': Place(world, WRITE, 'world.json', 1, TERM),
    'demo.json, KILL': Place(whole_demo, WRITE, 'demo.json', 1, KILL),
    'report of the demo, KILL': Place(whole_demo, WRITE, 'report.html', 1, KILL),
    'report of the demo, INT': Place(whole_demo, WRITE, 'report.html', 1, INT),
}
FAST = ('inside a step of the text branch, TERM', 'best checkpoint, KILL',
        'last checkpoint, later, INT')


# The process

def halve(file):
    "Leave half of a file."
    if isinstance(file, (str, Path)) and Path(file).is_file():
        os.truncate(file, os.path.getsize(file)//2)


def aim(place):
    "Replace the target by a function that sends the signal at the right call."
    module, _, name = place.target.partition(':')
    *owners, name = name.split('.')
    holder = importlib.import_module(module)
    for owner in owners: holder = getattr(holder, owner)
    real = getattr(holder, name)
    calls = []
    def aimed(*args, **kw):
        if any(place.word in str(a) for a in args): calls.append(args)
        if len(calls) == place.count and calls[-1] is args:
            halve(args[0])
            os.kill(os.getpid(), place.signal)
        return real(*args, **kw)
    setattr(holder, name, aimed)


def work(job, made, out, place=None):
    "In a process of its own."
    torch.set_num_threads(1)
    signal.signal(INT, signal.default_int_handler)
    if place: aim(place)
    os.chdir(out)
    with open(os.devnull, 'w') as null, contextlib.redirect_stdout(null), \
            contextlib.redirect_stderr(null): job(made, Path())


def ended(*args):
    "The exit status of `work`."
    p = processes.Process(target=work, args=args)
    p.start()
    p.join(300)
    if p.is_alive(): p.kill()
    p.join()
    return p.exitcode


# What must be equal

CHANGING = 'seconds', 'sha256', 'date', 'commit', 'created', 'frames_per_second', 'time', 'store'


def lasting(value):
    "A value of JSON without times and digests."
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in CHANGING}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def content(file):
    "What a file must hold again."
    if file.suffix == '.safetensors':
        tensors, meta = load_tensors(file)
        return {k: (v.dtype, v.numpy().tobytes()) for k, v in tensors.items()}, lasting(meta)
    if file.suffix == '.json': return lasting(json.loads(file.read_text()))
    if file.suffix == '.csv': return [l.rsplit(',', 1)[0] for l in file.read_text().splitlines()]
    return file.read_bytes() if file.suffix in ('.txt', '.jpg') else None


def contents(folder):
    "Every file of a folder, without half-written ones, which nothing reads."
    files = (f for f in sorted(folder.rglob('*')) if f.is_file() and f.suffix != '.part')
    return {str(f.relative_to(folder)): content(f) for f in files}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "What the jobs read."
    made = tmp_path_factory.mktemp('made')
    make_world(made/'world', clips=8, videos=4, size=(90, 160), workers=0, progress=False)
    config = Config([*ACTIVITIES], [*ACTIONS], step=2, backbone='test_resnet', out_indices=[2],
                    d=16, size=(90, 160), relation=dict(n_graphs=2))
    torch.manual_seed(0)
    save_model(made/'image.safetensors', create_model(config, RANDOM), config)
    for video in (0, 1, 4):
        folder = made/f'annotations/videos/{video}'
        folder.mkdir(parents=True)
        lines = volleyball_lines(['r-pass', 'l_set', 'r_spike', 'l-spike'])
        (folder/'annotations.txt').write_text('\n'.join(lines) + '\n')
    return made


@pytest.fixture(scope='module')
def undisturbed(made):
    "A function of a job: the files that it writes when nothing disturbs it."
    seen = {}
    def files(job):
        if job is evaluate: files(train)
        out = made/'whole'/job.__name__
        if job not in seen:
            out.mkdir(parents=True)
            assert ended(job, made, out) == 0
            seen[job] = contents(out)
        return seen[job]
    return files


STATUS = {KILL: (-KILL,), TERM: (143, -TERM), INT: (130, 1)}


def check(place, made, undisturbed, out):
    "Kill, run again, compare."
    expected = undisturbed(place.job)
    assert ended(place.job, made, out, place) in STATUS[place.signal]
    assert ended(place.job, made, out) == 0
    found = contents(out)
    assert found.keys() == expected.keys()
    for file, value in expected.items(): assert found[file] == value, file


@pytest.mark.parametrize('name', FAST)
def test_a_kill(name, made, undisturbed, tmp_path):
    check(PLACES[name], made, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in PLACES if name not in FAST])
def test_kills(name, made, undisturbed, tmp_path):
    check(PLACES[name], made, undisturbed, tmp_path)
