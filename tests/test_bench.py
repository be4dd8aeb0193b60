"The benchmark at tiny sizes, through the command: what it prints and writes. No test checks how fast anything is."
import json
import pytest, torch
from helpers import aclip_json
from aclip.evidence.bench import Sizes, bench_relations, bench_text
from aclip.evidence.plain import PLAIN, random_actors, text_model
from aclip.evidence.timing import interleave_timings, row
from aclip.models.registry import BASES
from aclip.text.lora_weights import LowRank

TINY = Sizes(turns=1, clips=2, size=(90, 160), backbone='test_resnet', widths=dict.fromkeys(BASES, 16), layers=1, bs=4, epochs=1, grow=dict(clips=[1, 2], actors=[2], frames=[3], ranks=[1]))

@pytest.fixture(scope='module')
def result(tmp_path_factory):
    "What the command prints and what it writes; both are the same."
    file = tmp_path_factory.mktemp('bench')/'bench.json'
    with pytest.MonkeyPatch.context() as m:
        m.setattr('aclip.evidence.bench.QUICK', TINY)
        printed = aclip_json('bench', '--quick', '--results', file)
    assert json.loads(file.read_text()) == printed
    return printed

# An update inside another module than a linear map needs two passes.
ONE_PASS = [name for name,base in BASES.items() if not any(isinstance(m, LowRank) for m in text_model(name, 16, layers=0).text_relation.modules())]

def test_rows(result):
    rows = result['rows']
    for r in rows:
        assert list(r) == ['name', 'ours_s', 'other_s', 'speedup', 'other'] and isinstance(r['name'], str) and isinstance(r['other'], str)
        assert r['ours_s'] > 0 and r['other_s'] >= 0
        assert r['speedup'] == pytest.approx(r['other_s']/r['ours_s'], rel=2e-3, abs=1e-6)
    assert len({r['name'] for r in rows}) == len(rows)
    for what,n in (('an epoch of the third step from the store', 1), ('extraction of a frame', 1), ('forward and backward', len(PLAIN)), ('in one pass', 2*len(ONE_PASS)), ('a training step', len(BASES) + 1)):
        assert sum(what in r['name'] for r in rows) == n, what

def test_file(result):
    r = result
    assert r['quick'] and r['version'] == 1
    assert {'date', 'commit', 'machine', 'sizes', 'seconds', 'filled', 'floor', 'growth', 'peak_gib'} <= r.keys()
    assert r['growth'].keys() == {'clips', 'actors', 'frames', 'ranks'}
    for by in r['growth'].values(): assert by.keys() == BASES.keys()
    assert [v for v,_ in r['growth']['clips']['arg']] == [1, 2]
    for o in r['floor'].values(): assert o['flops'] > 0 and o['rate'] > 0
    assert sum(r['filled']['share'].values()) == pytest.approx(1, abs=.01)
    peaks = [p['process'] for p in r['peak_gib'].values()]
    assert peaks == sorted(peaks) and peaks[0] > 0

def test_turns_alternate():
    calls = []
    interleave_timings(lambda: calls.append('a'), lambda: calls.append('b'), n=2)
    assert ''.join(calls) == 'ababab'                                       # the first of each does not count

def test_speedup_is_above_one_where_ours_is_faster(): assert row('x', 1, 3, 'y')['speedup'] == 3

@pytest.mark.parametrize('name', PLAIN)
def test_plain_versions_have_the_same_outputs_and_gradients(name):
    torch.manual_seed(0)
    rel,(x,boxes) = text_model(name, 32, layers=0).relation.eval().requires_grad_(True),random_actors(2, 3, 12, 32)
    plain = PLAIN[name].build(rel).to(x.device)
    x.requires_grad_()
    a,b = rel(x, boxes),plain(x, boxes)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    (ga,),(gb,) = (torch.autograd.grad(y.square().mean(), x) for y in (a, b))
    torch.testing.assert_close(ga, gb, rtol=1e-3, atol=1e-5)

def test_text_is_narrow(result):
    "The text of the command: a name for each comparison, at most 80 columns wide."
    text = bench_text(result)
    assert max(map(len, text.splitlines())) <= 80
    for r in result['rows']: assert r['name'].split()[0] in text
    assert 'quick sizes' in text and str(result['commit']) in text

def test_a_base_model_without_a_plain_version_is_left_out(monkeypatch):
    monkeypatch.delitem(PLAIN, 'aformer')
    assert [r['name'].split(':')[0] for r in bench_relations(TINY)] == [b for b in BASES if b in PLAIN]
