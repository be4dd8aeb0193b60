"Position GIN against the outputs of the official classes: scores, features and graphs."
import pytest, torch
from torch import nn
from aclip.models.position_gin import PooledClassifier, PositionGINRelation
from aclip.models.position_graph import add_steps, all_pairs, ball_pairs, line_pairs, near_pairs, nearest, nearest_pairs, scale_tracks
from golden import FILES, compare, needs_files

LINES = dict(BALL=0, GK=0, DEF=1, MID=2, FWD=3)
NAMES = {'conv.nn.0': 'linear1', 'conv.nn.1': 'norm1', 'conv.nn.3': 'linear2', 'conv.nn.4': 'norm2', 'norm': 'norm', 'conv': ''}

def layer_weights(official):
    "Names of a layer of the official network -> ours."
    def ours(name):
        module,_,last = name.rpartition('.')
        return f'{NAMES[module]}.{last}'.strip('.')
    return {ours(name): t for name,t in official.items()}

def network(neck):
    "Map into the graph, GIN layers, classifier. Edges are a list over the nodes of all frames."
    def run(f, mask):
        B,T,N,d_in = f.x.shape
        w = f.w()
        d = len(w['backbone.node_encoder.weight'])
        n = f.arguments['num_layers']
        encoder,relation,head = nn.Linear(d_in, d).double(),PositionGINRelation(d, n).double().eval(),PooledClassifier(d, f.arguments['classes'], f.arguments['window'], neck).double().eval()
        f.load(**{'backbone.node_encoder': encoder})
        for i,layer in enumerate(relation.layers): layer.load_state_dict(layer_weights(f.w(f'backbone.gcn_layers.{i}.')))
        head.time.data = w['neck.temporal_position_encoding']
        if neck == 'attention': f.load(**{'neck.temporal': head.attention})
        head.head[1].load_state_dict(f.w('head.classifier.1.'))
        head.head[4].load_state_dict(f.w('head.classifier.4.'))
        edges = torch.zeros(B*T*N, B*T*N)
        source,target = f.edge_index
        edges[target, source] = 1
        A = torch.stack([edges[i:i + N, i:i + N] for i in range(0, B*T*N, N)]).view(B, T, N, N)
        y = relation.relate(encoder(f.x), A, mask)
        return dict(y=head(y, mask), graph_embedding=y.mean(2))
    return run

def tracks(f, mask):
    "Features and graphs; the graphs are of the third frame of the first clip."
    frame = f.raw[0, 2]
    places,real = frame[:, :2],frame[:, 0] > -200
    team = torch.tensor([-1] + [0]*11 + [1]*11)
    line = torch.tensor([LINES[p] for p in f.arguments['positions']])
    k,r = f.arguments['k'],f.arguments['r']
    graphs = dict(full=all_pairs(real), knn=nearest_pairs(places, real, k), distance=near_pairs(places, real, r), positional=line_pairs(team, line, real),
                  ball_knn=ball_pairs(nearest(places, real, k)[0], team, real), ball_distance=ball_pairs(near_pairs(places, real, r)[0], team, real))
    steps = add_steps(f.raw)
    return dict(deltas=steps, normalised=scale_tracks(steps), **{f'adjacency_frame2.{name}': A.to(f.tensors[f'out.adjacency_frame2.{name}'].dtype) for name,A in graphs.items()})

CASES = {'posgin-maxpool': network('max'), 'posgin-attention': network('attention'), 'posgin-features': tracks}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]: compare(CASES[name], path, masked)
