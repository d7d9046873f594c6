"""Files that were damaged or made to deceive: random alterations of a good file, and pickles written to do harm.

`altered` takes any bytes. `pickle_altered`, `zip_pickle_altered`, ... know their format: they put the checksums right
again, so that the damage is met by the code behind them.
"""

import io
import json
import pickletools
import struct
import zipfile

# Lengths, counts and offsets that break code which believes them.
NUMBERS = [0, 1, 2, 63, 255, 256, 4095, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**64 - 1]
RECORDS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07")


# -- any file


def flip_bits(data, rng):
    out = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        out[rng.integers(len(out))] ^= 1 << rng.integers(8)
    return bytes(out)


def truncate(data, rng):
    return data[: rng.integers(len(data))]


def swap_chunks(data, rng):
    a, b, c, d = sorted(rng.integers(0, len(data) + 1, 4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def repeat_chunk(data, rng):
    a, b = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:b] + data[a:b] + data[b:]


def remove_chunk(data, rng):
    a = rng.integers(len(data))
    return data[:a] + data[a + rng.integers(1, 64) :]


def overwrite(data, rng):
    a = rng.integers(len(data))
    noise = rng.bytes(rng.integers(1, 32)) if rng.random() < 0.5 else bytes([rng.choice([0, 255])]) * 16
    return data[:a] + noise + data[a + len(noise) :]


def lie_about_a_number(data, rng, start=None):
    width = int(rng.choice([1, 2, 4, 8]))
    number = NUMBERS[rng.integers(len(NUMBERS))] % 256**width
    a = rng.integers(len(data)) if start is None else start
    return data[:a] + number.to_bytes(width, "little") + data[a + width :]


def lie_in_a_zip_record(data, rng):
    """A wrong field in one of the headers of a zip archive; anywhere in other files."""
    places = [k for k in range(len(data)) if data.startswith(RECORDS, k)]
    return lie_about_a_number(data, rng, int(rng.choice(places)) + rng.integers(4, 56) if places else None)


ALTERATIONS = (
    flip_bits,
    truncate,
    swap_chunks,
    repeat_chunk,
    remove_chunk,
    overwrite,
    lie_about_a_number,
    lie_in_a_zip_record,
)


def altered(data, rng):
    """The bytes of a file after one to three alterations."""
    for _ in range(rng.integers(1, 4)):
        data = ALTERATIONS[rng.integers(len(ALTERATIONS))](data, rng) or b"\0"
    return data


# -- formats that would notice


def rebuilt(data, change, rng):
    """A zip archive whose members were changed, ``change(name, content) -> [(name, content), ...]``, and sealed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            for changed, content in change(name, archive.read(name)):
                method = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
                new.writestr(zipfile.ZipInfo(changed), content, method)
    return out.getvalue()


def zip_altered(data, rng):
    """One member is damaged, missing, there twice or under another's name; its checksum is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    chosen, other = (names[k] for k in rng.integers(len(names), size=2))
    kind = rng.integers(6)

    def change(name, content):
        if name != chosen:
            return [(name, content)]
        if kind == 0:
            return [] if rng.random() < 0.5 else [(other, content)]
        return [(name, altered(content or b"\0", rng))]

    return rebuilt(data, change, rng)


def zip_pickle_altered(data, rng):
    """A zip .pth, mostly with another pickle in it."""
    if rng.random() < 0.25:
        return zip_altered(data, rng)
    return rebuilt(data, lambda n, c: [(n, pickle_altered(c, rng) if n.endswith("data.pkl") else c)], rng)


def legacy_altered(data, rng):
    """A legacy .pth with one of its five pickles altered, or the numbers behind them."""
    parts, position = [], 0
    for _ in range(5):
        *_, (_, _, stop) = pickletools.genops(data[position:])
        parts.append(data[position : position + stop + 1])
        position += stop + 1
    parts.append(data[position:])
    k = int(rng.choice([0, 1, 2, 3, 3, 3, 3, 3, 4, 4, 5]))
    parts[k] = altered(parts[k], rng) if k == 5 else pickle_altered(parts[k], rng)
    return b"".join(parts)


def pickle_altered(pickle, rng):
    """The operations of a pickle in another order, some left out, some twice, some with other numbers or names."""
    if rng.random() < 0.2:
        return altered(pickle, rng)
    starts = [position for _, _, position in pickletools.genops(pickle)]
    steps = [pickle[a:b] for a, b in zip(starts, [*starts[1:], len(pickle)], strict=True)]
    for _ in range(rng.integers(1, 5)):
        k, m = rng.integers(len(steps), size=2)
        kind = rng.integers(5)
        if kind == 0:
            del steps[k]
        elif kind == 1:
            steps[k], steps[m] = steps[m], steps[k]
        elif kind == 2:
            steps.insert(k, steps[m])
        elif kind == 3:
            steps[k] = STEPS[rng.integers(len(STEPS))]
        else:
            integers = [j for j, step in enumerate(steps) if step[:1] in b"KMJ"] or [k]
            steps[int(rng.choice(integers))] = integer(NUMBERS[rng.integers(len(NUMBERS))])
        steps = steps or [b"."]
    return b"".join(steps)


def header_altered(data, rng):
    """A .safetensors file with another header, whose length is right."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = header[list(header)[rng.integers(len(header))]]
    kind = rng.integers(5)
    number = NUMBERS[rng.integers(len(NUMBERS))]
    if kind == 0:
        entry["dtype"] = str(rng.choice(["F64", "F16", "BF16", "U8", "F8_E4M3", "C64", "X"]))
    elif kind == 1:
        entry["shape"] = [*entry.get("shape", []), number]
    elif kind == 2:
        entry["shape"] = entry.get("shape", [])[::-1] or [number]
    elif kind == 3:
        entry["data_offsets"] = [int(rng.choice([0, 4, 16])), number]
    text = json.dumps(header).encode()
    text = altered(text, rng) if kind == 4 else text
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def index_altered(data, rng):
    """An index of shards that is JSON still, and says something else."""
    index = json.loads(data)
    tensors = index["weight_map"]
    names, kind = list(tensors), rng.integers(5)
    name = names[rng.integers(len(names))]
    strange = ["", ".", "..", "../a", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, "fuzzed.file", 3, None, [], {}]
    if kind == 0:
        tensors[name] = strange[rng.integers(len(strange))]
    elif kind == 1:
        tensors[name] = tensors[names[rng.integers(len(names))]]
    elif kind == 2:
        tensors[str(rng.choice(["w", "", "\ud800", name + " "]))] = tensors.pop(name)
    elif kind == 3:
        index["weight_map"] = [tensors, names, None, 3, {}, {name: tensors}, name][rng.integers(7)]
    text = json.dumps(index).encode()
    return altered(text, rng) if kind == 4 else text


# -- pickles


def integer(value):
    """LONG1."""
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def tensor(size="K\x06", offset="K\0", shape="K\x03K\x02", strides="K\x02K\x01", key="0"):
    """A float32 tensor; the others are operations as text, shape and strides without their MARK and TUPLE."""
    size, offset, shape, strides = (part.encode("latin-1") for part in (size, offset, shape, strides))
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + size + b"tQ"
    sizes = offset + b"(" + shape + b"t(" + strides + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + sizes + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(value):
    """A pickle of {"weight": value}."""
    return b"\x80\x02}" + text("weight") + value + b"s."


COMMAND = text("touch ran")
STEPS = (b"(", b")", b"}", b"]", b"t", b"R", b"b", b"Q", b"s", b"u", b"e", b"\x81", b"\x85", b"\x86", b"N", b"2", b"0")
STEPS += (b"cos\nsystem\n", b"cbuiltins\neval\n", b"ccollections\nOrderedDict\n", b"q\0", b"h\0", b"h\xff", COMMAND)

# What no state dict may do -> a word of the error.
CALLS = {
    "os.system": (b"cos\nsystem\n" + COMMAND + b"\x85R.", "asks for os.system"),
    "posix.system": (b"cposix\nsystem\n" + COMMAND + b"\x85R.", "asks for posix.system"),
    "eval": (b"cbuiltins\neval\n" + text("open('ran', 'w')") + b"\x85R.", "asks for builtins.eval"),
    "eval of Python 2": (b"c__builtin__\neval\n" + text("open('ran', 'w')") + b"\x85R.", "asks for __builtin__.eval"),
    "getattr": (b"cbuiltins\ngetattr\ncos\n__dict__\n" + text("system") + b"\x86R.", "asks for builtins.getattr"),
    "subprocess": (b"csubprocess\nPopen\n" + COMMAND + b"\x85R.", "asks for subprocess.Popen"),
    "by name on the stack": (text("os") + text("system") + b"\x93" + COMMAND + b"\x85R.", "asks for os.system"),
    "an attribute of an attribute": (
        text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93.",
        "asks for collections.OrderedDict.__init__",
    ),
    "a name of two lines": (text("os\n") + text("sys\ntem") + b"\x93.", r"asks for os\\n.sys\\ntem"),
    "a pickle in the pickle": (b"ctorch.storage\n_load_from_bytes\n(tR.", "asks for torch.storage._load_from_bytes"),
    "torch.hub": (b"ctorch.hub\nload\n(tR.", "asks for torch.hub.load"),
    "a whole model": (b"ctorchvision.models.mobilenetv2\nMobileNetV2\n)\x81}b.", "save its state_dict"),
    "INST": (b"(" + COMMAND + b"ios\nsystem\n.", "operation INST"),
    "OBJ": (b"(cos\nsystem\n" + COMMAND + b"o.", "operation OBJ"),
    "OBJ of an allowed name": (b"(ccollections\nOrderedDict\no.", "operation OBJ"),
    "NEWOBJ_EX": (b"cos\nsystem\n" + COMMAND + b"\x85}\x92.", "asks for os.system"),
    "an extension": (b"\x82\x01.", "damaged|operation EXT1"),
    "a persistent name": (b"Pos.system\n.", "operation PERSID"),
    "a call of a string": (COMMAND + b")R.", "calls what is no function"),
    "a call of a result": (b"ccollections\nOrderedDict\n)R)R.", "calls what is no function"),
    "attributes of a function": (b"ccollections\nOrderedDict\n}b.", "sets attributes"),
    "attributes of a tensor": (tensor() + b"}b.", "sets attributes"),
    "a quantized tensor": (b"ctorch\nQInt8Storage\n.", "QInt8Storage"),
    "tensor of other arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02K\x03K\x04tR.", "other arguments"),
    "a module as a storage": (b"(" + text("module") + b"NNNNtQ.", "no storage"),
    "nested calls": (b"ccollections\nOrderedDict\n" * 50 + b")" + b"R" * 50 + b".", "calls what is no function|other"),
}


def memo_bomb():
    """Ten references to ten references to ..., thirty deep: 10^30 objects if anything walks through them."""
    return b"]q\0" + b"".join(b"(" + b"h%c" % k * 10 + b"tq%c" % (k + 1) for k in range(30)) + b"."


def dictionary_bomb(many):
    """A list of many pairs, made into a dictionary again and again."""
    pairs = b"](" + b"".join(b"(" + integer(k) + b"Kat" for k in range(many // 5)) + b"eq\0"
    return pairs + b"ccollections\nOrderedDict\nh\0\x85R" * (many // 20) + b"."


def nested(depth, inner=b")", outer=b"\x85"):
    return inner + outer * depth


def bombs(many):
    """Pickles of so many operations, and what is said of them: name -> (pickle, message)."""
    return {
        "memo": (memo_bomb(), "no dictionary"),
        "dictionaries": (dictionary_bomb(many), "no tensors by name"),
        "deep tuples": (nested(many) + b".", "no dictionary"),
        "deep tuple as a key": (b"}" + nested(many) + b"Ns.", "no tensors by name"),
        "deep lists": (b"]" * many + b"a" * (many - 1) + b".", "no dictionary"),
        "marks": (b"(" * many + b".", "damaged"),
        "steps": (b"N0" * many + b".", "more than|operation POP"),
        "many objects": (b"}" * (26 * many // 10) + b".", "steps"),
        "keys of one hash": (
            b"}("
            + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(many // 5))
            + b"u.",
            "no tensors by name",
        ),
        "a string of 4 GiB": (b"X\xff\xff\xff\xffabc.", "damaged"),
        "a string of 2^63": (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "damaged"),
        "a string beyond all": (b"\x8d" + b"\xff" * 8 + b"abc.", "damaged"),
        "an integer of 2 GiB": (b"\x8b\xff\xff\xff\x7fabc.", "damaged"),
        "an integer of minus 1 byte": (b"\x8b\xff\xff\xff\xffabc.", "damaged"),
        "an integer of 100,000 bits": (b"\x8b" + struct.pack("<i", 12_500) + b"\x7f" * 12_500 + b".", "integer of"),
        "an integer of 5,000 digits": (b"I" + b"9" * 5_000 + b"\n.", "damaged"),
        "a frame of 2^63": (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "no dictionary"),
        "contains itself": (b"}q\0" + text("model") + b"h\0s.", "no tensors"),
        "list contains itself": (b"]q\0h\0a.", "no dictionary"),
        "a memo of 2^32": (b"}r\xff\xff\xff\xff.", "no tensors"),
        "no stop": (b"}", "damaged"),
        "nothing to pop": (b"t.", "damaged"),
        "nothing left": (b"\x80\x02.", "damaged"),
        "a key without a value": (b"}(" + text("a") + b"u.", "key without a value"),
        "not in the memo": (b"h\x05.", "damaged"),
        "appended to a string": (text("a") + b"Na.", "holds nothing"),
        "not UTF-8": (b"X\x02\0\0\0\xff\xfe.", "damaged"),
        "no operation": (b"\xff.", "damaged"),
    }


BOMBS = list(bombs(10))

TENSORS = {
    "beyond its storage": (tensor(shape="K\x03K\x03", strides="K\x03K\x01"), "reaches beyond"),
    "an offset beyond its storage": (tensor(offset="K\x01"), "reaches beyond"),
    "a negative offset": (tensor(offset="J\xff\xff\xff\xff"), "reaches beyond"),
    "a negative stride": (tensor(strides="J\xff\xff\xff\xffK\x01"), "reaches beyond"),
    "a negative shape": (tensor(shape="J\xff\xff\xff\xffJ\xff\xff\xff\xff"), "reaches beyond"),
    "empty and endless": (
        tensor(shape="K\0J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f", strides="K\0" * 4),
        "damaged",
    ),
    "endless in place": (
        tensor(shape="J\xff\xff\xff\x7f" * 2, strides="K\0K\0"),
        "claim 18446744056529682436 bytes|claim",
    ),
    "a storage larger than there is": (tensor(size="M\0\x20"), "fewer than it claims"),
    "a storage of 2^63": (tensor(size=integer(2**63).decode("latin-1")), "fewer than it claims"),
    "a negative storage": (tensor(size="J\xff\xff\xff\xff"), "no type, key or size"),
    "another storage": (tensor(key="7"), "missing|no tensor uses"),
    "a storage outside": (tensor(key="../../data/0"), "missing|no tensor uses"),
    "another number of strides": (tensor(strides="K\x01"), "other arguments"),
    "a text as shape": (tensor(shape="N"), "other arguments"),
    "too many axes": (tensor(shape="K\x01" * 40, strides="K\x01" * 40), "axes"),
}


def zip_pth(pickle, storages=None, **others):
    """The bytes of a zip .pth."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("any name/data.pkl", pickle)
        archive.writestr("any name/version", "3\n")
        for key, content in ({"0": struct.pack("<6f", *range(6))} if storages is None else storages).items():
            archive.writestr(f"any name/data/{key}", content)
        for name, content in others.items():
            archive.writestr(f"any name/{name}", content)
    return out.getvalue()


def legacy_pth(pickle, keys=("0",), storages=None):
    """The bytes of a .pth from before PyTorch 1.6."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    version, machine = b"\x80\x02M\xe9\x03.", b"\x80\x02}."
    listed = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    numbers = struct.pack("<q6f", 6, *range(6)) if storages is None else storages
    return b"".join([magic, version, machine, pickle, listed, numbers])
