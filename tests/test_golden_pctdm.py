"PCTDM against the outputs of the official class and of that of DIN's authors, in float64 with the same weights."
import pytest
from aclip.models.pctdm import PCTDM, PCTDMRelation, TeamStateClassifier
from golden import FILES, Embedding, compare, needs_files, some_boxes

def load(f, relation, prefix=''):
    "The weights of the official class into ours."
    ours = {'Bi_Lstm': 'between', 'att_source_weights.0': 'source', 'att_context_weights.0': 'context', 'att_extra_weights.0': 'score', 'Intra_Group_LSTM': 'within'}
    f.load(**{prefix + theirs: getattr(relation, name) for theirs,name in ours.items()})

def pctdm_relation(f, prefix='', **arguments):
    H,d = (f.w(f'{prefix}Bi_Lstm.')[k].shape[1] for k in ('weight_hh_l0', 'weight_ih_l0'))
    relation = PCTDMRelation(d, H, 'list', **arguments).double().eval()
    load(f, relation, prefix)
    return relation

def last_states(y, teams):
    "The states of the last person of each team side by side, a row for each frame."
    H,n = y.shape[-1] - teams,y.shape[2]//teams
    return y[:, :, n-1::n, :H].flatten(0, 1).flatten(1)

def official(f, mask):
    "Each frame is a sample; persons side by side."
    conf = f.arguments['model_confs']
    N,teams = conf['num_players'],conf['num_groups']
    x = f.x.unflatten(1, (N, -1))[:, None]
    relation = pctdm_relation(f, teams=teams)
    head = TeamStateClassifier(relation.hidden, conf['num_classes'], teams).double()
    f.load(fc_last=head.linear)
    y = relation(x, some_boxes(x), mask)
    return dict(y=last_states(y, teams), scores=head(y, mask))

def benchmark(f, mask):
    return dict(y=last_states(pctdm_relation(f, form='benchmark')(f.x, some_boxes(f.x), mask), 2))

def benchmark_net(f, mask):
    cfg = f.arguments['cfg']
    d_in,d = f.w()['fc_emb_1.weight'].shape[::-1]
    H = f.w()['pctdm.Bi_Lstm.weight_hh_l0'].shape[1]
    net = PCTDM(Embedding(d_in, d), n_frames=cfg['num_frames'], hidden=H, order='list', form='benchmark').double().eval()
    load(f, net.relation, 'pctdm.')
    f.load(fc_emb_1=net.features.embedding, nl_emb_1=net.norm, pctdm_nl=net.activity.norm, fc_activities=net.activity.linear)
    return dict(activities=net.classify(net.relation(net.embed(f.roi, f.boxes), f.boxes, mask), mask)[0])

CASES = {'pctdm': official, 'pctdm-one-group': official, 'pctdm-din': benchmark, 'pctdm-din-net': benchmark_net}

@needs_files
@pytest.mark.parametrize('masked', (False, True), ids=('no mask', 'all real'))
@pytest.mark.parametrize('name', CASES)
def test_equals_the_official_class(name, masked):
    for path in FILES[name]: compare(CASES[name], path, masked)
