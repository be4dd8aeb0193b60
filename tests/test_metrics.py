"Metrics against scikit-learn over sizes, and pictures without a screen."
import subprocess, sys
from pathlib import Path
import numpy as np, pytest, torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sk_confusion_matrix
from aclip.metrics import confusion_matrix, mca, mpca
from aclip.evaluate.plots import plot_confusion

PATH = {'PYTHONPATH': str(Path(__file__).resolve().parents[1])}

@pytest.mark.filterwarnings('ignore:y_pred contains classes not in y_true')   # such classes are left out, here and there
@pytest.mark.filterwarnings('ignore:A single label was found')
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('shape,n', [((1,), 2), ((7,), 3), ((50, 12), 9), ((4, 3, 12), 5), ((2000,), 8)])
def test_against_sklearn(shape, n, seed):
    g = torch.Generator().manual_seed(seed)
    pred,target = (torch.randint(n, shape, generator=g) for _ in range(2))
    target[torch.rand(shape, generator=g) < .2] = -100
    target.view(-1)[0] = 0                                      # never all padding
    keep = target != -100
    t,p = target[keep].numpy(),pred[keep].numpy()
    assert mca(pred, target) == pytest.approx(accuracy_score(t, p), abs=1e-12)
    assert mpca(pred, target) == pytest.approx(balanced_accuracy_score(t, p), abs=1e-12)
    assert np.array_equal(confusion_matrix(pred, target, n), sk_confusion_matrix(t, p, labels=range(n)))

@pytest.mark.parametrize('f', [mca, mpca, lambda p,t: confusion_matrix(p, t, 3)])
@pytest.mark.parametrize('pred,target,message', [
    ([], [], 'no target to score'), ([1, 2], [-100, -100], 'padding'), ([[.1, .9]], [1], 'argmax'), ([0, 1], [0], 'one shape')])
def test_bad_input(f, pred, target, message):
    with pytest.raises(ValueError, match=message): f(torch.tensor(pred), torch.tensor(target))

@pytest.mark.parametrize('pred,target', [([0, 3], [0, 1]), ([0, 1], [0, 3]), ([0, -1], [0, 1]), ([0, 1], [0, -1])])
def test_unknown_class(pred, target):
    with pytest.raises(ValueError, match='ids 0 to 2'): confusion_matrix(torch.tensor(pred), torch.tensor(target), 3)

@pytest.mark.parametrize('normalise', [True, False])
@pytest.mark.parametrize('n', [1, 4, 9])
def test_plot_saves(tmp_path, n, normalise):
    cm = torch.randint(50, (n, n), generator=torch.Generator().manual_seed(0))
    ax = plot_confusion(cm, [f'class {i}' for i in range(n)], normalise=normalise)
    assert len(ax.texts) == n*n
    ax.figure.savefig(tmp_path/'cm.png')
    assert (tmp_path/'cm.png').stat().st_size > 1000

def test_import_loads_neither_matplotlib_nor_scipy():
    code = "import sys, aclip.metrics; assert not {'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True, env={'PATH': ''}|PATH)

def test_needs_no_screen_and_no_pyplot():
    code = ("import sys, torch; from aclip.evaluate.plots import plot_confusion; assert 'matplotlib' not in sys.modules; import io; "
            "plot_confusion(torch.eye(2), 'ab').figure.savefig(io.BytesIO()); assert 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True, env={'PATH': '', 'MPLBACKEND': 'tkagg'}|PATH)
