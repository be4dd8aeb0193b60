'"Run all" of Jupyter and Colab: each page of the method and each tutorial, on a bare kernel, in an empty folder, from the installed wheel.'
import hashlib, os, shutil
from pathlib import Path
import nbformat, pytest
from nbclient import NotebookClient
from test_docs import RUN_ALL

root = Path(__file__).resolve().parents[1]
# The slowest cell takes half a minute on two free cores; here other tests run beside it.
CELL_SECONDS = 240

# Each page takes some ten seconds; those of the default run stand for the kinds of pages. `-m slow` runs the others.
DEFAULT = {'index.ipynb', '05_text.image2text.ipynb', '07_text.lora.ipynb', '14_core.ipynb', '20_cli.ipynb', '24_evaluate.predict.ipynb'}
PAGES = [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.slow) for n in RUN_ALL]

# The first cell of a run: what the page opens must not be a file of the checkout.
GUARD = '''
import sys as _sys
def _outside(event, args):
    if event == 'open' and str(args[0]).startswith({own!r}):
        raise PermissionError(f'the page opens {{args[0]}}, a file of the checkout')
_sys.addaudithook(_outside)
'''
# The last cell.
WHERE = 'import aclip\nprint(aclip.__file__)'

def digests(folder):
    "What each installed file holds."
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob('*') if p.is_file() and '__pycache__' not in p.parts}

def run_page(name, folder, installed):
    "Run a copy of a page, cell by cell; returns what its last cell prints."
    nb = nbformat.read(shutil.copy(root/'nbs'/name, folder), as_version=4)
    code = [nbformat.v4.new_code_cell(s) for s in (GUARD.format(own=tuple(f'{root/d}{os.sep}' for d in ('nbs', 'aclip', 'tests'))), WHERE)]
    nb.cells = [code[0], *nb.cells, code[1]]
    env = {k: v for k, v in os.environ.items() if not k.startswith('ACLIP_') and k != 'MPLBACKEND'}
    env |= dict(PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE='1', HOME=str(folder.parent), HF_HUB_OFFLINE='1')
    client = NotebookClient(nb, timeout=CELL_SECONDS, kernel_name='python3', resources=dict(metadata=dict(path=str(folder))))
    client.execute(env=env)
    return code[1].outputs[0].text.strip()

@pytest.mark.parametrize('name', PAGES)
def test_page_runs_top_to_bottom(name, installed, tmp_path):
    before = digests(installed)
    (tmp_path/'page').mkdir()
    where = run_page(name, tmp_path/'page', installed)
    assert Path(where).is_relative_to(installed), f'{name} ran with {where}'
    assert digests(installed) == before, f'{name} changes files of the installed package'
    made = sorted(p.name for p in (tmp_path/'page').iterdir() if p.name != name)
    assert not made, f'{name} writes {made} beside itself; in a clone these may be tracked files'
