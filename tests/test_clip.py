"The text bank: files, broken files, labels, and open_clip's loading of weights."
import json, os, subprocess, sys
from pathlib import Path
import pytest, torch
import torch.nn.functional as F
from safetensors.torch import save_file
from aclip import checkpoint
from aclip.text.bank import PROMPTS, BankError, TextBank
from aclip.text.clip import clip_loss, clip_probs

LABELS = 'blocking digging falling r_set'.split()
TEXT = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)
TINY = dict(embed_dim=16, vision_cfg=dict(image_size=32, layers=1, width=64, patch_size=32), text_cfg=TEXT)

@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    "open_clip, with a configuration of 1.6M parameters, and its weights in files."
    open_clip = pytest.importorskip('open_clip')
    folder = tmp_path_factory.mktemp('clip')
    (folder/'aclip-tiny.json').write_text(json.dumps(TINY))
    open_clip.add_model_config(folder/'aclip-tiny.json')
    torch.manual_seed(0)
    model = open_clip.create_model('aclip-tiny')
    for k,p in model.named_parameters():                   # large weights, so that the activation matters
        if 'mlp' in k: p.data.mul_(20)
    model.logit_scale.data.fill_(4.)
    state = model.state_dict()
    torch.save(state, folder/'w.pt')
    save_file(state, folder/'w.safetensors')
    (folder/'cut.safetensors').write_bytes((folder/'w.safetensors').read_bytes()[:-9])
    (folder/'empty.pt').touch()
    torch.save({k: v for k,v in state.items() if 'ln_final' not in k}, folder/'other.pt')
    return folder,model.eval()

def encoded(model, prompt, label):
    import open_clip
    with torch.no_grad(): return model.encode_text(open_clip.get_tokenizer('aclip-tiny')([prompt.format(label)]), normalize=True)[0]

@pytest.mark.parametrize('weights', ['w.pt', 'w.safetensors'])
def test_build_from_file(tiny, weights):
    folder,model = tiny
    bank = TextBank.build(LABELS, 'aclip-tiny', folder/weights)
    assert bank.features.shape == (4, 11, 16) and bank.features.dtype == torch.float32
    assert bank.tau == pytest.approx(torch.tensor(-4.).exp().item())
    assert bank.source['pretrained'] == weights                                    # the name, not the builder's folders
    for k,p in (0, 0),(3, 4),(3, 7): assert torch.allclose(bank.features[k, p], encoded(model, PROMPTS[p], LABELS[k].replace('_', ' ')), atol=1e-5)

def test_activation_comes_from_the_tag(tiny, monkeypatch):
    import open_clip
    folder,model = tiny
    for tag,quick in ('quick', True),('plain', False):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'aclip-tiny', {tag: dict(file=str(folder/'w.pt'), quick_gelu=quick)})
        bank = TextBank.build(LABELS[:1], 'aclip-tiny', tag)
        ours = open_clip.create_model('aclip-tiny', str(folder/'w.pt'), force_quick_gelu=quick).eval()
        assert torch.allclose(bank.features[0, 0], encoded(ours, PROMPTS[0], LABELS[0]), atol=1e-5)
        assert torch.allclose(bank.features[0, 0], encoded(model, PROMPTS[0], LABELS[0]), atol=1e-4) != quick

@pytest.mark.parametrize('weights', ['cut.safetensors', 'empty.pt', 'other.pt', 'nowhere.pt'])
def test_bad_weights(tiny, weights):
    with pytest.raises(BankError, match=weights): TextBank.build(LABELS, 'aclip-tiny', tiny[0]/weights)

class Evil:
    def __reduce__(self): return os.mkdir, (self.path,)

def test_weights_run_no_code(tiny, tmp_path):
    evil = Evil()
    evil.path = str(tmp_path/'ran')
    torch.save({'w': evil}, tmp_path/'evil.pt')
    with pytest.raises(BankError, match='evil.pt'): TextBank.build(LABELS, 'aclip-tiny', tmp_path/'evil.pt')
    assert not (tmp_path/'ran').exists()

@pytest.mark.parametrize('n,dim', [(1, 1), (2, 64), (9, 512)])
def test_round_trip(tmp_path, n, dim):
    bank = TextBank.random([f'label {i}' for i in range(n)], dim=dim, seed=n)
    again = TextBank.load(bank.save(tmp_path/'sub'/'bank.safetensors'))
    assert torch.equal(again.features, bank.features)
    assert (again.labels, again.prompts, again.tau, again.source) == (bank.labels, bank.prompts, bank.tau, bank.source)

@pytest.mark.parametrize('meta,features', [
    (None, None), ('not json', None), ('[1]', None), ('{}', None),
    (dict(labels=['a'], prompts=['{}'], tau=.1, source={}), torch.zeros(2, 1, 4)),          # two rows, one label
    (dict(labels=['a', 'A'], prompts=['{}'], tau=.1, source={}), torch.zeros(2, 1, 4)),     # one label twice
    (dict(labels=['a'], prompts=['{}'], source={}), torch.zeros(1, 1, 4))])                 # no tau
def test_no_bank(tmp_path, meta, features):
    path = tmp_path/'bank.safetensors'
    save_file({'features': torch.zeros(1, 1, 4) if features is None else features}, path,
              metadata=None if meta is None else {'aclip': meta if isinstance(meta, str) else json.dumps(meta)})
    with pytest.raises(BankError, match='bank.safetensors'): TextBank.load(path)

@pytest.mark.parametrize('keep', [0, 5, 100, -1])
def test_truncated_bank(tmp_path, keep):
    path = TextBank.random(LABELS).save(tmp_path/'bank.safetensors')
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BankError, match='bank.safetensors'): TextBank.load(path)

@pytest.mark.parametrize('where', ['write', 'replace'])
def test_failed_save_keeps_the_old_bank(tmp_path, monkeypatch, where):
    old = TextBank.random(LABELS)
    path = old.save(tmp_path/'bank.safetensors')
    def full(part, content, *args):
        if where == 'write': open(part, 'wb').write(content[:9])
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(*((Path, 'write_bytes') if where == 'write' else (os, 'replace')), full)
    with pytest.raises(BankError, match='No space left.*untouched'): TextBank.random(LABELS, seed=1).save(path)
    monkeypatch.undo()
    assert torch.equal(TextBank.load(path).features, old.features)
    assert [o.name for o in tmp_path.iterdir()] == ['bank.safetensors']

def test_using_a_bank_never_imports_open_clip(tmp_path):
    path = TextBank.random(LABELS).save(tmp_path/'bank.safetensors')
    code = (f"import sys, torch; from aclip.text.bank import TextBank; b = TextBank.load({str(path)!r}).match(['falling']); b.sample(torch.zeros(2, 3).long()); "
            "assert not {'open_clip', 'timm', 'transformers', 'torchvision'} & set(sys.modules)")
    subprocess.run([sys.executable, '-c', code], check=True)

@pytest.mark.parametrize('order', [[0, 1, 2, 3], [3, 1], [2]])
@pytest.mark.parametrize('spell', [str, str.upper, lambda l: l.replace('_', '-'), lambda l: f" {l.replace('_', ' ')} "])
def test_match(order, spell):
    bank = TextBank.random(LABELS)
    labels = [spell(LABELS[i]) for i in order]
    assert torch.equal(bank.match(labels).features, bank.features[order]) and bank.match(labels).labels == tuple(labels)
    with pytest.raises(BankError, match='no text for serving, r_sett.*blocking'): bank.match([*labels, 'serving', 'r_sett'])

@pytest.mark.parametrize('prompt', ['random', 'mean'])
@pytest.mark.parametrize('shape', [(), (0,), (5,), (2, 12), (2, 3, 12)])
def test_sample(shape, prompt):
    g = torch.Generator().manual_seed(0)
    bank = TextBank(tuple(LABELS), PROMPTS, F.normalize(torch.randn(4, 11, 8, generator=g), dim=-1), .01, dict(model='none'))
    actions = torch.randint(4, shape, generator=g)
    E = bank.sample(actions.masked_fill(torch.rand(shape, generator=g) < .3, -100), prompt, g)
    assert E.shape == (*shape, 8) and not E.requires_grad
    assert torch.allclose(E.norm(dim=-1), torch.ones(shape))
    E = bank.sample(actions, prompt, g)
    rows = bank.features if prompt == 'random' else F.normalize(bank.features.mean(1, keepdim=True), dim=-1)
    assert torch.isclose(E[..., None, :], rows[actions]).all(-1).any(-1).all()               # each is a row of its own label

@pytest.mark.parametrize('K,D', [(1, 4), (3, 4), (64, 512)])
@pytest.mark.parametrize('tau', [.01, .07, 1.])
def test_clip_loss_is_open_clips(K, D, tau):
    loss = pytest.importorskip('open_clip').ClipLoss()
    g = torch.Generator().manual_seed(K)
    x,y = (torch.randn(K, D, generator=g, requires_grad=True) for _ in range(2))
    ours,theirs = clip_loss(x, y, tau),loss(F.normalize(x, dim=-1), F.normalize(y, dim=-1), 1/tau)
    assert torch.allclose(ours, theirs, atol=1e-5)
    for a,b in zip(torch.autograd.grad(ours, (x, y)), torch.autograd.grad(theirs, (x, y))): assert torch.allclose(a, b, atol=1e-5)
    batched = clip_probs(x.expand(2, 3, K, D), y, tau)
    assert batched.shape == (2, 3, K, K) and torch.allclose(batched[1, 2], clip_probs(x, y, tau), atol=1e-6)

def test_text_modules_import_nothing_heavier_than_torch():
    heavy = {'open_clip', 'timm', 'transformers', 'torchvision', 'fastai', 'matplotlib', 'scipy', 'PIL'}
    code = f"import sys; from aclip.text import bank, clip, distill, image2text, lora; assert not (found := {heavy!r} & set(sys.modules)), found"
    subprocess.run([sys.executable, '-c', code], check=True)
