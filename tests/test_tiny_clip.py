"The tiny CLIP: Eq. 1 and 2 equal open_clip's, training repeats, the files that ship are its own, and the recipe gives it again."
import json
from pathlib import Path
import pytest, torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from safetensors import safe_open
from aclip.models.backbone import Backbone
from aclip.models.person_crops import PersonFeatures
from aclip.text.bank import PROMPTS, TextBank
from aclip.text.clip import clip_loss, clip_probs
from aclip.data.synthetic import make_world
from aclip.data.volleyball_annotation import ACTIONS
from aclip.data.volleyball import read_volleyball
from aclip.text.teachers import BANK, TRUNK, tiny_bank
from aclip.text.tiny_clip import RECIPE, bank_of, crops_and_captions, new_clip, pixels, save_tiny, tokenize, train_clip, train_tiny, zero_shot

RECORD = Path(__file__).resolve().parents[1]/'nbs/results/tiny_clip.json'

@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp('w')/'world', clips=12, videos=3, size=(90, 160), workers=0, progress=False)
    return crops_and_captions(read_volleyball(root, range(55), 'tracking', frames='available'))

@pytest.mark.parametrize('n', [2, 17, 64])
@pytest.mark.parametrize('scale', [1/.07, 1., 100.])
def test_equations_on_its_features(pairs, n, scale):
    crops,captions,_ = pairs
    torch.manual_seed(n)
    model = new_clip().eval()
    with torch.no_grad(): x,y = model.encode_text(tokenize(captions[:n])),model.encode_image(pixels(crops[0, :n]))
    x_,y_ = F.normalize(x, dim=-1),F.normalize(y, dim=-1)
    torch.testing.assert_close(clip_loss(x, y, 1/scale), ClipLoss()(y_, x_, torch.tensor(scale)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clip_probs(x, y, 1/scale), (scale*x_ @ y_.T).softmax(-1))

def test_crops_are_in_the_order_of_captions(pairs):
    crops,captions,actions = pairs
    assert crops.shape[:2] == (3, len(captions)) and crops.dtype == torch.uint8 and crops.float().std() > 20
    for action,caption in zip(actions, captions): assert ACTIONS[action] in caption

def test_the_same_seed_gives_the_same_weights(pairs):
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(train_clip(new_clip(), *pairs, steps=3, bs=16, seed=5).state_dict())
    assert all(torch.equal(v, states[1][k]) for k,v in states[0].items())

def test_it_learns(pairs):
    torch.manual_seed(0)
    losses = []
    train_clip(new_clip(), *pairs, steps=40, bs=64, each=lambda s,l,tau: losses.append(l))
    assert sum(losses[-5:])/5 < sum(losses[:5])/5 - .5

def test_what_ships():
    bank = tiny_bank()
    assert bank.labels == tuple(ACTIONS) and bank.prompts == PROMPTS and bank.features.shape == (9, 11, 128)
    torch.testing.assert_close(bank.features.norm(dim=-1), torch.ones(9, 11))
    record = json.loads(RECORD.read_text())
    assert record['recipe'] == bank.source['record']['recipe'] == json.loads(json.dumps(RECIPE))       # page, file and code describe one training
    assert record['accuracy'] == bank.source['record']['accuracy']
    assert BANK.stat().st_size < 100_000 and TRUNK.stat().st_size < 2_000_000

def test_the_trunk_starts_an_image_branch():
    features = PersonFeatures(Backbone('test_resnet', False, TRUNK), d=16)
    with safe_open(TRUNK, 'pt') as f: saved = {k: f.get_tensor(k) for k in f.keys()}
    for k,v in features.backbone.net.state_dict().items(): assert torch.equal(v, saved[k]), k    # BatchNorm's statistics too

def test_saved_is_what_was_trained(pairs, tmp_path):
    model = new_clip().eval()
    bank,trunk = save_tiny(model, dict(accuracy=1., loss=[1.]), tmp_path)
    again = TextBank.load(bank)
    assert torch.equal(again.features, bank_of(model).features) and again.source['record'] == dict(accuracy=1.)
    assert torch.equal(zero_shot(model, pairs[0][0, :9], again), zero_shot(model, pairs[0][0, :9], bank_of(model)))

@pytest.mark.slow
def test_the_recipe_gives_it_again(tmp_path):
    "Ten minutes on two cores. Another machine rounds differently, so within a band of five points."
    _,again = train_tiny(tmp_path/'world')
    record = json.loads(RECORD.read_text())
    assert again['players'] == record['players']
    assert abs(again['accuracy'] - record['accuracy']) < 5 and abs(again['mean_accuracy'] - record['mean_accuracy']) < 5
