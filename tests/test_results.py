"Result files: the committed ones belong to their tables as these are run now, and those of aclip 0.1.0 load."
import json
from pathlib import Path

import pytest

from aclip.checkpoint import CheckpointError
from aclip.evidence.experiments import add_results, differences, kept_results, result_of, table_runs
from aclip.evidence.results import VERSION, read_result, read_results, write_results
from aclip.evidence.summary import run_key, summaries, table_text
from aclip.evidence.tables import TABLES, Run
from aclip.evidence.setups import SETUPS, setup_for

ROOT = Path(__file__).resolve().parents[1]
OLD = ROOT/'tests'/'written_by_0_1_0'
RENAMED = {
    'mirror images in training': 'mirrored clips in training', 'trembling edges': 'jittered edges',
    'mirror images in testing': 'mirrored clips in testing', 'the loss on the sum': 'the loss on the fused score',
}

def header(path):
    "What a results file says of itself, without its results; None for a file of something else."
    d = json.loads(path.read_text())
    return {k: v for k, v in d.items() if k != 'results'} if isinstance(d, dict) and 'table' in d else None

COMMITTED = sorted(f.name for f in (ROOT/'nbs'/'results').glob('*.json') if header(f))

def test_every_table_of_the_pages_is_committed():
    names = {f'boxes_{which}.json' for which in TABLES}
    assert set(COMMITTED) == names | {'collective_1.json'}

@pytest.mark.parametrize('name', COMMITTED)
def test_committed_results_are_of_their_table(name):
    file = ROOT/'nbs'/'results'/name
    dataset, which = name.removesuffix('.json').split('_', 1)
    setup = setup_for(dataset='collective' if dataset == 'collective' else 'volleyball')
    assert header(file) == dict(version=VERSION, table=which)
    results = read_results(file)
    assert kept_results(file, which, setup, []) == results and results
    known = {run_key(run): run for run in table_runs(which, setup)}
    assert all(differences(r, known[run_key(r['run'])], r['seed'], setup) == [] for r in results)
    assert len({(run_key(r['run']), r['seed']) for r in results}) == len(results)
    assert all(r['version'] == VERSION and sum(map(sum, r['confusion'])) == r['n_test'] for r in results)

@pytest.mark.parametrize('name', COMMITTED)
def test_committed_files_are_written_as_today(name, tmp_path):
    file = ROOT/'nbs'/'results'/name
    again = write_results(tmp_path/name, header(file)['table'], read_results(file))
    assert again.read_text() == file.read_text()

def test_no_committed_name_of_0_1_0():
    for name in COMMITTED:
        text = (ROOT/'nbs'/'results'/name).read_text()
        assert '"tremble"' not in text and '"room"' not in text and '"version": 2' not in text

# --- written by 0.1.0 ------------------------------------------------------------

def renamed(text):
    "Names of rows of 0.1.0 as they are now."
    for old, new in RENAMED.items(): text = text.replace(old, new)
    return text

@pytest.mark.parametrize('name', ['results', 'results_steps'])
def test_old_results_give_the_same_summary(name):
    which = header(OLD/f'{name}.json')['table']
    expected = json.loads((OLD/f'{name}.expected.json').read_text())
    known = {renamed(r['row']) for r in expected['rows']}                     # tables have gained rows of further base models
    rows = [r for r in summaries(which, read_results(OLD/f'{name}.json')) if r['row'] in known]
    was = [dict(r, row=renamed(r['row'])) for r in expected['rows']]
    assert json.loads(json.dumps(rows)) == was and sum(r['seeds'] > 0 for r in rows) >= 2
    def words(text): return [line.split() for line in renamed(text).splitlines()]
    assert words(table_text(rows)) == words(expected['text'])

def test_old_augmentation_has_its_new_name():
    old = json.loads((OLD/'results_steps.json').read_text())['results']
    new = read_results(OLD/'results_steps.json')
    assert {r['version'] for r in old} == {2} and {r['version'] for r in new} == {VERSION}
    assert any('tremble' in dict(r['run'].get('image', ())) for r in old)
    for a, b in zip(old, new):
        as_now = json.loads(json.dumps(a).replace('"tremble"', '"jitter"'))
        assert b == dict(as_now, version=VERSION)

@pytest.mark.parametrize('name', ['results', 'results_steps'])
def test_old_results_belong_to_their_table(name, tmp_path):
    "A file of 0.1.0 is added to, and then is one of this version."
    which = header(OLD/f'{name}.json')['table']
    there = read_results(OLD/f'{name}.json')
    assert kept_results(OLD/f'{name}.json', which, SETUPS['boxes'], []) == there
    file = tmp_path/'results.json'
    file.write_bytes((OLD/f'{name}.json').read_bytes())
    assert add_results(file, which, tmp_path/'runs') == there == read_results(file)
    assert header(file) == dict(version=VERSION, table=which)

def test_an_old_result_is_taken_up(tmp_path):
    "The result of a run and seed: read as it is, of its own run and of no other."
    result = read_result(OLD/'result.json')
    assert result == dict(json.loads((OLD/'result.json').read_text()), version=VERSION)
    run, setup = Run('ARG', 'aclip', (), 'tiny'), SETUPS['boxes']
    assert result_of(OLD/'result.json', run, 0, setup) == result
    for other, seed in ((run, 1), (Run('ARG'), 0), (Run('AFormer', 'aclip', (), 'tiny'), 0)):
        with pytest.raises(CheckpointError, match='of another run'): result_of(OLD/'result.json', other, seed, setup)

@pytest.mark.parametrize('version', [1, VERSION + 1, None])
def test_other_versions_are_an_error(version, tmp_path):
    file = tmp_path/'r.json'
    file.write_text(json.dumps(dict(version=version, results=[])))
    for read in (read_result, read_results):
        with pytest.raises(CheckpointError, match=f'version {version}, this aclip writes version {VERSION}'): read(file)
