"TCE against the outputs of the official classes, in float64 with the same weights: one entry of `CASES` for each file."
import pytest, torch
from aclip.models.din import DINRelation
from aclip.models.dynamic_field import load_din
from aclip.models.tce import TCE, ContextEncoding, add_places, load_context
from golden import FILES, Embedding, compare, needs_files

def context(f, masked):
    "The encoding of actor features; the official one adds the places before."
    a = f.arguments['TCE']
    encoding = ContextEncoding(a['NFB'], f.context.shape[1], a['num_heads_per_layer'], a['num_features_context'], a['num_layers']).double().eval()
    load_context(encoding, f.w())
    maps = add_places(f.context, f.arguments['PE']['context_downscale_ratio'])
    assert (maps - f.tensors['mid.context_pe']).abs().max() < 1e-6
    x = f.x.unflatten(0, (len(maps), a['N']))
    last = encoding.weights(x, maps).flatten(-2)
    for i,A in enumerate(last.unbind(1)): assert (A - f.tensors[f"mid.attention{a['num_layers'] - 1}{i}"]).abs().max() < 1e-6
    return dict(y=encoding(x, maps).flatten(0, 1))

def context_of_crops(f, masked):
    a = f.arguments
    encoding = ContextEncoding(a['D'], f.context.shape[1], a['num_heads_per_layer'], a['num_features_context'], a['num_layers'], bins=a['K']).double().eval()
    load_context(encoding, f.w())
    return dict(y=encoding(f.x.flatten(1).unflatten(0, (len(f.context), a['N'])), f.context).flatten(0, 1))

class Features(Embedding):
    "As `Embedding`, for a model that gives its maps back."
    def forward(self, roi, boxes, maps): return super().forward(roi, boxes)

def din_net(f, masked):
    "The released network: the encoding, then DIN at the width of both."
    cfg = f.arguments['cfg']
    T,N = cfg['num_frames'],cfg['num_boxes']
    weights = f.w('multilayer_head_embfeature_context_encoding.')
    d_context,channels = weights['CET.0.downsample2.weight'].shape[:2]
    d_in,d = f.w()['fc_emb_1.weight'].shape[::-1]
    encoding = ContextEncoding(d, channels, sum(k.endswith('emb_roi.bias') for k in weights), d_context)
    net = TCE(Features(d_in, d), encoding, DINRelation(d + encoding.d_out, T, N, border='double')).double().eval()
    load_context(net.context, weights)
    load_din(net.relation.fields[0], f.w('DPI.DIMlist.0.'))
    f.load(fc_emb_1=net.features.embedding, nl_emb_1=net.norm, dpi_nl=net.relation.norm, fc_activities=net.activity.linear)
    mask = torch.ones(len(f.boxes), N).bool() if masked else None
    x = net.embed(f.roi, f.boxes, mask, maps=f.context.unflatten(0, (-1, T)))
    assert (x[..., d:].flatten(0, 2) - f.tensors['mid.context_states'].flatten(0, -2)).abs().max() < 1e-6
    return dict(activities=net.classify(net.relation(x, f.boxes, mask), mask)[0])

# File -> (Golden, with a mask?) -> outputs by name
CASES = {'tce-embfeature': context, 'tce-embfeature-two-layers': context, 'tce-roi': context_of_crops, 'din-tce-net-vgg16': din_net}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]: compare(lambda f, _: CASES[name](f, masked), path, False)
