"A fourth image branch that lives outside the package, with its own names and no contract, gets a text branch by an adapter of twenty lines."
import inspect
import numpy as np
import pytest, torch
from PIL import Image
from torch import nn
from aclip.checkpoint import load_state, load_tensors, save_tensors, unique_state
from aclip.text.bank import TextBank
from aclip.core import ActivityCLIP
from aclip.models.series import SeriesCLIP
from aclip.data.clips import Clip
from aclip.data.loaders import clip_dls
from aclip.evaluate.scores import predict_scores, report
from aclip.train.learner import text_learner
from aclip.text.lora import LoRALinear


# Somebody else's model: one image at a time, boxes in pixels, True where a person is missing, names of its own, a tuple as output.

class CrossTalk(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ask,self.tell,self.mix,self.calm = nn.Linear(c, c),nn.Linear(c, c),nn.Linear(c, c, bias=False),nn.BatchNorm1d(c)
    def forward(self, people, missing):
        people = people.masked_fill(missing[..., None], 0)
        a = (self.ask(people) @ self.tell(people).mT).masked_fill(missing[:, None], -1e4).softmax(-1)
        return people + self.calm((a @ self.mix(people)).flatten(0, 1)).view_as(people)

class TeamNet(nn.Module):
    def __init__(self, c=24, events=8, jobs=9):
        super().__init__()
        self.glance,self.look,self.crosstalk = nn.Conv2d(3, 4, 1),nn.Sequential(nn.Linear(8, c), nn.ReLU()),CrossTalk(c)
        self.event,self.job = nn.Linear(c, events),nn.Linear(c, jobs)
    def people(self, image, pixels):
        scene = self.glance(image/255).mean((2, 3))[:, None].expand(-1, pixels.shape[1], -1)
        return self.look(torch.cat([scene, pixels/1000], -1))
    def forward(self, image, pixels, missing):
        p = self.crosstalk(self.people(image, pixels), missing)
        return self.event(p.masked_fill(missing[..., None], -1e4).amax(1)),self.job(p)


# Twenty lines

class Talk(nn.Module):
    "Its crosstalk, frame by frame, as (x, boxes, mask)."
    def __init__(self, crosstalk): super().__init__(); self.crosstalk = crosstalk
    def forward(self, x, boxes, mask=None):
        missing = ~(torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device) if mask is None else mask)
        return self.crosstalk(x.flatten(0, 1), missing.repeat_interleave(x.shape[1], 0)).view_as(x)

class Adapter(nn.Module):
    "The three steps."
    d,n_activities,n_actions,lora_targets = 24,8,9,('ask', 'tell', 'mix')
    def __init__(self, net): super().__init__(); self.net,self.talk = net,Talk(net.crosstalk)
    def embed(self, frames, boxes, mask=None):
        pixels = boxes*boxes.new_tensor([1280, 720, 1280, 720])
        return self.net.people(frames.flatten(0, 1), pixels.flatten(0, 1)).unflatten(0, frames.shape[:2])
    def classify(self, y, mask=None):
        best = y if mask is None else y.masked_fill(~mask[:, None, :, None], -1e4)
        return self.net.event(best.amax(2)).mean(1),self.net.job(y).mean(1)


B,T,N = 2,3,5
ACTIONS = [f'action {k}' for k in range(9)]
BANK = TextBank.random(ACTIONS, dim=16)

def batch():
    g = torch.Generator().manual_seed(0)
    xy,mask = torch.rand(B, T, N, 2, generator=g)*.8,torch.ones(B, N).bool()
    mask[1, 3:] = False
    return torch.randint(256, (B, T, 3, 8, 12), dtype=torch.uint8, generator=g),torch.cat([xy, xy + .1], -1),mask

def stranger():
    torch.manual_seed(0)
    net = TeamNet()
    with torch.no_grad(): net.crosstalk.calm.running_mean.normal_(); net.crosstalk.calm.running_var.uniform_(.5, 2.)
    return net

def lora(net): return ActivityCLIP(Adapter(net), r=2, relation='talk', d2=16, layers=1, heads=2)
def scratch(net): return ActivityCLIP(Adapter(net), adapt='scratch', relation='talk', d2=16, layers=1, heads=2)
def series(net): return SeriesCLIP(Adapter(net), relation='talk', d2=16).set_text(BANK)
plugs = pytest.mark.parametrize('plug', (lora, scratch, series))

def test_it_takes_twenty_lines():
    code = [l for o in (Talk, Adapter) for l in inspect.getsource(o).splitlines() if l.strip()]
    assert len(code) <= 20, len(code)

@plugs
def test_the_image_branch_says_what_the_stranger_says(plug):
    net,(frames,boxes,mask) = stranger().eval(),batch()
    pixels,missing = boxes*torch.tensor([1280, 720, 1280, 720]),~mask.repeat_interleave(T, 0)
    event,job = net(frames.flatten(0, 1), pixels.flatten(0, 1), missing)
    out = plug(net)(frames, boxes, mask)
    assert torch.equal(out['activity_image'], event.unflatten(0, (B, T)).mean(1)) and torch.equal(out['action'], job.unflatten(0, (B, T)).mean(1))
    assert torch.equal(out['activity'], out['activity_image'] + out['activity_text'])

def test_adapters_sit_on_its_own_maps():
    net = stranger()
    model = lora(net)
    assert {n for n,m in model.text_relation.named_modules() if isinstance(m, LoRALinear)} == {'crosstalk.ask', 'crosstalk.tell', 'crosstalk.mix'}
    for k in ('ask', 'tell', 'mix'): assert getattr(model.text_relation.crosstalk, k).W0.weight is getattr(net.crosstalk, k).weight
    model.eval()
    (_,boxes,mask),x = batch(),torch.randn(B, T, N, 24)
    assert torch.equal(model.text_relation(x, boxes, mask), model.relation(x, boxes, mask))           # B = 0

def toy_dls(folder):
    "Clips whose activity is a matter of boxes; all look at the same ten frames."
    rng,clips,files = np.random.default_rng(0),[],tuple(folder/f'{j}.jpg' for j in range(10))
    for f in files: Image.fromarray(rng.integers(0, 256, (72, 128, 3), np.uint8)).save(f)
    for i in range(24):
        n = rng.integers(2, N + 1)
        xy = rng.uniform(.05, .8, (n, 2))
        box = np.concatenate([xy, xy + .1], -1).astype(np.float32)
        clips.append(Clip(f'toy/{i}', files, np.repeat(box[None], 10, 0), rng.integers(0, 9, n), int(xy[:, 0].mean() > .42), (72, 128)))
    return clip_dls(clips[:16], clips[16:], bs=4, size=(8, 12), n_frames=(3, 9), num_workers=0, n_actors=N, device='cpu')

@plugs
def test_it_trains_is_saved_and_is_given_back(plug, tmp_path):
    net = stranger()
    before = {k: v.clone() for k,v in net.state_dict().items()}
    model,dls = plug(net),toy_dls(tmp_path)
    start = {n: p.detach().clone() for n,p in model.named_parameters() if p.requires_grad}
    learn = text_learner(dls, model, None if plug is series else BANK)
    with learn.no_bar(), learn.no_logging():
        first = learn.validate()[0]
        learn.fit(6, 5e-3)
        assert learn.validate()[0] < first
    for k,v in net.state_dict().items(): assert torch.equal(v, before[k]), k                # BatchNorm's statistics too
    for n,p in start.items(): assert not torch.equal(model.get_parameter(n), p), n
    scores = predict_scores(model, dls.valid)
    assert {'activity', 'activity_image', 'activity_text', 'action'} <= set(report(scores))
    save_tensors(tmp_path/'m.safetensors', unique_state(model), {})
    again = load_state(plug(stranger()), load_tensors(tmp_path/'m.safetensors')[0]).eval()
    for k,v in predict_scores(again, dls.valid).items(): assert torch.equal(v, scores[k]), k
    adapter = model.unplug()
    assert adapter.net is net and all(p.requires_grad for p in net.parameters())

def test_a_bank_is_not_for_the_series(tmp_path):
    with pytest.raises(ValueError, match='SeriesCLIP has no Image2Text'): text_learner(toy_dls(tmp_path), series(stranger()), BANK)
