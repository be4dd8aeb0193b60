"Kinds of input that hold data: annotations, tracks, boxes, frames, images."
import os
import pickle
import struct
import zlib

import numpy as np
from PIL import Image

from fuzz import Kind, Mutation, Refused
from fuzz_mutators import (NUMBERS, WHOLE, cuts, edit_lines, encodings, fields, flips, on,
                           replace_bytes, set_word, whole_file)
from aclip.data.clips import read_frame
from aclip.data.collective import read_collective
from aclip.data.doctor import doctor
from aclip.data.folder import read_folder
from aclip.data.loaders import ClipDataset
from aclip.data.volleyball import read_volleyball

MOVED = 'a number within the frame is another number within the frame'
LABEL = 'a label is another label of the dataset'
ENDS = 'a text that ends early may be a shorter text'
NOISE = 'a changed byte may be another valid number or word'


def mutation(name, expect, change, reason='', place=''):
    return Mutation(name, expect, change, place, reason)


def stray(names, where=''):
    "Files that operating systems leave beside others."
    def add(folder, name):
        (folder/where/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/where/name).write_bytes(b'\0\5\x16\7' + bytes(60))
    for name in names:
        yield mutation(f'a stray {name}', 'harmless', lambda folder, name=name: add(folder, name))


# Volleyball annotation

PEOPLE = ['100 200 60 120 standing', '400 210 70 130 spiking', '800 250 64 128 blocking']
VOLLEYBALL = {1: ['r-pass', 'l_set', 'r_spike'], 3: ['l-spike', 'r_set', 'l_winpoint']}
ANNOTATION = 'videos/1/annotations.txt'


def volleyball_lines(activities, people=PEOPLE):
    return [f'{100*i}.jpg {activity} ' + ' '.join(people)
            for i, activity in enumerate(activities, 1)]


def seed_volleyball(folder):
    for video, activities in VOLLEYBALL.items():
        place = folder/f'videos/{video}'
        place.mkdir(parents=True)
        (place/'annotations.txt').write_text('\n'.join(volleyball_lines(activities)) + '\n')


def read_videos(folder, given):
    return read_volleyball(folder, given or (1, 3), frames='none')


def ask_doctor(read):
    "The doctor finds an error where the reader would raise one; else what is read."
    def ask(folder, given):
        report = doctor(folder, progress=False)
        errors = [f for f in report.findings if f.level == 'error']
        if errors: raise Refused(f'{errors[0].where}: {errors[0].message}')
        for f in report.findings:
            if f.level == 'warning': warn(f'{f.where}: {f.message}')
        return read(folder, given)
    return ask


def warn(message):
    import warnings
    warnings.warn(message)


BOX = dict(x=(*NUMBERS, '5000', '-5000'), y=(*NUMBERS, '5000', '-5000'),
           w=(*NUMBERS, '0', '-40', '0.2', '1000000'), h=(*NUMBERS, '0', '-40', '0.2', '1000000'))


def volleyball_words():
    starts = [2 + 5*i for i in range(3)]
    def cells(words): return [(line, word) for line in range(3) for word in words]
    places = {name: cells([s + i for s in starts]) for i, name in enumerate((*BOX, 'action'))}
    return dict(places, frame=cells([0]), activity=cells([1]))


def volleyball_mutations(folder, rng):
    a = ANNOTATION
    words = 'running', 'R_SET', 'r set', 'None', '0', 'r_sett', 'standing_', 'ｒ_set'
    spec = dict(BOX, frame=[*(w + '.jpg' for w in WHOLE), '100.png', 'a/100.jpg', '.jpg'],
                activity=[*words, 'standing'], action=[*words[:4], 'r_set'])
    yield from fields(a, rng, spec, volleyball_words())
    yield from whole_file(a)
    yield from encodings(a)
    yield from cuts(a, rng, 12, 'undecidable', ENDS)
    yield from flips(a, rng, 40, 'undecidable', NOISE)
    yield from stray(['.DS_Store', 'Thumbs.db', 'desktop.ini', '._annotations.txt',
                      'annotations.txt~'], 'videos/1')
    yield from stray(['.DS_Store', '._1', 'notes.txt'], 'videos')
    yield from lines_mutations(a, rng, 3)
    for n in range(20): yield field_count(a, rng, 17)
    for boxes, name in ((unit, 'boxes in 0..1'), (corners, 'corners given as x y w h')):
        expect = 'wrong' if boxes is unit else 'suspicious'
        yield mutation(f'{a}: {name}', expect, edit_lines(a, boxes))
    yield mutation('videos/1: no such video', 'wrong',
                   lambda f: (f/'videos/1').rename(f/'videos/x'), place='1')
    yield mutation('a video that does not exist', 'wrong', lambda f: (1, 77), place='77')
    yield mutation('videos/: no videos', 'wrong',
                   lambda f: (f/'videos').rename(f/'clips'), place='1')
    for i in range(6):
        word = rng.choice(volleyball_words()['x'])
        yield mutation(f'{a}: a box moved by {i+1} pixels', 'undecidable',
                       set_word(a, *word, str(200 + i)), MOVED)
        yield mutation(f'{a}: another activity', 'undecidable',
                       set_word(a, i % 3, 1, rng.choice(('l_pass', 'r_winpoint'))), LABEL)
        yield mutation(f'{a}: another action', 'undecidable',
                       set_word(a, i % 3, 6, rng.choice(('digging', 'waiting'))), LABEL)


def lines_mutations(path, rng, n):
    "Lines that come twice, or other separators."
    for i in range(n):
        yield mutation(f'{path}: line {i+1} twice', 'wrong',
                       edit_lines(path, lambda ls, i=i: [*ls, ls[i]]))
        yield mutation(f'{path}: a NUL in line {i+1}', 'wrong', edit_lines(
            path, lambda ls, i=i: [*ls[:i], ls[i][:6] + '\0' + ls[i][6:], *ls[i+1:]]))
        yield mutation(f'{path}: a broken character in line {i+1}', 'wrong',
                       on(path, lambda old, i=i: b'\n'.join(
                           [*old.split(b'\n')[:i], old.split(b'\n')[i].replace(b'0', b'\xff', 1),
                            *old.split(b'\n')[i+1:]])))
    for name, old, new in (('tabs', ' ', '\t'), ('two spaces', ' ', '  ')):
        yield mutation(f'{path}: {name} between words', 'harmless',
                       edit_lines(path, lambda ls, o=old, n=new: [l.replace(o, n) for l in ls]))
    for name, new in (('commas', ','), ('semicolons', ';')):
        yield mutation(f'{path}: {name} between words', 'wrong',
                       edit_lines(path, lambda ls, n=new: [n.join(l.split()) for l in ls]))


def field_count(path, rng, n):
    "A word that is missing, or one too many."
    line = rng.randrange(3)
    word = rng.randrange(n)
    more = rng.random() < .5
    def change(lines):
        words = lines[line].split()
        words[word:word+1] = [words[word]]*2 if more else []
        return [*lines[:line], ' '.join(words), *lines[line+1:]]
    what = 'twice' if more else 'missing'
    return mutation(f'{path}:{line+1}: word {word+1} {what}', 'wrong', edit_lines(path, change))


def map_boxes(lines, function):
    "Lines of the Volleyball annotation with other boxes."
    def convert(line):
        words = line.split()
        for i in range(2, len(words), 5): words[i:i+4] = function(*map(float, words[i:i+4]))
        return ' '.join(map(str, words))
    return [convert(line) for line in lines]


def unit(lines): return map_boxes(lines, lambda x, y, w, h: [x/1280, y/720, w/1280, h/720])


def corners(lines): return map_boxes(lines, lambda x, y, w, h: [x, y, x + w, y + h])


# Frame sizes

def seed_frames(folder):
    "An annotated video with its frames."
    seed_volleyball(folder)
    image = Image.effect_noise((1280, 720), 30).convert('RGB')
    place = folder/'videos/1/100'
    place.mkdir()
    image.save(place/'95.jpg', quality=30)
    for n in range(96, 105): os.link(place/'95.jpg', place/f'{n}.jpg')


def read_frames(folder, given):
    clips = read_volleyball(folder, (1,), frames='available')
    data = ClipDataset(clips, (36, 64), 10, train=False)
    return [data[i] for i in range(len(data))]


def frames_mutations(folder, rng):
    def resized(size):
        def change(folder):
            for f in (folder/'videos/1/100').iterdir():
                image = Image.open(f).resize(size)
                f.unlink()
                image.save(f)
        return change
    for size in ((640, 360), (1920, 1080), (320, 180), (1280, 700), (160, 90)):
        yield mutation(f'all frames resized to {size}', 'suspicious', resized(size))
    def other(n, size):
        def change(folder):
            f = folder/f'videos/1/100/{n}.jpg'
            f.unlink()
            Image.new('RGB', size).save(f)
        return change
    for n in range(95, 105):
        yield mutation(f'frame {n} of another size', 'wrong', other(n, (640, 360)),
                       place=f'{n}.jpg|100.jpg|annotations.txt')
        file = f'videos/1/100/{n}.jpg'
        def removed(folder, file=file): (folder/file).unlink()
        yield mutation(f'frame {n} is missing', 'wrong', removed, place='lack frames')
        def renamed(folder, file=file): (folder/file).rename((folder/file).with_suffix('.JPG'))
        yield mutation(f'frame {n} is called .JPG', 'noticed', renamed, place='lack frames')
        def damaged(folder, file=file, n=n):
            (folder/file).unlink()
            (folder/file).write_bytes(b'\xff\xd8\xff' if n % 2 else b'')
        yield mutation(f'frame {n} is damaged', 'wrong', damaged, place=f'{n}.jpg')


# Tracks

def track_lines(target=100):
    rows = []
    for player in range(3):
        for frame in range(target-9, target+11):
            x = 100 + 300*player + frame - target
            rows.append(f'{player} {x} 200 {x+60} 320 {frame} 0 1 0 standing')
    return rows


TRACKS = 'volleyball_tracking_annotation/1/100/100.txt'


def seed_tracks(folder):
    place = folder/'videos/1'
    place.mkdir(parents=True)
    (place/'annotations.txt').write_text(volleyball_lines(['r-pass'])[0] + '\n')
    (folder/TRACKS).parent.mkdir(parents=True)
    (folder/TRACKS).write_text('\n'.join(track_lines()) + '\n')


def read_tracks(folder, given): return read_volleyball(folder, (1,), 'tracking', 'none')


def tracks_mutations(folder, rng):
    window = [20*p + i for p in range(3) for i in range(4, 14)]
    names = 'player', 'x1', 'y1', 'x2', 'y2', 'frame', 'lost', 'grouping', 'generated', 'action'
    places = {name: [(line, i) for line in window] for i, name in enumerate(names)}
    spec = dict(player=WHOLE, x1=(*NUMBERS, '5000'), y1=(*NUMBERS, '5000'), frame=WHOLE,
                x2=(*NUMBERS, '-5000', '0', '1000000'), y2=(*NUMBERS, '-5000', '0', '1000000'),
                lost=(*WHOLE, '2'), grouping=('x', 'nan', '-7'), generated=('x', 'nan', '-7'),
                action=('running', 'STANDING', 'r_set', '0', 'None'))
    yield from fields(TRACKS, rng, spec, places)
    yield from whole_file(TRACKS)
    yield from encodings(TRACKS)
    yield from cuts(TRACKS, rng, 10, 'undecidable', ENDS)
    yield from flips(TRACKS, rng, 40, 'undecidable', NOISE)
    yield from stray(['.DS_Store', '._100.txt'], 'volleyball_tracking_annotation/1/100')
    for i in range(20):
        yield field_count(TRACKS, rng, 10)
        line = rng.choice(window)
        target = track_lines()[line].split()[5] == '100'
        yield mutation(f'{TRACKS}: line {line+1} is missing', 'undecidable' if target else 'wrong',
                       edit_lines(TRACKS, lambda ls, k=line: [*ls[:k], *ls[k+1:]]),
                       'a player who is not in the target frame has left' if target else '')
        yield mutation(f'{TRACKS}: line {line+1} twice', 'wrong',
                       edit_lines(TRACKS, lambda ls, k=line: [*ls[:k+1], *ls[k:]]))
        yield mutation(f'{TRACKS}: player {i % 3} moved in frame of line {line+1}', 'undecidable',
                       set_word(TRACKS, line, 2, str(150 + i)), MOVED)
    def scaled(lines):
        rows = [l.split() for l in lines]
        return [' '.join([r[0], *(str(float(v)/1280) for v in r[1:5]), *r[5:]]) for r in rows]
    yield mutation('boxes in 0..1', 'wrong', edit_lines(TRACKS, scaled))
    def xywh(lines):
        rows = [l.split() for l in lines]
        return [' '.join([*r[:3], '60', '120', *r[5:]]) for r in rows]
    yield mutation('x y w h instead of corners', 'wrong', edit_lines(TRACKS, xywh))
    def swapped(lines):
        rows = [l.split() for l in lines]
        return [' '.join([r[0], r[3], r[4], r[1], r[2], *r[5:]]) for r in rows]
    yield mutation('corners swapped', 'wrong', edit_lines(TRACKS, swapped))
    def later(lines):
        rows = [l.split() for l in lines]
        return [' '.join([*r[:5], str(int(r[5]) + 500), *r[6:]]) for r in rows]
    yield mutation('frames of another clip', 'wrong', edit_lines(TRACKS, later))
    def all_lost(lines): return [' '.join([*l.split()[:6], '1', *l.split()[7:]]) for l in lines]
    yield mutation('every player is lost', 'wrong', edit_lines(TRACKS, all_lost))
    yield mutation('no folder of tracks', 'wrong',
                   lambda f: (f/'volleyball_tracking_annotation').rename(f/'tracks'),
                   place='volleyball_tracking_annotation')
    yield mutation('lines in another order', 'harmless',
                   edit_lines(TRACKS, lambda ls: sorted(ls, key=lambda l: int(l.split()[5]))))


# The pickle of tracks

PICKLE = 'tracks_normalized.pkl'


def clip_tracks():
    "frame -> boxes (3, 4) as y1 x1 y2 x2 in 0..1, at the annotated places."
    box = np.array([[200, x, 200 + h, x + w] for x, w, h in ((100, 60, 120), (400, 70, 130),
                                                              (800, 64, 128))])
    box = box/[720, 1280, 720, 1280]
    return {frame: (box + [0, (frame-100)/5000]*2).astype(np.float32) for frame in range(90, 111)}


def seed_pickle(folder):
    seed_tracks(folder)
    (folder/PICKLE).write_bytes(pickle.dumps({(1, 100): clip_tracks()}))


def read_pickle(folder, given): return read_volleyball(folder, (1,), folder/PICKLE, 'none')


class Evil:
    def __reduce__(self): return os.mkdir, ('executed',)


def pickle_mutations(folder, rng):
    def stored(name, make, expect='wrong', reason=''):
        def change(folder):
            value = make(clip_tracks())
            if not isinstance(value, bytes): value = pickle.dumps(value)
            (folder/PICKLE).write_bytes(value)
        return mutation(name, expect, change, reason, place=PICKLE)
    def clip(name, function, expect='wrong', reason=''):
        return stored(name, lambda t: {(1, 100): function(t)}, expect, reason)
    def each(name, function, expect='wrong', reason=''):
        return clip(name, lambda t: {k: function(v) for k, v in t.items()}, expect, reason)
    def one(name, function, expect='wrong', frame=None):
        return clip(name, lambda t: {**t, frame or 98: function(t[98])}, expect)
    for name, value in dict(a_list=[], a_number=5, nothing=None, text='x', an_array=np.ones(3),
                            an_empty_dict={}).items():
        yield stored(f'holds {name}', lambda t, v=value: v)
        yield clip(f'the clip is {name}', lambda t, v=value: v)
        yield one(f'a frame is {name}', lambda b, v=value: v)
    yield stored('runs a function', lambda t: Evil())
    yield one('a frame runs a function', lambda b: Evil())
    yield stored('not of this clip', lambda t: {(1, 200): t})
    yield stored('keys are text', lambda t: {'1/100': t})
    yield stored('a memo index of 2**28', lambda t: b'\x80\x02]r\0\0\0\x10.')
    yield stored('a memo index of 2**31 - 1', lambda t: b'\x80\x02]r\xff\xff\xff\x7f.')
    yield stored('a text of 2**31 bytes', lambda t: b'\x80\x04\x8d\0\0\0\x80\0\0\0\0.')
    yield stored('100000 lists', lambda t: b'(' + b']('*100_000 + b'.')
    yield stored('recursive', lambda t: b'\x80\x02}q\0h\0h\0s.')
    yield each('in pixels', lambda b: b*[720, 1280, 720, 1280])
    yield each('negative', lambda b: -b)
    yield each('percent', lambda b: 100*b)
    yield each('corners swapped', lambda b: b[:, [2, 3, 0, 1]])
    yield each('x y instead of y x', lambda b: b[:, [1, 0, 3, 2]], 'suspicious')
    yield each('width and height', lambda b: np.c_[b[:, :2], b[:, 2:] - b[:, :2]], 'wrong')
    yield each('five columns', lambda b: np.c_[b, b[:, :1]])
    yield each('three columns', lambda b: b[:, :3])
    yield each('flat', lambda b: b.ravel())
    yield each('no box', lambda b: b[:0], 'suspicious')
    yield each('far from every actor', lambda b: b*.01 + .9, 'suspicious')
    yield each('nested lists', lambda b: b.tolist(), 'noticed')
    yield each('float64', lambda b: b.astype(float), 'harmless')
    yield each('boxes in another order', lambda b: b[::-1], 'harmless')
    yield each('moved a little', lambda b: b + np.float32(.001), 'undecidable', MOVED)
    for kind in (int, bool, complex, object, 'U8', 'S8', 'datetime64[s]'):
        yield each(f'numbers of type {kind}', lambda b, k=kind: b.astype(k))
    for value in (np.nan, np.inf, -np.inf, 1e30, -1.):
        def put(b, v=value):
            b[1, 2] = v
            return b
        yield one(f'{value} in a box', put)
        yield each(f'{value} in every frame', put)
    for frame in range(95, 105):
        yield clip(f'frame {frame} is missing', lambda t, f=frame: {k: v for k, v in t.items()
                                                                    if k != f})
        yield one(f'a box less in frame {frame}', lambda b: b[:2], frame=frame)
    yield from whole_file(PICKLE)
    yield from cuts(PICKLE, rng, 30, 'wrong')
    yield from flips(PICKLE, rng, 60, 'undecidable', 'pickles have no checksum')


# Collective Activity

SEQUENCE = 'seq01/annotations.txt'


def seed_collective(folder):
    for number, classes in {1: (3, 4, 3), 2: (2, 6, 5)}.items():
        (folder/f'seq{number:02}').mkdir()
        rows = [f'{frame:03}\t{50 + 150*i}\t{100 + 10*i}\t40\t80\t{c}\t{1 + i}'
                for frame, c in zip((1, 11, 21), classes) for i in range(3)]
        (folder/f'seq{number:02}/annotations.txt').write_text('\n'.join(rows) + '\n')


def read_sequences(folder, given): return read_collective(folder, given or (1, 2), frames='none')


def collective_mutations(folder, rng):
    s = SEQUENCE
    names = 'frame', *BOX, 'class', 'pose'
    places = {name: [(line, i) for line in range(9)] for i, name in enumerate(names)}
    spec = dict(BOX, frame=WHOLE, pose=(*WHOLE[:7], '9', '-3'))
    spec['class'] = (*WHOLE, '0', '7', 'walking')
    yield from fields(s, rng, spec, places)
    yield from whole_file(s)
    yield from encodings(s)
    yield from cuts(s, rng, 12, 'undecidable', ENDS)
    yield from flips(s, rng, 40, 'undecidable', NOISE)
    yield from stray(['.DS_Store', 'Thumbs.db', '._annotations.txt'], 'seq01')
    yield from stray(['.DS_Store', '._seq01', 'README.txt'])
    yield from lines_mutations(s, rng, 3)
    for i in range(20): yield field_count(s, rng, 7)
    for i in range(9):
        yield mutation(f'{s}:{i+1}: twice, with another class', 'wrong', edit_lines(
            s, lambda ls, i=i: [*ls, '\t'.join([*ls[i].split()[:5], '2', '1'])]))
        yield mutation(f'{s}:{i+1}: another class', 'undecidable', set_word(s, i, 5, '2'), LABEL)
        yield mutation(f'{s}:{i+1}: a box moved', 'undecidable',
                       set_word(s, i, 1, str(60+i)), MOVED)
    def rows(function):
        return edit_lines(s, lambda ls: ['\t'.join(map(str, function(l.split()))) for l in ls])
    yield mutation('boxes in 0..1', 'wrong', rows(
        lambda r: [r[0], int(r[1])/720, int(r[2])/480, int(r[3])/720, int(r[4])/480, *r[5:]]))
    yield mutation('corners instead of x y w h', 'suspicious', rows(
        lambda r: [*r[:3], 300 + int(r[1]) + int(r[3]), 300 + int(r[2]) + int(r[4]), *r[5:]]))
    yield mutation('every person is NA', 'undecidable', rows(lambda r: [*r[:5], 1, r[6]]),
                   'NA is a class of the dataset')
    yield mutation('no key frame', 'wrong', rows(lambda r: [int(r[0]) + 1, *r[1:]]))
    yield mutation('frames of another sequence', 'wrong',
                   rows(lambda r: [int(r[0]) + 9000, *r[1:]]), place='seq01')
    yield mutation('a sequence is missing', 'wrong',
                   lambda f: (f/'seq01').rename(f/'x'), place='seq01')
    yield mutation('a sequence without zero', 'wrong', lambda f: (f/'seq01').rename(f/'seq1'),
                   place='seq01')
    yield mutation('a sequence that does not exist', 'wrong', lambda f: (1, 99), place='99')


# Boxes of one's own

BOXES = 'boxes.txt'


def boxes_seed(rows):
    def seed(folder):
        (folder/'frames').mkdir()
        Image.effect_noise((160, 90), 60).convert('RGB').save(folder/'frames/0.png')
        for n in range(1, 12): os.link(folder/'frames/0.png', folder/f'frames/{n}.png')
        (folder/BOXES).write_text('\n'.join(rows) + '\n')
    return seed


FOUR = [f'{10 + 30*i} 20 20 40' for i in range(4)]
SIX = [f'{frame} {actor} {10 + 40*actor + frame} 20 20 40' for frame in range(12)
       for actor in range(3)]


def read_own(folder, given): return read_folder(folder/'frames', folder/BOXES, **(given or {}))


def boxes_mutations(names, n_lines):
    def mutations(folder, rng):
        numbers = tuple(v for v in NUMBERS if v != '1;5')
        def bad(*more): return (*numbers, *more)
        place, length, count = ('5000', '-5000'), ('0', '-4', '.2', '1000000'), ('1.5', '-7')
        spec = dict(x=bad(*place), y=bad(*place), w=bad(*length), h=bad(*length),
                    frame=bad(*count), actor=bad(*count))
        lines = range(n_lines)
        places = {name: [(line, i) for line in lines] for i, name in enumerate(names)}
        yield from fields(BOXES, rng, {k: spec[k] for k in names}, places)
        yield from whole_file(BOXES)
        yield from encodings(BOXES)
        yield from cuts(BOXES, rng, 10, 'undecidable', ENDS)
        yield from flips(BOXES, rng, 30, 'undecidable', NOISE)
        for i in range(10): yield field_count_of(BOXES, rng, len(names), n_lines)
        yield mutation('commas', 'harmless',
                       edit_lines(BOXES, lambda ls: [','.join(l.split()) for l in ls]))
        yield mutation('comments', 'harmless',
                       edit_lines(BOXES, lambda ls: ['# x y', *(l + ' # actor' for l in ls)]))
        yield mutation('only comments', 'wrong',
                       edit_lines(BOXES, lambda ls: ['# ' + l for l in ls]))
        yield mutation('a header', 'wrong', edit_lines(BOXES, lambda ls: [' '.join(names), *ls]))
        def scaled(function):
            def change(lines):
                rows = [l.split() for l in lines]
                return [' '.join([*r[:-4], *map(str, function(*map(float, r[-4:])))]) for r in rows]
            return edit_lines(BOXES, change)
        yield mutation('boxes in 0..1', 'wrong',
                       scaled(lambda x, y, w, h: [x/160, y/90, w/160, h/90]))
        yield mutation('corners instead of x y w h', 'suspicious',
                       scaled(lambda x, y, w, h: [x, y, x + w + 60, y + h + 40]))
        yield mutation('centres, far outside', 'wrong',
                       scaled(lambda x, y, w, h: [x + 5000, y + 5000, w, h]))
        for i in range(5):
            yield mutation(f'line {i % n_lines + 1}: a box moved by a pixel', 'undecidable',
                           set_word(BOXES, i % n_lines, len(names)-3, str(21 + i)), MOVED)
        if len(names) == 4: return
        for i in range(8):
            line = rng.randrange(n_lines)
            yield mutation(f'line {line+1} twice, with another box', 'wrong', edit_lines(
                BOXES, lambda ls, k=line: [*ls, ' '.join([*ls[k].split()[:2], '3 4 20 30'])]))
        yield mutation('other frames', 'wrong', edit_lines(
            BOXES, lambda ls: [' '.join(['9' + l.split()[0].zfill(3), *l.split()[1:]])
                               for l in ls]))
        def ghost(lines): return [*lines, '900 7 20 30 20 30', '901 7 20 30 20 30']
        yield mutation('an actor of 900 frames later', 'noticed', edit_lines(BOXES, ghost))
    return mutations


def field_count_of(path, rng, n, lines):
    "A missing or doubled word in one line of several."
    line = rng.randrange(lines)
    word = rng.randrange(n)
    more = rng.random() < .5
    def change(rows):
        words = rows[line].split()
        words[word:word+1] = [words[word]]*2 if more else []
        return [*rows[:line], ' '.join(words), *rows[line+1:]]
    what = 'twice' if more else 'missing'
    return mutation(f'{path}:{line+1}: word {word+1} {what}', 'wrong', edit_lines(path, change))


# A folder of frames

def read_own_frames(folder, given):
    clip = read_folder(folder/'frames', folder/BOXES, **(given or {}))
    frames, boxes, *_ = ClipDataset([clip], (45, 80), len(clip.frames), train=False)[0]
    return frames, boxes, clip.size


def folder_mutations(folder, rng):
    def rename(a, b): return lambda f: (f/'frames'/a).rename(f/'frames'/b)
    def put(name, content): return lambda f: (f/'frames'/name).write_bytes(content)
    def replace(name, content):
        def change(f):
            (f/'frames'/name).unlink()
            (f/'frames'/name).write_bytes(content)
        return change
    for n in rng.sample(range(12), 4):
        yield mutation(f'{n}.png is called cover.png', 'wrong', rename(f'{n}.png', 'cover.png'),
                       place='cover.png')
        other = (n + 1) % 12
        yield mutation(f'{n}.png is called x_{other}.png', 'wrong',
                       rename(f'{n}.png', f'x_{other}.png'), place=f'x_{other}.png')
        yield mutation(f'{n}.png is called {n}.PNG', 'noticed', rename(f'{n}.png', f'{n}.PNG'))
    for n in range(2, 11):
        for name, content in dict(empty=b'', text=b'hello', start=b'\x89PNG\r\n\x1a\n').items():
            yield mutation(f'{n}.png: {name}', 'wrong', replace(f'{n}.png', content),
                           place=f'{n}.png')
        def resize(f, n=n):
            (f/f'frames/{n}.png').unlink()
            Image.new('RGB', (80, 45)).save(f/f'frames/{n}.png')
        yield mutation(f'{n}.png of another size', 'wrong', resize, place='.png')
        def directory(f, n=n):
            (f/f'frames/{n}.png').unlink()
            (f/f'frames/{n}.png').mkdir()
        yield mutation(f'{n}.png is a folder', 'wrong', directory, place=f'{n}.png')
        yield mutation(f'{n}.png is missing', 'undecidable',
                       lambda f, n=n: (f/f'frames/{n}.png').unlink(),
                       'frames may be numbered with gaps')
    for name in ('.DS_Store', 'Thumbs.db', 'desktop.ini', '._5.png', '@eaDir/5.png', 'notes.txt',
                 '.5.png.swp', '__MACOSX/._5.png'):
        def add(f, name=name):
            (f/'frames'/name).parent.mkdir(exist_ok=True)
            (f/'frames'/name).write_bytes(bytes(40))
        yield mutation(f'a stray {name}', 'harmless', add)
    yield mutation('a video instead of a folder', 'wrong', lambda f: (
        (f/'frames').rename(f/'x'), (f/'frames').write_bytes(b'\0\0\0 ftypmp42')) and None)
    yield mutation('no folder', 'wrong', lambda f: (f/'frames').rename(f/'x') and None)
    yield mutation('an empty folder', 'wrong',
                   lambda f: ((f/'frames').rename(f/'x'), (f/'frames').mkdir()) and None)
    yield mutation('names with odd characters', 'undecidable', rename('3.png', 'a b#%é 3.png'),
                   'the number in its name is the same')
    yield mutation('a number of 240 digits', 'undecidable', rename('3.png', '9'*240 + '.png'),
                   'frames may be numbered with gaps')
    for target in (99, -1, 1.5, 'x', float('nan'), 10**30, [3]):
        yield mutation(f'target {target!r}', 'wrong', lambda f, t=target: dict(target=t),
                       place='target|no frame')
    for length in (0, -3, 1.5, 'x', None):
        yield mutation(f'length {length!r}', 'wrong', lambda f, n=length: dict(length=n),
                       place='length')


# Images

def picture():
    "A smooth picture, so that JPEG changes it little."
    y, x = np.mgrid[:64, :96]
    return np.stack([2*x, 3*y, x + y], 2).astype(np.uint8)


def quality(name): return dict(quality=98, subsampling=0) if 'jpg' in name else {}


def seed_image(name):
    def seed(folder): Image.fromarray(picture()).save(folder/name, **quality(name))
    return seed


def read_image(name):
    def read(folder, given): return read_frame(folder/name, (64, 96), (64, 96), 'clip')
    return read


def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(depth, colour, rows, size=(96, 64)):
    "A PNG of any depth and colour type."
    head = struct.pack('>IIBBBBB', *size, depth, colour, 0, 0, 0)
    data = b''.join(b'\0' + row for row in rows)
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', head)
            + png_chunk(b'IDAT', zlib.compress(data)) + png_chunk(b'IEND', b''))


def image_mutations(name):
    def mutations(folder, rng):
        def put(content): return replace_bytes(name, content)
        def save(make, **options):
            def change(folder): make(Image.fromarray(picture())).save(folder/name, **options)
            return change
        png16 = [(row.astype('>u2')*257).tobytes() for row in picture()]
        yield mutation('16 bits a channel', 'noticed', put(png(16, 2, png16)))
        for kind in ('EPS', 'GIF', 'BMP', 'TIFF', 'PPM', 'ICO', 'PDF', 'TGA', 'WEBP', 'JPEG2000'):
            yield mutation(f'content of {kind}', 'wrong', save(lambda i: i, format=kind))
        yield mutation('CMYK', 'noticed', save(lambda i: i.convert('CMYK'), format='JPEG'))
        yield mutation('RGBA, opaque', 'noticed', save(lambda i: i.convert('RGBA'), format='PNG'))
        def half(image):
            image.putalpha(100)
            return image
        yield mutation('RGBA, half transparent', 'noticed', save(half, format='PNG'))
        for turn in (2, 3, 4, 5, 6, 7, 8):
            def turned(folder, turn=turn):
                back = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[turn]
                image = Image.fromarray(picture()).transpose(Image.Transpose(back[0]))
                exif = Image.Exif()
                exif[0x112] = turn
                image.save(folder/name, exif=exif, **quality(name))
            yield mutation(f'EXIF orientation {turn}', 'noticed', turned)
        yield mutation('other format under this name', 'noticed',
                       save(lambda i: i, format='PNG' if 'jpg' in name else 'JPEG',
                            quality=98, subsampling=0))
        yield mutation('bytes after the end', 'noticed', on(name, lambda old: old + bytes(100)))
        for size in ((64, 96), (32, 48), (1, 1), (96, 65), (20000, 20000)):
            def sized(folder, size=size):
                mode = '1' if size[0] > 1000 else 'RGB'
                Image.new(mode, size).save(folder/name, format='PNG')
            yield mutation(f'size {size}', 'wrong', sized)
        yield mutation('a picture of 2**31 pixels', 'wrong',
                       put(png(8, 2, [b''], size=(50000, 50000))))
        yield mutation('no width', 'wrong', put(png(8, 2, [b''], size=(0, 64))))
        yield mutation('several pictures', 'noticed', save(
            lambda i: i, format='PNG', save_all=True, append_images=[Image.new('RGB', (96, 64))]))
        yield from whole_file(name, text=False)
        if name == 'f.png':
            yield from flips(name, rng, 60, 'wrong')
            yield from cuts(name, rng, 30, 'wrong')
            for kind in (b'IHDR', b'IDAT', b'IEND'):
                yield mutation(f'chunk {kind.decode()} is renamed', 'wrong', on(
                    name, lambda old, k=kind: old.replace(k, b'abcd')))
        else:
            concealed = 'libjpeg conceals damaged data'
            yield from flips(name, rng, 60, 'undecidable', concealed)
            for at in [rng.uniform(0, .9) for _ in range(30)]:
                yield mutation(f'cut at {at:.4f}', 'wrong',
                               on(name, lambda old, a=at: old[:int(a*len(old))]))
            yield mutation('without its last two bytes', 'noticed', on(name, lambda old: old[:-2]))
        yield mutation('a symbolic link to itself', 'wrong', lambda f: (
            (f/name).unlink(), (f/name).symlink_to(name)) and None)
    return mutations


def seed_grey(folder): Image.fromarray(picture()).convert('L').save(folder/'f.png')


def grey_mutations(folder, rng):
    "The same grey picture in other modes."
    grey = np.asarray(Image.open(folder/'f.png'))
    wide = [row.astype('>u2')*257 for row in grey]
    def put(name, content, expect='noticed', reason=''):
        return mutation(name, expect, replace_bytes('f.png', content), reason)
    def save(name, function, expect='noticed', reason='', form='PNG'):
        def change(folder): function(Image.fromarray(grey)).save(folder/'f.png', format=form)
        return mutation(name, expect, change, reason)
    yield put('16 bits', png(16, 0, [row.tobytes() for row in wide]))
    opaque = [np.stack([row, row*0 + 65535], 1).astype('>u2').tobytes() for row in wide]
    yield put('16 bits and alpha', png(16, 4, opaque))
    colours = [np.stack([row]*3, 1).astype('>u2').tobytes() for row in wide]
    yield put('16 bits, RGB', png(16, 2, colours))
    for mode in ('RGB', 'RGBA', 'LA', 'P'): yield save(mode, lambda i, m=mode: i.convert(m))
    for mode, form in (('I', 'TIFF'), ('F', 'TIFF'), ('LAB', 'TIFF')):
        yield save(f'{mode} in {form}', lambda i, m=mode: i.convert('RGB' if m == 'LAB' else 'L')
                   .convert('F' if m == 'F' else 'I' if m == 'I' else 'RGB'), form=form)
    lost = 'what was rounded before is not in the file'
    for depth in (1, 2, 4):
        def rows(depth=depth):
            bits = (grey >> (8 - depth)).astype(np.uint8)
            each = np.unpackbits(bits[..., None], axis=-1)[..., 8-depth:].reshape(len(grey), -1)
            return [np.packbits(row).tobytes() for row in each]
        yield put(f'{depth} bits', png(depth, 0, rows()), 'undecidable', lost)
    yield save('black and white', lambda i: i.convert('1'), 'undecidable', lost)


KINDS = [
    Kind('Volleyball annotation', seed_volleyball, read_videos, volleyball_mutations,
         'annotations.txt'),
    Kind('Volleyball annotation, by the doctor', seed_volleyball, ask_doctor(read_videos),
         volleyball_mutations, 'annotations.txt'),
    Kind('Volleyball frames', seed_frames, read_frames, frames_mutations, 'videos/1'),
    Kind('Volleyball tracks', seed_tracks, read_tracks, tracks_mutations, '100.txt'),
    Kind('Volleyball tracks, pickle', seed_pickle, read_pickle, pickle_mutations, PICKLE),
    Kind('Collective Activity annotation', seed_collective, read_sequences, collective_mutations,
         'annotations.txt'),
    Kind('boxes of one frame', boxes_seed(FOUR), read_own, boxes_mutations(('x', 'y', 'w', 'h'), 4),
         BOXES),
    Kind('boxes of several frames', boxes_seed(SIX), read_own,
         boxes_mutations(('frame', 'actor', 'x', 'y', 'w', 'h'), 36), BOXES),
    Kind('folder of frames', boxes_seed(FOUR), read_own_frames, folder_mutations, 'frames'),
    *[Kind(f'{form} image', seed_image(name), read_image(name), image_mutations(name), name, 8)
      for form, name in (('JPEG', 'f.jpg'), ('PNG', 'f.png'))],
    Kind('grey images', seed_grey, read_image('f.png'), grey_mutations, 'f.png', 2),
]
