"The bench at tiny sizes, through the command: what it prints and writes. How fast anything is, no test says."
import json
import pytest, torch
from helpers import aclip_json
from aclip.evidence.bench import PLAIN, Sizes, interleave_timings, random_actors, row, text_model
from aclip.models.registry import BASES

TINY = Sizes(turns=1, clips=2, size=(90, 160), backbone='test_resnet', widths=dict.fromkeys(BASES, 16), layers=1, bs=4, epochs=1, grow=dict(clips=[1, 2], actors=[2], frames=[3], ranks=[1]))

@pytest.fixture(scope='module')
def said(tmp_path_factory):
    "What the command prints, and what it writes."
    file = tmp_path_factory.mktemp('bench')/'bench.json'
    with pytest.MonkeyPatch.context() as m:
        m.setattr('aclip.bench.QUICK', TINY)
        rows = aclip_json('bench', '--quick', '--results', file)
    return rows,json.loads(file.read_text())

def test_rows(said):
    rows,_ = said
    for r in rows:
        assert list(r) == ['name', 'ours_s', 'other_s', 'speedup', 'other'] and isinstance(r['name'], str) and isinstance(r['other'], str)
        assert r['ours_s'] > 0 and r['other_s'] >= 0
        assert r['speedup'] == pytest.approx(r['other_s']/r['ours_s'], rel=2e-3, abs=1e-6)
    assert len({r['name'] for r in rows}) == len(rows)
    for what,n in (('an epoch of the third step from the store', 1), ('extraction of a frame', 1), ('forward and backward', 3), ('in one pass', 6), ('a training step', 4)):
        assert sum(what in r['name'] for r in rows) == n, what

def test_file(said):
    rows,r = said
    assert r['rows'] == rows and r['quick'] and r['version'] == 1
    assert {'date', 'commit', 'machine', 'sizes', 'seconds', 'filled', 'floor', 'growth', 'peak_gib'} <= r.keys()
    assert r['growth'].keys() == {'clips', 'actors', 'frames', 'ranks'}
    for by in r['growth'].values(): assert by.keys() == BASES.keys()
    assert [v for v,_ in r['growth']['clips']['arg']] == [1, 2]
    for o in r['floor'].values(): assert o['flops'] > 0 and o['rate'] > 0
    assert sum(r['filled']['share'].values()) == pytest.approx(1, abs=.01)
    peaks = [p['process'] for p in r['peak_gib'].values()]
    assert peaks == sorted(peaks) and peaks[0] > 0

def test_turns_alternate():
    said = []
    interleave_timings(lambda: said.append('a'), lambda: said.append('b'), n=2)
    assert ''.join(said) == 'ababab'                                        # the first of each does not count

def test_speedup_is_above_one_where_ours_is_faster(): assert row('x', 1, 3, 'y')['speedup'] == 3

@pytest.mark.parametrize('name', BASES)
def test_the_plain_ways_say_the_same_and_learn_the_same(name):
    torch.manual_seed(0)
    rel,(x,boxes) = text_model(name, 32, layers=0).relation.eval().requires_grad_(True),random_actors(2, 3, 12, 32)
    plain = PLAIN[name][0](rel).to(x.device)
    x.requires_grad_()
    a,b = rel(x, boxes),plain(x, boxes)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    (ga,),(gb,) = (torch.autograd.grad(y.square().mean(), x) for y in (a, b))
    torch.testing.assert_close(ga, gb, rtol=1e-3, atol=1e-5)
