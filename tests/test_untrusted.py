"Files of others: nothing in them is executed, and a small file does not take gigabytes."
import pickle, resource, struct, subprocess, sys
import numpy as np, pytest, torch
from helpers import refused
from aclip.checkpoint import CheckpointError, read_weights, weights_only
from aclip.data.clips import DataError
from aclip.data.synthetic import make_world
from aclip.data.volleyball_tracks import load_tracks
from aclip.models.backbone import Backbone
from aclip.models.i3d import I3D, load_i3d

class Evil:
    "Writes a file where it is unpickled."
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return open, (self.path, 'w')

WRAPPED = dict(plain=lambda e: {'w': e}, state_dict=lambda e: {'state_dict': e}, alone=lambda e: e, beside=lambda e: {'model': {}, 'args': e})

@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('wrap', WRAPPED)
@pytest.mark.parametrize('load', [lambda f: Backbone('test_resnet', weights=f), lambda f: load_i3d(I3D(), f), lambda f: read_weights(f, 'weights', 'Give others')], ids=['backbone', 'i3d', 'any'])
def test_weights_run_no_code(tmp_path, monkeypatch, load, wrap, zipped):
    "Also where the library would load everything, as timm 1.0.20 does."
    import timm.models._builder as builder
    monkeypatch.setattr(builder, 'load_state_dict', lambda path, *a, **kw: torch.load(path, weights_only=False))
    file = tmp_path/'evil.pth'
    torch.save(WRAPPED[wrap](Evil(tmp_path/'ran')), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match='evil.pth.*nothing in it was executed'): load(file)
    assert not (tmp_path/'ran').exists()

@pytest.mark.parametrize('before', [{}, {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1'}, {'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '0'}], ids=str)
def test_what_libraries_fetch_runs_no_code(tmp_path, monkeypatch, before):
    import os
    for name, value in before.items(): monkeypatch.setenv(name, value)
    torch.save(Evil(tmp_path/'ran'), tmp_path/'evil.pth')
    was = dict(os.environ)
    with weights_only(), pytest.raises(pickle.UnpicklingError): torch.load(tmp_path/'evil.pth', weights_only=False)
    assert dict(os.environ) == was and not (tmp_path/'ran').exists()

@pytest.mark.parametrize('fetch', ['timm', 'open_clip'])
def test_the_hub_is_asked_within_weights_only(monkeypatch, fetch):
    import os, open_clip, timm
    from aclip.text.bank import load_open_clip
    seen = []
    def look(*a, **kw): seen.append(os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD')); raise OSError('no network')
    monkeypatch.setattr(timm, 'create_model', look); monkeypatch.setattr(open_clip, 'create_model', look)
    with pytest.raises(ValueError): Backbone('resnet18') if fetch == 'timm' else load_open_clip('ViT-B-32', 'openai')
    assert seen == ['1']

@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(state_dict=s), lambda s: dict(model=s), lambda s: {f'module.{k}': v for k, v in s.items()},
                                  lambda s: dict(state_dict_ema=s, state_dict={k: v*0 for k, v in s.items()})])
@pytest.mark.parametrize('zipped', [True, False])
def test_good_weights_load(tmp_path, wrap, zipped):
    import argparse, timm
    torch.manual_seed(1)
    state = timm.create_model('test_resnet').state_dict()
    torch.save({**wrap(state), 'args': argparse.Namespace(lr=1)} if 'conv1.weight' not in wrap(state) and not any(k.startswith('module.') for k in wrap(state)) else wrap(state),
               tmp_path/'good.pth', _use_new_zipfile_serialization=zipped)
    net = Backbone('test_resnet', weights=tmp_path/'good.pth').net
    own = net.state_dict()
    assert all(torch.equal(own[k], state[k]) for k in own if k in state) and own.keys() & state.keys()

def test_the_command_names_the_file(tmp_path):
    world = make_world(tmp_path/'world', clips=4, videos=3, size=(90, 160), workers=0, progress=False)
    torch.save(Evil(tmp_path/'ran'), tmp_path/'evil.pth')
    argv = '--tiny --steps 1 --available --protocol overfit --workers 0'.split()
    refused('train', *argv, '--data', world, '--out', tmp_path/'run', '--backbone-weights', tmp_path/'evil.pth', says=['evil.pth', 'nothing in it was executed'])
    assert not (tmp_path/'ran').exists()

# --- memory of a pickle -------------------------------------------------------

def reduce_(module, name, args): return b'\x80\x02c' + f'{module}\n{name}\n'.encode() + pickle.dumps(args, 2)[2:-1] + b'R.'

def bombs():
    long = struct.pack('<I', 2**28)
    nested = 'x'
    for _ in range(60): nested = [nested, nested]
    return dict(memo=b'\x80\x02}r' + long + b'.', memo_text=b'}p268435456\n.', memo_max=b'\x80\x02}r\xff\xff\xff\xff.',
                bytes8=b'\x80\x04\x8e' + struct.pack('<Q', 2**36) + b'.', text8=b'\x80\x04\x8d' + struct.pack('<Q', 2**36) + b'.', bytearray8=b'\x80\x05\x96' + struct.pack('<Q', 2**36) + b'.',
                frame=b'\x80\x04\x95' + struct.pack('<Q', 2**36) + b'}.', long4=b'\x80\x02\x8b' + struct.pack('<i', 2**30) + b'.', long_text=b'I' + b'9'*5000 + b'\n.',
                array=reduce_('numpy', 'ndarray', ((2**30,),)), scalar=b'\x80\x02cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x0b\x00\x00\x00S2000000000tRtR.',
                new_array=b'\x80\x02cnumpy\nndarray\nJ\x00\x00\x00\x40\x85\x81.', text=b'\x80\x02c__builtin__\nstr\n' + pickle.dumps((nested,), 2)[2:-1] + b'R.')

LIMITED = """
import resource, sys
from aclip.data.volleyball_tracks import load_tracks
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try: load_tracks(path); print(path, 'loaded')
    except ValueError as e: assert path in str(e), e
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

def test_a_small_pickle_takes_little_memory(tmp_path):
    for name, data in bombs().items(): (tmp_path/name).write_bytes(data)
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    r = subprocess.run([sys.executable, '-c', LIMITED, *map(str, sorted(tmp_path.iterdir()))], capture_output=True, text=True, preexec_fn=limit)
    assert r.returncode == 0, (r.stdout, r.stderr)
    *loaded, kilobytes = r.stdout.splitlines()
    assert not loaded and int(kilobytes) < 100_000

@pytest.mark.parametrize('protocol', range(6))
def test_good_tracks_load(tmp_path, protocol):
    boxes = np.random.default_rng(0).random((12, 4))
    tracks = {(3, 100): {95: boxes, 96: boxes.astype('f4')}, (np.int64(4), 7): {1: np.asfortranarray(boxes)}}
    (tmp_path/'t.pkl').write_bytes(pickle.dumps(tracks, protocol))
    found = load_tracks(tmp_path/'t.pkl')
    assert found.keys() == tracks.keys()
    for key in tracks:
        for n, b in tracks[key].items(): assert np.array_equal(found[key][n], b) and found[key][n].dtype == b.dtype
