"README.md is nbs/index.ipynb, told as text: `python tests/make_readme.py` writes it, tests/test_docs.py compares."
import json, re
from pathlib import Path

root = Path(__file__).resolve().parents[1]

def from_root(md): # markdown of a page in nbs/
    "The same markdown, its relative links as seen from the top of the project."
    link = lambda m: f"]({m[1][3:]})" if m[1].startswith('../') else f"](nbs/{m[1]})"
    return re.sub(r'\]\((?!\w+:|#|/)([^)]+)\)', link, md)

def outputs(cell): # code cell of a notebook
    "What a run of the cell printed or showed, as text; markdown where the output offers it."
    for o in cell['outputs']:
        if o['output_type'] == 'stream' and o['name'] == 'stdout': yield fenced(o['text'], 'text')
        elif 'text/markdown' in o.get('data', {}): yield from_root(''.join(o['data']['text/markdown']).strip())
        elif 'text/plain' in o.get('data', {}) and 'image/png' not in o['data']: yield fenced(o['data']['text/plain'], 'text')

def fenced(lines, language): return f"```{language}\n{''.join(lines).strip()}\n```"

def render(nb): # a notebook, parsed
    "The text of a README: markdown cells as they are, code cells fenced, each with its outputs."
    parts = []
    for c in nb['cells']:
        src = ''.join(c['source']).strip()
        if re.search(r'^#\|\s*(hide|default_exp)\b', src, re.M) or not src: continue
        if src.startswith('::: {.callout'): continue # about the site's own pages
        if c['cell_type'] == 'markdown': parts.append(from_root(src)); continue
        shown = not re.search(r'^#\|\s*echo:\s*false', src, re.M)
        if shown: parts.append(fenced([re.sub(r'^#\|.*\n', '', src, flags=re.M)], 'python'))
        parts += outputs(c)
    return '\n\n'.join(parts) + '\n'

def readme(): return render(json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8')))

if __name__ == '__main__': (root/'README.md').write_text(readme(), encoding='utf-8')
