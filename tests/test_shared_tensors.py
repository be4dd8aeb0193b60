"Tensors that both branches share stay shared, whatever happens to the model: moves, copies, pickles, assigned states."
import copy, io
import pytest, torch
from torch import nn
from aclip.checkpoint import CheckpointError, load_state, load_tensors, save_tensors, shared_names, unique_state
from aclip.core import ActivityCLIP
from aclip.models.base import BaseModel
from aclip.text.lora import lora_view
from helpers import BoxFeatures, batch

class Relation(nn.Module):
    "Buffers of all kinds: running statistics, one of its own, one that is not in the state, a tied map, weights that an LSTM lists."
    def __init__(self, d=16):
        super().__init__()
        self.l, self.bn, self.norm = nn.Linear(d, d), nn.BatchNorm1d(d), nn.InstanceNorm1d(d, track_running_stats=True)
        self.again, self.memory = self.l, nn.LSTM(d, d, batch_first=True)
        self.register_buffer('gain', torch.ones(d))
        self.register_buffer('shift', torch.zeros(d), persistent=False)
    def forward(self, x, boxes, mask=None):
        y = self.bn(self.again(self.l(x)).flatten(0, -2))*self.gain + self.shift
        y = self.norm(y.view(-1, *x.shape[-2:]).transpose(1, 2)).transpose(1, 2)
        return self.memory(y)[0].view_as(x)

def make(seed=0):
    torch.manual_seed(seed)
    return ActivityCLIP(BaseModel(BoxFeatures(16), Relation(), 8, 9), r=2, d2=16, layers=1, heads=2).eval()

def pickled(m):
    f = io.BytesIO()
    torch.save(m, f)
    f.seek(0)
    return torch.load(f, weights_only=False)

def assigned(m):
    f = io.BytesIO()
    torch.save(m.state_dict(), f)
    f.seek(0)
    m.load_state_dict(torch.load(f), assign=True)
    return m

def base_alone(m): m.base.double(); m.image2text.double(); m.text_activity.double(); return m.double()
def overwritten(m):
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try: return m.double()
    finally: torch.__future__.set_overwrite_module_params_on_conversion(False)

CHANGES = dict(double=lambda m: m.double(), half=lambda m: m.half(), bfloat16=lambda m: m.bfloat16(), to=lambda m: m.to('cpu', torch.float64), there_and_back=lambda m: m.double().float(),
               deepcopy=copy.deepcopy, copied_and_moved=lambda m: copy.deepcopy(m.double()).float(), pickle=pickled, assigned=assigned, to_empty=lambda m: m.to_empty(device='cpu'),
               meta=lambda m: m.to('meta'), shared_memory=lambda m: m.share_memory(), base_alone=base_alone, relation_alone=lambda m: (m.relation.double(), m.double())[1], overwritten=overwritten,
               inside=lambda m: nn.Sequential(m).double()[0], trained=lambda m: m.train().eval())
if torch.cuda.is_available(): CHANGES['cuda'] = lambda m: m.cuda()

@pytest.mark.parametrize('change', CHANGES)
def test_the_state_has_the_same_tensors(change, tmp_path):
    names = list(unique_state(make()))
    model = CHANGES[change](make())
    assert list(unique_state(model)) == names
    assert not any(n.startswith('text_relation') and '.A.' not in n and not n.endswith('.B') for n in names)
    image, text = model.relation, model.text_relation
    for (name, a), b in zip(image.named_buffers(), text.buffers()): assert a is b, name
    assert image.l.weight is text.l.W0.weight and text.again is text.l
    assert image.memory.weight_hh_l0 is dict(text.memory.named_parameters())['weight_hh_l0']
    if change in ('meta', 'to_empty'): return      # no numbers to save
    save_tensors(tmp_path/'m.safetensors', unique_state(model), {})
    state, _ = load_tensors(tmp_path/'m.safetensors')
    again = load_state(make(1).to(next(iter(state.values())).dtype), state)
    for a, b in zip(again.state_dict().values(), model.state_dict().values()): assert torch.equal(a, b.cpu())

def test_scores_after_a_move_there_and_back():
    x = batch(3, 5)
    with torch.no_grad():
        for a, b in zip(make()(*x).values(), copy.deepcopy(make().double()).float()(*x).values()): assert torch.equal(a, b)

def test_a_file_with_both_names_loads():
    "As 0.1.0 wrote it after a move to a GPU."
    state = {k: v.clone() for k, v in make().state_dict().items()}
    load_state(make(1), state)
    extra = unique_state(make()) | {'text_relation.bn.running_mean': torch.zeros(16)}
    load_state(make(1), extra)
    alias = {('text_relation.' + k.removeprefix('base.relation.') if k.startswith('base.relation.bn.') else k): v for k, v in unique_state(make()).items()}
    load_state(make(1), alias)

def test_a_file_whose_names_disagree_is_an_error():
    extra = unique_state(make()) | {'text_relation.bn.running_mean': torch.ones(16)}
    with pytest.raises(CheckpointError, match='base.relation.bn.running_mean and text_relation.bn.running_mean hold different numbers'): load_state(make(1), extra)

def test_tensors_are_the_same_by_their_memory():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = nn.Parameter(a.weight.data)          # two objects, the same numbers in memory
    assert a.weight is not b.weight and [len(n) for n in shared_names(nn.ModuleList([a, b]))] == [2, 1, 1]
    part = nn.Linear(4, 2)
    part.weight.data = a.weight.data[:2]            # a part is another tensor
    assert all(len(n) == 1 for n in shared_names(nn.ModuleList([a, part])))
    empty = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]).to('meta')
    assert len(unique_state(empty)) == 4
    none = nn.Module()
    for name in 'ab': none.register_buffer(name, torch.empty(0))
    assert len(unique_state(none)) == 2

def test_a_view_without_a_model():
    image = Relation()
    both = copy.deepcopy(nn.ModuleDict(dict(image=image, text=lora_view(image, 2)))).double()
    assert both['image'].bn.running_var is both['text'].bn.running_var and both['text'].bn.running_var.dtype == torch.float64
