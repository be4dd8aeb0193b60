"Every printed count beside ours: the table is the paper's, the counts are those of the models that training builds, and a miss has its reason."
import contextlib, io, json, re, time
from pathlib import Path
import pytest
from aclip.cli import main
from aclip.data.volleyball_annotation import ACTIONS, ACTIVITIES
from aclip.layers import n_params
from aclip.evidence.params import PRINTED, SETTINGS, UNITS, count_params, params_text
from aclip.config import Config
from aclip.zoo import create_model

TABLES = Path(__file__).resolve().parents[2]/'shared/reference/paper_tables.json'
MISSED = {(1, 'ACLIP(ARG)'), (1, 'ACLIP*(Dual-AI)'), (1, 'ACLIP(Dual-AI)'), (4, 'ACLIP(Dual-AI)+')}

@pytest.fixture(scope='module')
def rows(): return count_params()

def test_the_command(rows):
    "All rows as JSON, from the command, in seconds."
    out,start = io.StringIO(),time.time()
    with contextlib.redirect_stdout(out): assert main(['params', '--json']) == 0
    assert time.time() - start < 30                          # two or three on an idle machine
    got = json.loads(out.getvalue())
    assert got == [o.to_dict() for o in rows]
    assert sum(o['paper'] is not None for o in got) == 31
    for o in got: assert {'table', 'row', 'paper', 'ours', 'unit'} <= set(o)

def test_printed_is_what_the_paper_prints():
    if not TABLES.exists(): pytest.skip(f'no {TABLES}')
    t = json.loads(TABLES.read_text())
    assert [v for _,v in PRINTED[1]] == [o['trainable_M'] for o in t['table1_baselines_volleyball'] if o['trainable_M'] is not None]
    assert [r for r,_ in PRINTED[1]] == [o['method'] for o in t['table1_baselines_volleyball'] if o['trainable_M'] is not None]
    assert PRINTED[3] == [(f"{o['layers']} layers{'' if o['kd'] else ', no distillation'}", o['params_M']) for o in t['table3_image2text']]
    assert PRINTED[4] == [(o['method'], o['trainable_M']) for o in t['table4_relation']]
    assert PRINTED[5] == [(f"r = {o['r']}, alpha = {o['alpha']}", o['trainable_K']) for o in t['table5_lora_dualai']]
    ranks = t['hyperparameters']['r']
    assert {name: SETTINGS[name].r for name in ranks} == ranks

def test_what_is_met_and_what_is_not(rows):
    printed = [o for o in rows if o.paper is not None]
    assert {(o.table, o.row) for o in printed if not o.met} == MISSED
    for o in printed:
        assert o.note and o.met == (abs(o.ours - o.paper) <= .005) and ('Missed' in o.note) == (not o.met), o.row
        if o.met: assert f'{o.ours:.2f}' == f'{o.paper:.2f}', o.row

@pytest.mark.parametrize('table,row,n', [
    (1, 'ACLIP*(ARG)', 26_896_401), (1, 'ACLIP(ARG)', 9_468_424), (1, 'ACLIP*(AFormer)', 464_913), (1, 'ACLIP(AFormer)', 8_166_664), (1, 'ACLIP*(Dual-AI)', 1_452_561), (1, 'ACLIP(Dual-AI)', 8_169_736),
    (3, '0 layers', 263_424), (3, '6 layers', 8_155_392), (3, '10 layers', 13_416_704), (4, 'ACLIP(ARG)+', 26_353_664), (4, 'ACLIP(ARG)', 516_096), (4, 'ACLIP(AFormer)+', 329_216),
    (4, 'ACLIP(AFormer)', 9_216), (4, 'ACLIP(Dual-AI)+', 1_316_864), (4, 'ACLIP(Dual-AI)', 12_288), (5, 'r = 1, alpha = 8', 6_144), (5, 'r = 10, alpha = 8', 61_440)])
def test_exact_counts(rows, table, row, n):
    o = next(o for o in rows if (o.table, o.row) == (table, row))
    assert round(o.ours*{'M': 1e6, 'K': 1e3}[o.unit]) == n and o.unit == UNITS[table]

@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('row,kw', [('ACLIP({})', dict(text={})), ('ACLIP*({})', dict(method='series'))])
def test_training_builds_what_is_counted(rows, name, row, kw):
    base = SETTINGS[name]
    if 'text' in kw: kw = dict(text=dict(r=base.r))
    built = create_model(Config(list(ACTIVITIES), list(ACTIONS), step=3, model=base.name, backbone='test_resnet', d=base.d, **kw))
    assert n_params(built, trainable=True) == round(1e6*next(o for o in rows if (o.table, o.row) == (1, row.format(name))).ours)

def test_text_for_people(rows):
    text = params_text(rows)
    assert text.endswith('27 of 31 counts are met.') and max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r' met$', text, re.M)) == 27 and len(re.findall(r' missed$', text, re.M)) == 4
    for o in rows: assert o.row in text and o.note.split()[-1] in text

def test_a_further_base_model_is_counted(rows, monkeypatch):
    "A base model that the paper does not have: counts without printed numbers, at the end of their tables."
    monkeypatch.setitem(SETTINGS, 'Mine', SETTINGS['AFormer'])
    more = count_params()
    mine = [o for o in more if 'Mine' in o.row]
    assert [(o.table, o.row) for o in mine] == [(1, 'ACLIP*(Mine)'), (1, 'ACLIP(Mine)'), (4, 'ACLIP(Mine)+'), (4, 'ACLIP(Mine)')]
    assert [o for o in more if o not in mine] == rows
    of_aformer = {o.row.replace('AFormer', 'Mine'): o.ours for o in rows if 'AFormer' in o.row and o.table == 1}
    for o in mine:
        assert (o.paper, o.met, o.to_dict()['met']) == (None, None, None) and o.note
        if o.table == 1: assert o.ours == of_aformer[o.row]
    text = params_text(more)
    assert text.endswith('27 of 31 counts are met.') and 'ACLIP*(Mine)' in text
