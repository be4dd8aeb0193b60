"""Settings of base models, and files of official code, that no model can have: one clear sentence, never a silent number and never a traceback."""
import re
from pathlib import Path
import aclip, pytest, torch
from inspect import signature
from aclip.checkpoint import CheckpointError
from aclip.config import Config
from aclip.data.errors import collect_warnings
from aclip.evaluate.scores import warn_equal
from aclip.models.official import official_state
from aclip.models.registry import BASES
from aclip.train.official import find_labels, find_layout, embedding_settings
from aclip.zoo import check_model

def model(name, d=32, **relation):
    "A model of boxes alone, without numbers."
    return check_model(Config(['a', 'b'], ['x'], 2, name, features='boxes', d=d, relation=relation))

# --- settings ----------------------------------------------------------------

FLOATS = [(name, p.name) for name, base in BASES.items() for source in {base.build, base.relation}
          for p in signature(source).parameters.values() if p.annotation is float and p.name != 'dropout']

@pytest.mark.parametrize('name,setting', sorted({*FLOATS}))
def test_no_number_of_a_base_model_may_be_negative(name, setting):
    "Weights of losses, distances and shares: a negative one would train something else in silence."
    with pytest.raises(ValueError, match=setting): model(name, **{setting: -1.})

@pytest.mark.parametrize('name', BASES)
@pytest.mark.parametrize('d', [1, 7, 30])
def test_a_width_is_taken_or_refused(name, d):
    try: model(name, d)
    except ValueError as e: assert str(d) in str(e)

def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match='width 30 cannot be split into 4 heads'): model('position_gin', 30, neck='attention')

# --- files of official code --------------------------------------------------

@pytest.mark.parametrize('content', [{0: {'a': 1}}, {('a', 1): {'b': 2}}, {'state_dict': {'model': {}}}])
def test_tables_without_tensors(content):
    with pytest.raises(CheckpointError, match='no tensors by name'): official_state(content, 'a.pth')

def test_a_table_inside_itself():
    content = {}
    content['state_dict'] = content
    with pytest.raises(CheckpointError, match='no tensors by name'): official_state(content, 'a.pth')


def test_tensors_of_another_layout():
    with pytest.raises(CheckpointError, match='w is no plain tensor'): official_state({'w': torch.eye(2).to_sparse()}, 'a.pth')

@pytest.mark.parametrize('shape', [(), (4,), (0,), (0, 4), (4, 0), (4, 4, 1)])
def test_weights_that_are_no_matrices(shape):
    t = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=r'a.pth: fc_activities.weight has shape'): find_labels({'fc_activities.weight': t}, None, 'a.pth')
    with pytest.raises(CheckpointError, match=r'a.pth: fc_emb_1.weight has shape'): embedding_settings({'fc_emb_1.weight': t}, 'resnet18', 'a.pth')

SIZES = dict(arg=('gcn_list.0.fc_rn_theta_list.0.weight',), din=('dpi_nl.weight', 'point_conv.weight', 'point_ln.weight'))

@pytest.mark.parametrize('name', [(m, n) for m, names in SIZES.items() for n in names], ids='-'.join)
def test_sizes_that_cannot_be_read(name):
    "A layout reads sizes from shapes; a tensor without axes has none."
    model, tensor = name
    arg = {'gcn_list.0.fc_rn_theta_list.0.weight': torch.zeros(4, 8), 'gcn_list.0.nl_gcn_list.0.weight': torch.zeros(4, 4, 8)}
    field = 'DPI.DIMlist.0.'
    din = {f'{field}hidden_weight.weight': torch.zeros(8, 8), f'{field}p_conv.1.weight': torch.zeros(2, 8, 3, 3), 'dpi_nl.weight': torch.zeros(4, 12, 8),
           'point_conv.weight': torch.zeros(4, 8), 'point_ln.weight': torch.zeros(4, 12, 8)}
    state = dict(arg=arg, din=din)[model]
    with pytest.raises(CheckpointError, match='a.pth: tensors of other shapes'): find_layout({**state, tensor: torch.tensor(0.)}, model, 'resnet18', 'a.pth')
    find_layout(state, model, 'resnet18', 'a.pth')

# --- messages ----------------------------------------------------------------

def test_scores_of_a_classifier_of_zeros():
    "As of an imported checkpoint without an action classifier: the numbers for actions mean nothing."
    with collect_warnings() as found: warn_equal(dict(activity=torch.eye(3), action=torch.zeros(3, 2, 4), one=torch.zeros(3, 1)))
    assert len(found) == 1 and 'action has one score for all classes' in found[0]

def test_no_message_speaks_of_one_clips():
    "A count that stands before a noun goes through `counted`; 'of' and 'in' take the plural."
    lines = [line for path in Path(aclip.__file__).parent.glob('*/*.py') for line in path.read_text().splitlines()]
    counts = [line.strip() for line in lines if re.search(r"f['\"].*(?<!of )\{(n|len\([^}]*\)|total)\} (clips|key frames|boxes begin)", line)]
    assert counts == []
