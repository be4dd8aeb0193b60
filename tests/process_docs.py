"What `nbdev-proc-nbs` does, without its offer to download Quarto; a warning is an error. Then panache lints each page."
import json, re, subprocess, sys, tempfile, warnings
from pathlib import Path

RULES = 'undefined-references,undefined-anchor,quarto-schema' # @fig-x, @eq-x, footnotes, #anchors of the page itself, front matter

def page(nb): # one processed notebook, parsed
    "Quarto's view of a notebook: its markdown cells, and its code cells as executable blocks."
    text = lambda c: ''.join(c['source'])
    block = lambda c: text(c) if c['cell_type'] != 'code' else '```{python}\n' + text(c) + '\n```'
    return '\n\n'.join(block(c).rstrip() for c in nb['cells']) + '\n'

def where(message): # warning that quotes a cell
    "Names of the notebooks that have the quoted cell; nbdev does not say."
    plain = lambda text: re.sub(r'^#\|.*\n?', '', text, flags=re.M).strip()
    quoted = plain(message.partition('---\n')[2].rpartition('---')[0])
    return [p.name for p in sorted(Path('nbs').glob('*.ipynb')) if quoted in
            (plain(''.join(c['source'])) for c in json.loads(p.read_text(encoding='utf-8'))['cells'])]

def main():
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        cache = proc_nbs(n_workers=0, force=True)
    ours = [w for w in caught if 'nbdev' in Path(w.filename).parts]
    for w in ours: print(*where(str(w.message)), w.message)
    with tempfile.TemporaryDirectory() as d:
        pages = sorted(cache.rglob('*.ipynb'))
        for f in pages: (Path(d)/f.with_suffix('.qmd').name).write_text(page(json.loads(f.read_text(encoding='utf-8'))), encoding='utf-8')
        lint = subprocess.run(['panache', 'lint', '--isolated', '--no-cache', '--message-format', 'short', '--select', RULES, '.'],
                              cwd=d, capture_output=True, text=True)
    if lint.returncode not in (0, 1): sys.exit(f'panache failed: {lint.stderr}')
    found = [l for l in lint.stdout.splitlines() + lint.stderr.splitlines() if 'warning[' in l or 'error[' in l]
    found = [l for l in found if ": Reference label '" not in l] # `[24]` in a quoted sentence is text, not a link
    print(*found, f'{len(pages)} pages, {len(ours)} warnings of nbdev, {len(found)} of panache', sep='\n')
    if ours or found or not pages: sys.exit(1)

if __name__ == '__main__': main()
