"""Checkpoints of official code: the weights of the golden networks through the names of each base model, and whole files through the command.

The official networks of the golden files have no backbone, so whole files get torchvision's, with random weights."""
import json
import pytest, torch, torchvision
from torch import nn
from aclip.checkpoint import CheckpointError, read_meta
from aclip.data.source import ClipSource
from aclip.data.volleyball_annotation import ACTIVITIES
from aclip.models.backbone import crop_actors
from aclip.models.official import WRAPPERS, check_complete, filled, official_state, translate
from aclip.models.registry import BASES
from aclip.train.official import import_official, import_text
from aclip.zoo import load_model
from golden import FILES, Embedding, Golden, needs_files, some_boxes
from helpers import aclip_json, best, boxes_file, refused
from test_golden import Crops

# --- names and sizes, against outputs of the official networks ---------------

def network(f, model, features, backbone, K=9, **settings):
    "The official weights of a golden file in our model, by the names of its entry."
    state = f.w()
    layout = BASES[model].official.layout(state, backbone)
    state = {k: t for k,t in state.items() if not k.startswith(layout.unused)}
    sizes = layout.settings
    net = BASES[model].build(features, len(state['fc_activities.weight']), K, 0., n_actors=sizes.get('n_actors', settings.pop('n_actors', 12)), **settings, **layout.relation).double().eval()
    done = translate(state, layout.parts)
    check_complete(done, state, net.state_dict(), 'golden')
    net.load_state_dict(filled(done, net.state_dict()))
    return net

def embedding(f):
    d_in,d = f.w()['fc_emb_1.weight'].shape[::-1]
    return Embedding(d_in, d)

def mask_of(f): return torch.arange(f.boxes.shape[2]) < f.num[:, :1] if 'in.num' in f.tensors else None

def scores(net, f, size=(1, 1)):
    "Scores on the boxes of a golden file, which are in cells of a map of this height and width."
    h,w = size
    boxes = f.boxes/torch.tensor([w, h, w, h])
    mask = mask_of(f)
    x = net.embed(f.roi, boxes)         # the official light form counts padded boxes in its LayerNorm
    return net.classify(net.relation(x, boxes, mask), mask)

OW, OH = 40, 22
CASES = {
    'arg-net-volleyball': ('arg', 'vgg16', dict(aspect=OH/OW)),
    'arg-net-collective': ('arg', 'vgg16', dict(aspect=OH/OW, K=6)),
    'arg-din-net-volleyball': ('arg', 'vgg16', dict(aspect=OH/OW)),
    'din-net-vgg16': ('din', 'vgg16', {}),
    'din-net-res18': ('din', 'resnet18', {}),
    'din-lite-net-vgg16': ('din', 'vgg16', {}),
    'din-lite-net-res18': ('din', 'resnet18', {}),
    'din-net-collective-intended': ('din', 'resnet18', {}),
    'din-lite-net-collective-intended': ('din', 'resnet18', {}),
    'at-net': ('aformer', 'resnet18', dict(size=(72, 128))),
}

@needs_files
@pytest.mark.parametrize('name', CASES)
def test_outputs_of_the_official_network(name):
    model,backbone,settings = CASES[name]
    for path in FILES[name]:
        f = Golden(path)
        activity,action = scores(network(f, model, embedding(f), backbone, **settings), f, (OH, OW))
        expected = f.tensors['out.activities']
        assert (activity - expected).abs().max() <= 1e-6*max(1, expected.abs().max())
        if 'out.actions' in f.tensors and mask_of(f) is None: assert (action.flatten(0, 1) - f.tensors['out.actions']).abs().max() < 1e-6*f.tensors['out.actions'].abs().max()
        if 'fc_actions.weight' not in f.w() or model == 'aformer': assert not action.any()       # never trained, so zero

@needs_files
def test_outputs_of_the_benchmarks_higcin():
    for path in FILES['higcin-din-net']:
        f = Golden(path)
        cfg = f.arguments['cfg']
        maps = f.roi.unflatten(0, (-1, cfg['num_frames'], cfg['num_boxes']))
        crops = Crops(maps.shape[3])
        net = network(f, 'higcin', crops, 'resnet18')
        x = net.embed(maps, None, None)
        activity = net.classify(net.relation(x, some_boxes(x)))[0]
        expected = f.tensors['out.activities']
        assert (activity - expected).abs().max() <= 1e-6*max(1, expected.abs().max())

# --- whole files -------------------------------------------------------------

def linear(name, d_in, d_out, bias=True):
    m = nn.Linear(d_in, d_out, bias)
    return {f'{name}.{k}': t for k,t in m.state_dict().items()}

def resnet():
    net = torchvision.models.resnet18(weights=None)
    names = {'conv1': 0, 'bn1': 1, 'layer1': 4, 'layer2': 5, 'layer3': 6, 'layer4': 7}
    return net, {f"backbone.features.{names[k.split('.')[0]]}.{k.partition('.')[2]}": t for k,t in net.state_dict().items() if not k.startswith('fc.')}

@pytest.fixture(scope='module')
def at_file(tmp_path_factory):
    "A file as the benchmark's second stage writes it: AT of width 16 on ResNet-18."
    torch.manual_seed(0)
    net,state = resnet()
    for name,sizes in dict(fc_emb_1=(512*4, 16), fc_activities=(16, 8), fc_actions=(16, 9), **{f'AT.FFN_linear{i}': (16, 16) for i in (1, 2)}).items(): state |= linear(name, *sizes)
    for k in 'QKV': state |= linear(f'AT.{k}_W', 16, 16, bias=False)
    for name in ('nl_emb_1', 'AT.layernorm1', 'AT.layernorm2'): state |= {f'{name}.weight': torch.ones(16), f'{name}.bias': torch.zeros(16)}
    file = tmp_path_factory.mktemp('official')/'stage2_epoch3_90.00%.pth'
    torch.save(dict(epoch=3, state_dict={f'module.{k}': t for k,t in state.items()}, optimizer=dict(state={}, param_groups=[])), file)
    return file, state, net

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')/'world'
    aclip_json('world', '--out', root, '--clips', 6, '--videos', 3, '--size', 90, 160, '--workers', 0)
    return root

def test_features_are_those_of_the_official_backbone(at_file, tmp_path):
    file,state,net = at_file
    import_official(file, 'aformer', tmp_path/'at.safetensors')
    model,config,meta = load_model(tmp_path/'at.safetensors')
    assert (config.backbone, config.symmetric_pixels, config.d, config.crop, config.n_frames) == ('resnet18', True, 16, 2, [10, 10])
    assert meta['note']['zero'] == ['action'] and not model.action.weight.any()
    frames = torch.randint(256, (1, 1, 3, 64, 96), dtype=torch.uint8)
    boxes = torch.tensor([[.2, .2, .5, .7], [.5, .3, .8, .9]]).view(1, 1, 2, 4)
    with torch.no_grad():
        maps = nn.Sequential(*list(net.eval().children())[:-2])(frames[0]/255*2 - 1)
        expected = nn.functional.linear(crop_actors(maps, boxes[0], 2), state['fc_emb_1.weight'], state['fc_emb_1.bias'])
        torch.testing.assert_close(model.features(frames, boxes)[0], expected, rtol=1e-4, atol=1e-5)

def test_the_command_and_all_that_follows(at_file, world, tmp_path):
    "Import, evaluate, train the third step, predict."
    file,*_ = at_file
    model,run = tmp_path/'at.safetensors',tmp_path/'run'
    result = aclip_json('import', file, '--model', 'aformer', '--out', model, '--size', 45, 80)
    assert result['step'] == 2 and result['dataset'] == 'volleyball' and result['zero'] == ['action']
    assert 'temporal_pooled_first' in import_text(result)
    scores = aclip_json('evaluate', '--data', world, '--model', model, '--available', '--split', 'trainval', '--bs', 2, '--workers', 0)
    assert 0 <= scores['activity']['MCA'] <= 100
    options = result['options'].split()
    assert '--symmetric-pixels' in options and options[options.index('--size') + 1:][:2] == ['45', '80']
    record, = aclip_json('train', '--data', world, '--available', '--steps', 3, '--start-from', model, '--out', run, '--teacher', 'random', '--epochs', 1, '--bs', 2, '--layers', 1, '--workers', 0, *options)
    three,*_ = load_model(best(run, 3))
    two,*_ = load_model(model)
    assert all(torch.equal(a, b) for a,b in zip(two.state_dict().values(), three.base.state_dict().values()))   # the image branch is that of the file
    assert record['step'] == 3
    clip = ClipSource(world, available=True).read('trainval', load_model(model)[1])[0]
    said = aclip_json('predict', '--model', model, '--frames', clip.frames[0].parent, '--boxes', boxes_file(tmp_path/'boxes.txt', clip))
    assert said['activity'] in ACTIVITIES and len({round(p, 3) for p in said['actors'][0]['scores'].values()}) == 1     # no action classifier

def test_a_file_is_not_replaced_by_accident(at_file, tmp_path):
    file,*_ = at_file
    out = tmp_path/'x.safetensors'
    out.write_bytes(b'mine')
    refused('import', file, '--model', 'aformer', '--out', out, says=['is not an imported checkpoint'])
    aclip_json('import', file, '--model', 'aformer', '--out', out, '--overwrite')
    aclip_json('import', file, '--model', 'aformer', '--out', out)              # our own may be written again
    assert read_meta(out)['note']['imported'] == file.name

def test_stage_one(at_file, tmp_path):
    "Stage 1 saves one table for each module, and has another name for the embedding."
    _,state,_ = at_file
    tables = {f'{name}_state_dict': {k.removeprefix(f'{name}.'): t for k,t in state.items() if k.startswith(f'{name}.')} for name in ('backbone', 'fc_activities', 'fc_actions')}
    tables['fc_emb_state_dict'] = {k: state[f'fc_emb_1.{k}'] for k in ('weight', 'bias')}
    torch.save(tables, tmp_path/'stage1.pth')
    result = import_official(tmp_path/'stage1.pth', 'din')
    model,config,_ = load_model(tmp_path/'stage1.safetensors')
    assert (config.step, config.model, result['zero']) == (1, 'din', [])
    assert torch.equal(model.action.weight, state['fc_actions.weight'])

def changed(state, **changes): return {k: t for k,t in {**state, **changes}.items() if t is not None}

WRONG = {
    'fc_emb_1': ({'fc_emb_1.bias': None}, '1 missing, such as fc_emb_1.bias'),
    'shape': ({'AT.FFN_linear1.weight': torch.zeros(8, 16)}, r'AT.FFN_linear1.weight gives \(8, 16\), expected \(16, 16\)'),
    'classes': ({'fc_activities.weight': torch.zeros(7, 16)}, 'classifiers of 7 activities'),
    'unknown': ({'AT.extra': torch.zeros(1)}, '1 unknown, such as AT.extra'),
    'nan': ({'nl_emb_1.bias': torch.full((16,), float('nan'))}, 'NaN or infinity'),
    'whole numbers': ({'nl_emb_1.bias': torch.zeros(16).long()}, 'int64'),
    'large numbers': ({'nl_emb_1.bias': torch.full((16,), 1e300, dtype=torch.float64)}, 'NaN or infinity'),          # infinite once they are float32
    'sparse': ({'AT.Q_W.weight': torch.eye(16).to_sparse()}, 'AT.Q_W.weight is no plain tensor'),
    'no numbers': ({'AT.Q_W.weight': torch.empty(16, 16, device='meta')}, 'AT.Q_W.weight is no plain tensor'),
    'one number': ({'fc_activities.weight': torch.tensor(1.)}, 'fc_activities.weight has shape'),
    'vector': ({'fc_emb_1.weight': torch.zeros(16)}, r'fc_emb_1.weight has shape \(16,\), expected'),
    'nothing': ({'fc_emb_1.weight': torch.zeros(0, 2048)}, r'fc_emb_1.weight has shape \(0, 2048\), expected'),
    'several unknown': ({f'AT.x{i}': torch.zeros(1) for i in range(5)}, '5 unknown, such as AT.x0, AT.x1, AT.x2;'),
    'cells': ({'fc_emb_1.weight': torch.zeros(16, 1000)}, 'no square of cells'),
    'no backbone': ({'backbone.features.4.0.conv1.weight': None, 'backbone.features.0.weight': None}, 'no backbone whose names are known|missing'),
}

@pytest.mark.parametrize('name', WRONG)
def test_what_does_not_fit_is_named(name, at_file, tmp_path):
    changes,message = WRONG[name]
    torch.save(changed(at_file[1], **changes), tmp_path/'a.pth')
    with pytest.raises(CheckpointError, match=message): import_official(tmp_path/'a.pth', 'aformer')
    assert not (tmp_path/'a.safetensors').exists()

@pytest.mark.parametrize('labels,message', [('collective', 'classifiers of 8 activities and not those of collective'), ('none', 'choose one by --labels')])
def test_labels_of_another_number(at_file, tmp_path, labels, message):
    with pytest.raises(CheckpointError, match=message): import_official(at_file[0], 'aformer', tmp_path/'a.safetensors', labels)

def pieces_of(model):
    "Names and shapes of a file of ARG or DIN without its backbone, with the mistakes below."
    norm = {'fc_emb_1.weight': torch.zeros(8, 512), 'fc_activities.weight': torch.zeros(8, 8)}
    arg = {f'gcn_list.0.{k}.{i}.weight': torch.zeros(4, 8) for k in ('fc_rn_theta_list', 'fc_rn_phi_list', 'fc_gcn_list') for i in range(2)}
    din = {f'DPI.DIMlist.0.{k}.weight': torch.zeros(8, 8, 3, 3) for k in ('p_conv.1', 'scale_conv.1', 'hidden_weight')}
    return norm | (arg if model == 'arg' else din | {'dpi_nl.weight': torch.zeros(2, 3, 8)})

@pytest.mark.parametrize('model,changes', [
    ('arg', {'gcn_list.0.nl_gcn_list.0.weight': torch.tensor(1.)}),                                             # no shape at all
    ('arg', {'gcn_list.0.nl_gcn_list.0.weight': torch.zeros(6, 8), 'gcn_list.0.nl_gcn_list.1.weight': torch.zeros(6, 9)}),      # pieces that cannot be joined
    ('arg', {'gcn_list.0.nl_gcn_list.0.weight': torch.zeros(1, 8)}),                                            # for no actor
    ('arg', {'gcn_list.0.fc_rn_theta_list.0.weight': torch.zeros(0, 8), 'gcn_list.0.nl_gcn_list.0.weight': torch.zeros(6, 8)}),
    ('din', {'DPI.DIMlist.0.hidden_weight.weight': None}), ('din', {'dpi_nl.weight': torch.tensor(1.)}), ('din', {'dpi_nl.weight': None}),
    ('din', {'DPI.DIMlist.0.p_conv.1.weight': torch.zeros(3), 'DPI.DIMlist.0.scale_conv.1.weight': None}), ('din', {'DPI.DIMlist.0.scale_conv.1.weight': None, 'DPI.DIMlist.0.p_conv.1.weight': None}),
    ('din', {'DPI.DIMlist.0.p_conv.1.weight': torch.zeros(8, 8, 2, 3)}), ('din', {'point_conv.weight': torch.zeros(4, 8, 1, 1)})])
def test_other_networks_end_in_one_sentence(tmp_path, at_file, model, changes):
    "Names of the right model, and shapes that its code cannot have."
    backbone = {k: t for k,t in at_file[1].items() if k.startswith('backbone')}
    torch.save(changed(backbone | pieces_of(model), **changes), tmp_path/'a.pth')
    with pytest.raises(CheckpointError, match='a.pth: ') as e: import_official(tmp_path/'a.pth', model)
    assert str(e.value).count('a.pth') == 1 and '\n' not in str(e.value) and not (tmp_path/'a.safetensors').exists()

def test_wrapped_and_in_half_precision(at_file, tmp_path):
    state = {f'module.{k}': t.half() if t.is_floating_point() else t for k,t in at_file[1].items()}
    torch.save({'epoch': 1, 'model_state_dict': state, 'optimizer_state_dict': dict(state={0: torch.zeros(2)}), 0: {'a': torch.zeros(1)}}, tmp_path/'a.pth')
    import_official(tmp_path/'a.pth', 'aformer')
    model,*_ = load_model(tmp_path/'a.safetensors')
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.relation.blocks[0].attention.W_q.weight, at_file[1]['AT.Q_W.weight'].half().float())

@pytest.mark.parametrize('name', (*WRAPPERS, 'fc_emb'))
def test_tables_of_training_scripts(name):
    t = torch.zeros(1)
    inner = {'module.bias': t} if name != 'fc_emb' else dict(bias=t)
    content = {'epoch': 3, name if name in WRAPPERS else f'{name}_state_dict': inner, 0: dict(a=t)}
    assert [*official_state(content, 'x')] == ['bias' if name in WRAPPERS else 'fc_emb.bias']
    content[name] = content                                                                                     # a table in itself
    if name in WRAPPERS:
        with pytest.raises(CheckpointError, match='no tensors by name'): official_state(content, 'x')

class Call:
    def __reduce__(self): return (print, ('executed',))

def test_files_that_are_none(at_file, tmp_path, capsys):
    "Nothing in a file is executed, and nothing is written."
    torch.save(dict(state_dict=at_file[1], extra=Call()), tmp_path/'call.pth')
    (tmp_path/'text.pth').write_text('weights')
    (tmp_path/'empty.pth').touch()
    torch.save([1, 2], tmp_path/'list.pth')
    for name,message in (('call', 'nothing in it was executed'), ('text', 'cannot be read'), ('empty', 'cannot be read'), ('list', 'holds a list'), ('missing', 'no file')):
        with pytest.raises(CheckpointError, match=message): import_official(tmp_path/f'{name}.pth', 'aformer')
    with pytest.raises(ValueError, match="no base model 'nope'; there are arg"): import_official(at_file[0], 'nope')
    refused('import', tmp_path/'missing.pth', '--model', 'aformer', says=['missing.pth'])
    refused('import', at_file[0], '--model', 'dualai', says=['no official checkpoint of it is known', 'arg, aformer, din, higcin'])
    refused('import', at_file[0], '--model', 'arg', says=['it looks like --model aformer'])
    assert 'executed\n' not in capsys.readouterr().out and not [*tmp_path.glob('*.safetensors')]

def test_names_that_differ_by_a_prefix_alone():
    t = torch.zeros(1)
    with pytest.raises(CheckpointError, match="with and without 'module.'"): official_state({'a': t, 'module.a': t}, 'x')
    assert [*official_state(dict(net_state_dict={'module.module.a': t}), 'x')] == ['a']

@pytest.mark.parametrize('name', [n for n,b in BASES.items() if b.official])
def test_entries_of_base_models(name):
    "Files of one model are known by their names alone; what no weight shows is stated in words."
    files = BASES[name].official
    others = [b for n,b in BASES.items() if b.official and n != name]
    assert files.begins and not any(x.startswith(y) for b in others for x in files.begins for y in b.official.begins)
    assert json.dumps([files.source, files.assumed])
