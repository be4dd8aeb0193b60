"Files that were damaged, altered or written by somebody else: they load with equal contents, or raise one error of the right class that names the file. Never a traceback of another kind, a hang, or other numbers."
import contextlib, copy, json, math, shutil, signal, warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from aclip.checkpoint import CheckpointError, load_tensors, read_meta, save_tensors
from aclip.cli import build_run, parse
from aclip.config import Config
from aclip.data.clips import Clip, DataError
from aclip.data.synthetic import make_world
from aclip.evidence import results as evidence_results
from aclip.evidence.demo import check_folder
from aclip.evidence.experiments import gather, run_folder
from aclip.evidence.results import VERSION, read_results, write_results
from aclip.evidence.setups import SETUPS
from aclip.evidence.tables import Run
from aclip.text.bank import BankError, TextBank
from aclip.train import plan as train_plan
from aclip.train.recipes import RECIPES
from aclip.train.store import FeatureStore
from aclip.zoo import create_model, load_model, save_model
from helpers import best

ROOT = Path(__file__).resolve().parents[1]
OLD = Path(__file__).parent/'written_by_0_1_0'
ACTIONS = ['waiting', 'spiking', 'blocking']
LABELS = dict(activities=['l_spike', 'r_spike'], actions=ACTIONS, d=8, features='boxes')
FRAMES = dict(LABELS, features='actor', backbone='test_resnet', out_indices=[0], crop=2, size=(72, 120))
TEXT = dict(r=2, layers=1, heads=2, d2=16)
CONFIGS = dict(
    arg=Config(**FRAMES, step=2, relation=dict(n_graphs=2, d_k=4)),        # its BatchNorm counts in whole numbers
    aformer=Config(**LABELS, step=2, model='aformer'),
    aclip=Config(**LABELS, step=3, model='dualai', relation=dict(joint=0, parts=[], paths=['ST']), text=TEXT),
    series=Config(**LABELS, step=3, model='aformer', method='series', text=dict(d2=16)))

campaign = settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

@contextlib.contextmanager
def no_hang(seconds=60):
    "What takes longer than this counts as a hang."
    def stop(*_): raise TimeoutError('a hang')
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Every kind of file, and what is read from it

def numbers(tensors): return {k: (str(v.dtype), v.double().tolist()) for k, v in tensors.items()}

def read_checkpoint(file):
    model, config, meta = load_model(file)
    return numbers(model.state_dict()), config.to_dict(), meta

def read_bank(file):
    bank = TextBank.load(file)
    return bank.labels, bank.prompts, bank.tau, bank.source, bank.features.tolist()

def stored_clips():
    "Three clips of ten frames and four players."
    xy = np.random.default_rng(0).uniform(.1, .8, (3, 10, 4, 2)).astype(np.float32)
    boxes = np.concatenate([xy, xy + np.float32(.1)], -1)
    return [Clip(f'{i}/100', tuple(Path(f'{i}_{t}.jpg') for t in range(10)), boxes[i], np.zeros(4, np.int64), 0, (72, 120)) for i in range(3)]

PART = SimpleNamespace(kind='actors', fingerprint='a model', width=6)

def make_store(folder):
    store, clips = FeatureStore(folder, per_shard=2, dtype='float32'), stored_clips()
    store.open(store.describe(PART, clips, (72, 120), 4))
    g = torch.Generator().manual_seed(0)
    for i in range(2): store.write_shard(i, [torch.randn(10, 4, 6, generator=g) for _ in store.shard_clips(i)])
    return folder

def read_store(file):
    store, clips = FeatureStore(file.parent), stored_clips()
    store.open(store.describe(PART, clips, (72, 120), 4))
    return [r.tolist() for r in store.rows(clips)]

EPOCH = dict(train_loss=1.5, valid_loss=1.25, mca=.75, mpca=.5, action=.5)
RECORD = dict(step=2, best=EPOCH, clips=[20, 10], trainable=123, seconds=4.5, recipe=dict(epochs=1), config=dict(d=8), command='a key', seed=0,
              protocol='val', videos=None, boxes='annotation', teacher=None, aclip='0.2.0', torch='2', python='3', machine='x', system='y', threads=1, gpu=None, processes=1)

def make_step(folder, seal=True):
    "The folder of a finished step."
    save_tensors(folder/'best.safetensors', dict(w=torch.ones(2)), dict(config={}, note=dict(command='a key'), record=EPOCH))
    record = RECORD
    if seal:
        from aclip.files import sealed
        record = sealed(RECORD)
    (folder/'run.json').write_text(json.dumps(record, indent=1))
    return folder/'run.json'

def read_step(file):
    return train_plan.finished(SimpleNamespace(folder=file.parent, key='a key', step=2, run=SimpleNamespace(overwrite=False)))

def read_result_of(file):
    "As a table that goes on reads it."
    run, setup = Run('ARG'), SETUPS['boxes']
    return evidence_results.result_of(file, run, 0, setup)

CARD = dict(kind='aclip demo', seeds=[3, 4], clips=9, videos=3, size=[90, 160], difficulty=.3, model='aformer', teacher='tiny', training={'2': {'epochs': 1}})

def read_demo(file): return check_folder(file.parent, CARD, overwrite=False)

WORLD = dict(clips=3, videos=3, size=(72, 96), workers=0, progress=False)

def read_world(file):
    root = make_world(file.parent, **WORLD)
    return {f.name: f.read_bytes() for f in sorted(root.rglob('*.txt'))}

def read_config(file):
    parsed, _ = parse('train', ['--config', str(file)])
    return build_run(parsed).to_dict()

# kind of file -> (its name inside the folder, how it is read, class of the errors)
KINDS = dict({name: (f'{name}.safetensors', read_checkpoint, CheckpointError) for name in CONFIGS},
             bank=('bank.safetensors', read_bank, BankError), shard=('store/shard-00001.safetensors', read_store, CheckpointError),
             manifest=('store/manifest.json', read_store, CheckpointError), record=('step/run.json', read_step, CheckpointError),
             result=('result.json', read_result_of, CheckpointError), table=('table.json', read_results, CheckpointError),
             card=('demo/demo.json', read_demo, CheckpointError), world=('world/world.json', read_world, DataError), config=('config.json', read_config, ValueError))
WEIGHTS = [k for k, (name, *_) in KINDS.items() if name.endswith('.safetensors')]
JSONS = [k for k in KINDS if k not in WEIGHTS]
each_json = pytest.mark.parametrize('kind', JSONS)

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "One whole file of each kind."
    folder = tmp_path_factory.mktemp('whole')
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        model = create_model(config)
        if name == 'series': model.set_text(TextBank.random(ACTIONS, dim=16))
        save_model(folder/f'{name}.safetensors', model, config)
    TextBank.random(ACTIONS, dim=4).save(folder/'bank.safetensors')
    make_store(folder/'store')
    make_step(folder/'step')
    results = read_results(ROOT/'nbs/results/boxes_1.json')
    write_results(folder/'table.json', '1', results[:2])
    first = next(r for r in results if r['run'] == json.loads(json.dumps(vars(Run('ARG')))) and r['seed'] == 0)
    from aclip.files import sealed
    (folder/'result.json').write_text(json.dumps(sealed(first)))
    (folder/'demo').mkdir()
    (folder/'demo/demo.json').write_text(json.dumps(CARD))
    make_world(folder/'world', **WORLD)
    run = dict(source=dict(data=str(folder/'world'), boxes='annotation', available=False, workers=0), model=dict(features='boxes', model='aformer', d=16, text=dict(alpha=8., r=2, layers=1)),
               steps=[2, 3], out=str(folder/'run'), teacher='random', seed=1, recipe=dict(epochs=1, lr=.001, bs=2), augment=dict(flip=.5), distill=dict(kd_weight=1.), weights=dict(pretrained=False), protocol='fixed')
    (folder/'config.json').write_text(json.dumps(run))
    return folder

def outcome(kind, file):
    "What is read, or the error; an error of another kind, without the file's name or without a cure, fails the test."
    name, read, error = KINDS[kind]
    with warnings.catch_warnings(), no_hang():
        warnings.simplefilter('ignore')
        try: return read(file)
        except error as e: message = str(e)
    assert len(message) < 3000 and message.count('\n') == 0, message
    # what RunConfig checks names the setting
    if kind != 'config': assert str(file.parent) in message, message
    assert any(word in message for word in ('; ', '. ', ' give ')), f'no cure in: {message}'
    return error

@contextlib.contextmanager
def changed(made, kind, content=None):
    "The file of a kind with other content, for a `with` block."
    file = made/KINDS[kind][0]
    before = file.read_bytes()
    try:
        if content is not None: file.write_bytes(content)
        yield file
    finally: file.write_bytes(before)

@pytest.fixture(scope='module')
def whole(made):
    "What is read from the whole files."
    found = {kind: outcome(kind, made/name) for kind, (name, *_) in KINDS.items()}
    assert all(found[kind] is not error for kind, (*_, error) in KINDS.items())
    return found

def equal_or_error(made, whole, kind, content):
    with changed(made, kind, content) as file: found = outcome(kind, file)
    if found is not KINDS[kind][2]: assert found == whole[kind]


# Bytes

@pytest.mark.parametrize('kind', WEIGHTS)
@campaign
@given(data=st.data())
def test_flipped_bytes_of_weights_are_an_error(made, kind, data):
    "Every flipped byte, wherever it is."
    whole = bytearray((made/KINDS[kind][0]).read_bytes())
    header = 8 + int.from_bytes(whole[:8], 'little')
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, header - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with changed(made, kind, bytes(whole)) as file: found = outcome(kind, file)
    assert found is KINDS[kind][2], f'byte {at} is another one, and nothing noticed it'

@pytest.mark.parametrize('kind', [k for k in JSONS if k not in ('config', 'world')])
@campaign
@given(data=st.data())
def test_flipped_bytes_of_json(made, whole, kind, data):
    content = bytearray((made/KINDS[kind][0]).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    equal_or_error(made, whole, kind, bytes(content))

@pytest.mark.parametrize('kind', KINDS)
@settings(campaign, max_examples=15)
@given(data=st.data())
def test_truncated_files(made, whole, kind, data):
    content = (made/KINDS[kind][0]).read_bytes()
    equal_or_error(made, whole, kind, content[:data.draw(st.integers(0, len(content) - 1))])

@each_json
@pytest.mark.parametrize('content', [b'', b'[]', b'[1]', b'7', b'null', b'"x"', b'{}', b'NaN', b'{"a": Infinity}', b'[' * 100_000, b'{"a":' * 100_000, b'9' * 5000, b'-' + b'9' * 400, b'1e999',
                                     b'\xff\xfe\x00', b'\x00' * 100, b'{"a": 1, "a": 2}', '{"version": 3}'.encode('utf-16')], ids=lambda c: str(c[:12]))
def test_json_of_the_wrong_shape(made, kind, content):
    with changed(made, kind, content) as file: assert outcome(kind, file) is KINDS[kind][2]

@each_json
def test_a_key_that_appears_twice(made, kind):
    "Readers of JSON disagree on which of the two counts."
    text = (made/KINDS[kind][0]).read_text()
    value = json.loads(text)
    name = next(iter(value))
    twice = text.replace('{', f'{{{json.dumps(name)}: {json.dumps(value[name])}, ', 1)
    with changed(made, kind, twice.encode()) as file: assert outcome(kind, file) is KINDS[kind][2]

def test_a_file_of_a_terabyte_is_not_read(made, monkeypatch):
    from aclip import files
    with changed(made, 'card') as file:
        monkeypatch.setattr(files, 'MAX_JSON', 10)
        assert outcome('card', file) is CheckpointError


# Values

EXTREMES = [None, True, False, 0, -1, 1, 1.5, 10**9, 10**30, -10**30, 1e308, math.nan, math.inf, 'x', '', '7', [], [1], [[]], {}, {'a': 1}, 'é' * 100]

def places(value, at=()):
    "The paths of all values inside a JSON value."
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, v in inner: yield from places(v, (*at, k))

def with_value(value, at, new):
    if not at: return new
    value = copy.copy(value)
    value[at[0]] = with_value(value[at[0]], at[1:], new)
    return value

def without(value, at):
    value = copy.copy(value)
    if len(at) == 1: del value[at[0]]
    else: value[at[0]] = without(value[at[0]], at[1:])
    return value

@st.composite
def mutations(draw, value):
    "A JSON value with one value that is another one, or that is missing."
    at = draw(st.sampled_from([*places(value)]))
    if at and draw(st.integers(0, 4)) == 0: return without(value, at)
    return with_value(value, at, draw(st.sampled_from(EXTREMES)))

@pytest.mark.parametrize('kind', [k for k in JSONS if k not in ('config', 'world')])
@campaign
@given(data=st.data())
def test_other_values_in_json(made, whole, kind, data):
    value = data.draw(mutations(json.loads((made/KINDS[kind][0]).read_text())))
    equal_or_error(made, whole, kind, json.dumps(value).encode())

@settings(campaign, max_examples=40)
@given(data=st.data())
def test_other_values_in_a_configuration(made, data):
    "It belongs to the user: what is allowed is taken."
    value = data.draw(mutations(json.loads((made/'config.json').read_text())))
    with changed(made, 'config', json.dumps(value).encode()) as file: outcome('config', file)

@settings(campaign, max_examples=30)
@given(data=st.data())
def test_other_values_in_a_world(made, whole, data):
    value = data.draw(mutations(json.loads((made/'world/world.json').read_text())))
    equal_or_error(made, whole, 'world', json.dumps(value).encode())

def resaved(made, kind, change):
    "The file of a kind, written again by somebody who knows the format."
    file = made/KINDS[kind][0]
    tensors, meta = load_tensors(file)
    tensors = {k: v.clone() for k, v in tensors.items()}
    save_tensors(made/'resaved.safetensors', *change(tensors, meta))
    return (made/'resaved.safetensors').read_bytes()

@pytest.mark.parametrize('kind', WEIGHTS)
@settings(campaign, max_examples=40)
@given(data=st.data())
def test_other_values_in_the_header(made, kind, data):
    "With a digest that is right: what the model cannot have is an error, before it is built."
    content = resaved(made, kind, lambda tensors, meta: (tensors, data.draw(mutations(meta).filter(lambda m: isinstance(m, dict)))))
    with changed(made, kind, content) as file: outcome(kind, file)

CONVERTED = (torch.float16, torch.bfloat16, torch.float64)
REFUSED = (torch.int32, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64)

@pytest.mark.parametrize('kind', WEIGHTS)
@campaign
@given(data=st.data())
def test_other_numbers_in_tensors(made, kind, data):
    "With a digest that is right."
    damage = data.draw(st.sampled_from([*REFUSED, 'nan', 'inf', 'shape', 'gone']))
    def change(tensors, meta):
        name = data.draw(st.sampled_from(sorted(k for k, v in tensors.items() if v.is_floating_point() and v.numel())))
        if damage == 'gone': del tensors[name]
        elif damage == 'shape': tensors[name] = torch.cat([tensors[name], tensors[name]])
        elif damage in ('nan', 'inf'): tensors[name].view(-1)[data.draw(st.integers(0, tensors[name].numel() - 1))] = float(damage)
        else: tensors[name] = tensors[name].to(damage)
        return tensors, meta
    content = resaved(made, kind, change)
    with changed(made, kind, content) as file: assert outcome(kind, file) is KINDS[kind][2], damage

@pytest.mark.parametrize('dtype', CONVERTED, ids=str)
@pytest.mark.parametrize('kind', [*CONFIGS, 'bank'])
def test_other_floating_types_are_converted(made, kind, dtype):
    content = resaved(made, kind, lambda tensors, meta: ({k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}, meta))
    with changed(made, kind) as file: expected = outcome(kind, file)
    with changed(made, kind, content) as file: found = outcome(kind, file)
    if kind == 'bank': assert torch.allclose(torch.tensor(found[-1]), torch.tensor(expected[-1]), atol=.01)
    else:
        for name, (kept, values) in expected[0].items():
            assert found[0][name][0] == kept and torch.allclose(torch.tensor(found[0][name][1]), torch.tensor(values), rtol=.01, atol=.01)

BAD_BANKS = [dict(tau=t) for t in (0, -1, 'x', None, True, 1e300, 1e-300, [])] + [dict(labels=v) for v in ('abc', [], [1, 2, 3], ['a', 'a', 'b'], ['A', 'a', 'b'], ['a', '', 'b'], None, {})]
BAD_BANKS += [dict(prompts=v) for v in ('{}', [], [1], None)] + [dict(source=v) for v in (None, 'x', [])]

@pytest.mark.parametrize('wrong', BAD_BANKS, ids=str)
def test_banks_that_cannot_be(made, wrong):
    content = resaved(made, 'bank', lambda tensors, meta: (tensors, {**meta, **wrong}))
    with changed(made, 'bank', content) as file: assert outcome('bank', file) is BankError

@pytest.mark.parametrize('change', [lambda f: f*0, lambda f: f*2, lambda f: f*.5, lambda f: f*math.nan, lambda f: f[:, :0], lambda f: f[..., 0]], ids=['zero', 'long', 'short', 'nan', 'none', 'flat'])
def test_features_that_cannot_be(made, change):
    content = resaved(made, 'bank', lambda tensors, meta: (dict(features=change(tensors['features'])), meta))
    with changed(made, 'bank', content) as file: assert outcome('bank', file) is BankError
    bank = TextBank.load(made/'bank.safetensors')
    with pytest.raises(BankError): replace(bank, features=change(bank.features))

BAD_CONFIGS = [dict(text=dict(TEXT, **t)) for t in (dict(alpha=math.nan), dict(alpha=None), dict(alpha='8'), dict(r=0), dict(r=-1), dict(r='2'), dict(r=10**9), dict(layers=10**9), dict(layers=0), dict(heads=0), dict(heads=3),
                                                    dict(d2=-1), dict(tau=0), dict(tau=math.inf), dict(dropout=2), dict(targets='W_q'), dict(adapt=5))]
BAD_CONFIGS += [dict(d=v) for v in (-1, 0, '8', 8.0, True, [8], 10**12)] + [dict(activities=v) for v in (['a', 'a'], 'ab', [1, 2], [], None, ['', 'b'])] + [dict(n_frames=v) for v in (0, [3], [3, 0], 'ab')]
BAD_CONFIGS += [dict(step=v) for v in (0, 4, '3', None)] + [dict(n_actors=0), dict(dropout=-1), dict(relation=[]), dict(relation=dict(heads=0)), dict(relation=dict(n_frames=0)), dict(relation=dict(size='x')), dict(size='x')]

@pytest.mark.parametrize('wrong', BAD_CONFIGS, ids=str)
def test_configurations_that_cannot_be(made, wrong):
    content = resaved(made, 'aclip', lambda tensors, meta: (tensors, dict(config={**meta['config'], **wrong})))
    with changed(made, 'aclip', content) as file: assert outcome('aclip', file) is CheckpointError

@pytest.mark.parametrize('meta', ['[1]', 'null', '7', '{"config": {}, "config": {}}', '[' * 100_000, '{"config": ' + '9' * 5000 + '}', '{', 'NaN', '{"note": 5, "config": {"step": 2}}'], ids=lambda m: m[:20])
def test_headers_that_are_no_table(tmp_path, meta):
    file = tmp_path/'m.safetensors'
    save_file(dict(w=torch.ones(2)), file, metadata=dict(aclip=meta))
    for read, error in ((load_model, CheckpointError), (TextBank.load, BankError)):
        with no_hang(), pytest.raises(error, match='m.safetensors: .*(again|give|version|make one)'): read(file)

def test_weights_decide_how_much_memory_is_taken(made):
    "A configuration of a model that is much larger than the weights in the file."
    content = resaved(made, 'aformer', lambda tensors, meta: (tensors, dict(config={**meta['config'], 'd': 400_000})))
    with changed(made, 'aformer', content) as file: assert outcome('aformer', file) is CheckpointError


# Files without a digest

def test_files_of_0_1_0_load_with_a_note():
    with pytest.warns(UserWarning, match='bank.safetensors: written by aclip 0.1.0 without a digest'): TextBank.load(OLD/'bank.safetensors')
    with pytest.warns(UserWarning, match='frames_arg.safetensors: written by aclip 0.1.0'): load_model(OLD/'frames_arg.safetensors')

def test_new_files_and_stores_load_without_a_note(made):
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        for kind in WEIGHTS: KINDS[kind][1](made/KINDS[kind][0])
        FeatureStore(OLD/'store').shard(0)

def test_the_header_is_checked_without_the_weights(made):
    "Altered where its length stays the same."
    whole = (made/'aclip.safetensors').read_bytes()
    with changed(made, 'aclip', whole.replace(b'l_spike', b'l_spoke')) as file:
        with pytest.raises(CheckpointError, match='header: damaged'): read_meta(file)

def test_a_digest_is_of_the_contents(made, tmp_path):
    "Saved again by the library itself, the file is still whole."
    with safe_open(made/'aclip.safetensors', 'pt') as f: tensors, header = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    save_file(tensors, tmp_path/'again.safetensors', metadata=header)
    assert read_checkpoint(tmp_path/'again.safetensors') == read_checkpoint(made/'aclip.safetensors')
    tensors['text_activity.linear.bias' if 'text_activity.linear.bias' in tensors else next(iter(tensors))] += 1
    save_file(tensors, tmp_path/'again.safetensors', metadata=header)
    with pytest.raises(CheckpointError, match='again.safetensors: damaged'): load_model(tmp_path/'again.safetensors')


# Numbers that are believed

@pytest.mark.parametrize('seal', [True, False])
@pytest.mark.parametrize('old,new', [('"mca": 0.75', '"mca": 0.85'), ('"mca": 0.75', '"mca": 75'), ('"best": {', '"best": {"mca": 0.5, '), ('"clips": [', '"clips": "x", "y": ['), ('"seconds": 4.5', '"seconds": "x"')])
def test_an_altered_record_is_named(tmp_path, old, new, seal):
    file = make_step(tmp_path/'2-relation', seal)
    assert read_step(file) == RECORD
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match='2-relation/run.json: .*; delete it, and the step is trained again'): read_step(file)

@pytest.mark.parametrize('old,new', [('"seconds": 4.5', '"seconds": 5.5'), ('"trainable": 123', '"trainable": 124'), ('"val"', '"fixed"'), ('"seed": 0', '"seed": 1')])
def test_a_sealed_record_has_no_other_value(tmp_path, old, new):
    file = make_step(tmp_path/'2-relation')
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(CheckpointError, match='run.json: damaged'): read_step(file)

def test_a_damaged_checkpoint_of_a_finished_step_is_named(tmp_path):
    file = make_step(tmp_path/'2-relation')
    save_tensors(file.with_name('last.safetensors'), dict(w=torch.ones(2)), dict(config={}, note=dict(command='a key')))
    file.with_name('last.safetensors').write_bytes(b'half')
    with pytest.raises(CheckpointError, match='last.safetensors: not a whole'): read_step(file)

@pytest.mark.parametrize('name', sorted(f.name for f in (ROOT/'nbs/results').glob('*.json') if '"table"' in f.read_text()[:100]))
def test_altered_results_are_noticed_with_and_without_a_digest(tmp_path, name):
    value = json.loads((ROOT/'nbs/results'/name).read_text())
    file = tmp_path/'t.json'
    for seal in (True, False):
        for change in ('MCA', 'MPCA', 'n_test', 'confusion'):
            v = copy.deepcopy(value)
            row = v['results'][-1]
            if not seal:
                for r in v['results']: r.pop('sha256', None)
            if change == 'n_test': row['n_test'] += 1
            elif change == 'confusion': row['confusion'][0][0] += 1
            else: row['activity'][change] = round(row['activity'][change] + .1, 2)
            file.write_text(json.dumps(v))
            with pytest.raises(CheckpointError, match='t.json: result .*give --results another file'): read_results(file)

@pytest.mark.parametrize('training', [{'x': {}}, {2: 5}, {'2': None}, {1: {}}], ids=str)
def test_recipes_of_a_demo_that_cannot_be(training):
    from aclip.evidence.demo import demo_training
    with pytest.raises(ValueError, match='training|the demo runs steps'): demo_training(training)

@pytest.mark.parametrize('content', ['', 'epoch,mca\n0,x\n', 'epoch,mca\n0,1,2\n', '\x00', 'epoch\n\xff'], ids=repr)
def test_histories_that_are_no_table(tmp_path, content):
    from aclip.evaluate.plots import plot_history
    (tmp_path/'history.csv').write_bytes(content.encode('latin-1'))
    with pytest.raises(ValueError, match='history.csv: .*expected the history.csv of a training step|no run has a column'): plot_history(dict(a=tmp_path/'history.csv'), ('mca',))

@pytest.mark.parametrize('settings,says', [('[1]', 'no table of settings'), ('{"seed": "x"}', "seed is 'x'"), ('{"model": []}', 'model is'), ('{"model": {"d": -1}}', 'model.d is -1'), ('{"recipe": {"epochs": 0}}', 'recipe.epochs is 0'),
                                           ('{"model": {"text": {"layers": 1000000000}}}', 'model.text.layers is 1000000000'), ('{"source": {"workers": -1}}', 'workers is -1'), ('{"weights": {"pretrained": 1}}', 'pretrained is 1')])
def test_settings_of_a_wrong_type_name_the_file(tmp_path, settings, says):
    file = tmp_path/'run.json'
    file.write_text(settings)
    with pytest.raises(ValueError) as e: parse('train', ['--config', str(file), '--out', 'x', '--data', 'x'])
    assert f'--config {file}: ' in str(e.value) and says in str(e.value) and ('give ' in str(e.value) or 'correct' in str(e.value))
