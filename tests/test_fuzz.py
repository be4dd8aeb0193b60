"""The campaign of mutated inputs: no traceback, no vague error, no wrong number in silence.

A sample runs by default. The whole campaign takes minutes: `pytest tests/test_fuzz.py -m slow`.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fuzz
from fuzz import BAD, Kind, Mutation

HERE = Path(__file__).resolve().parent


def run(tmp_path, *argv):
    "The campaign in a process of its own, which has used no threads before it forks."
    out = tmp_path/'fuzz.json'
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, str(HERE/'fuzz.py'), '--show', '--out', str(out), *argv],
                          env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return json.loads(out.read_text())


def test_a_sample(tmp_path):
    found = run(tmp_path, '--sample', '150')
    assert found['mutations'] > 130 and found['bad'] == []


@pytest.mark.slow
def test_the_whole_campaign(tmp_path):
    found = run(tmp_path)
    assert found['mutations'] >= 2000 and found['bad'] == []


# The campaign notices each bad outcome

def number(folder, given): return float((folder/'number.txt').read_text())


def seed_number(folder): (folder/'number.txt').write_text('5')


def write(text): return lambda folder: (folder/'number.txt').write_text(text) and None


def clear(folder, given):
    try: return number(folder, given)
    except ValueError: raise fuzz.Refused('number.txt: no number. Expected digits.') from None


def vague(folder, given):
    try: return number(folder, given)
    except ValueError: raise fuzz.Refused('something is wrong') from None


def endless(folder, given):
    while number(folder, given) < 0: pass
    return 5.


@pytest.mark.parametrize('read,text,expect,outcome', [
    (clear, 'x', 'wrong', 'clear error'), (vague, 'x', 'wrong', 'vague error'),
    (number, 'x', 'wrong', 'traceback'), (number, '-1', 'wrong', 'silent'),
    (number, '6', 'noticed', 'silent'), (number, '5.0', 'harmless', 'equal'),
    (number, '6', 'undecidable', 'undecidable'), (clear, 'x', 'harmless', 'refused'),
    (endless, '-1', 'wrong', 'hang')])
def test_an_outcome(tmp_path, read, text, expect, outcome):
    mutation = Mutation('changed', expect, write(text))
    kind = Kind('a number', seed_number, read, lambda folder, rng: [mutation], 'number.txt',
                seconds=2)
    found, = fuzz.campaign([kind])
    assert found['outcome'] == outcome and (outcome in BAD) == (outcome not in fuzz.GOOD)
