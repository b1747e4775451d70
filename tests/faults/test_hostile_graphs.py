"""ONNX graphs of strangers whose card vouches for them: refused in one line, in bounded time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_generated_models import own, vouch

from biodenoising import Denoiser
from biodenoising.errors import ModelError
from biodenoising.models.cards import Card, Chunking, read_card
from biodenoising.models.graphs import operators
from biodenoising.models.registry import verify_model
from biodenoising.storage import sha256_of

onnx = pytest.importorskip("onnx")
helper, FLOAT, INT64, BOOL = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, 9
SHAPE = ["batch", 1, "length"]
NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, 9_000).astype(np.float32)


def value(name: str, kind: int = FLOAT, shape: Any = SHAPE) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def number(name: str, content: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(content), name)


def model(
    nodes: list[Any], inputs: Any = None, outputs: Any = None, opset: int = 17, ir: int = 8,
    initializers: Any = (), domain: str = "", **more: Any,
) -> bytes:  # fmt: skip
    """Return a graph of these nodes from `noisy` to `clean`."""
    graph = helper.make_graph(
        nodes, "g", inputs or [value("noisy")], outputs or [value("clean")], list(initializers)
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    made = helper.make_model(graph, opset_imports=opsets, ir_version=ir, **more)
    return bytes(made.SerializeToString())


def node(operator: str, given: Any = ("noisy",), out: Any = ("clean",), **more: Any) -> Any:
    return helper.make_node(operator, list(given), list(out), **more)


def endless_loop() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Sin", ["x"], ["y"])], "body",
        [value("i", INT64, []), value("go", BOOL, []), value("x")],
        [value("on", BOOL, []), value("y")],
    )  # fmt: skip
    forever = [number("times", np.int64(2**62)), number("yes", np.bool_(True))]
    return model([node("Loop", ["times", "yes", "noisy"], body=body)], initializers=forever)


def choice() -> bytes:
    one = helper.make_graph([node("Identity", ["noisy"], ["a"])], "one", [], [value("a")])
    two = helper.make_graph([node("Neg", ["noisy"], ["b"])], "two", [], [value("b")])
    condition = [number("yes", np.bool_(True))]
    return model([node("If", ["yes"], then_branch=one, else_branch=two)], initializers=condition)


def scan() -> bytes:
    body = helper.make_graph([node("Sin", ["x"], ["y"])], "b", [value("x")], [value("y")])
    return model([node("Scan", body=body, num_scan_inputs=1)])


def own_function() -> bytes:
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_function("mine", "Twice", ["x"], ["y"], [node("Neg", ["x"], ["y"])], opsets)
    return model([node("Twice", domain="mine")], domain="mine", functions=[made])


def huge(shape: list[int]) -> bytes:
    sizes = [number("sizes", np.array(shape, np.int64))]
    nodes = [node("ConstantOfShape", ["sizes"], ["zeros"]), node("Add", ["noisy", "zeros"])]
    return model(nodes, initializers=sizes)


def outside(location: str) -> bytes:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, content in (("location", location), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, content
    return model([node("Mul", ["noisy", "w"])], initializers=[tensor])


def nested(depth: int) -> bytes:
    nodes = [node("Neg", [f"x{n}"], [f"x{n + 1}"]) for n in range(depth)]
    return model([node("Identity", ["noisy"], ["x0"]), *nodes, node("Neg", [f"x{depth}"])])


GRAPHS: dict[str, Callable[[], bytes]] = {
    "endless loop": endless_loop,
    "choice": choice,
    "scan": scan,
    "own function": own_function,
    "foreign operator": lambda: model(
        [node("Gelu", domain="com.microsoft")], domain="com.microsoft"
    ),
    "made-up domain": lambda: model([node("Run", domain="evil")], domain="evil"),
    "made-up operator": lambda: model([node("NoSuchThing")]),
    "future opset": lambda: model([node("Identity")], opset=99),
    "future format": lambda: model([node("Identity")], ir=99),
    "ancient opset": lambda: model([node("Identity")], opset=1),
    "4 TB of zeros": lambda: huge([1 << 40]),
    "beyond 64 bits": lambda: huge([1 << 40, 1 << 40]),
    "negative size": lambda: huge([-5]),
    "weights above": lambda: outside("../../etc/passwd"),
    "weights at root": lambda: outside("/etc/passwd"),
    "weights here": lambda: outside("secret"),
    "no nodes": lambda: model([]),
    "a circle": lambda: model([node("Add", ["noisy", "clean"])]),
    "two inputs": lambda: model([node("Add", ["noisy", "b"])], [value("noisy"), value("b")]),
    "another input": lambda: model([node("Identity", ["a"])], [value("a")]),
    "two outputs": lambda: model(
        [node("Identity"), node("Neg", out=["b"])], outputs=[value("clean"), value("b")]
    ),
    "integers": lambda: model([node("Identity")], [value("noisy", INT64)], [value("clean", INT64)]),
    "integers out": lambda: model([node("Cast", to=INT64)], outputs=[value("clean", INT64)]),
    "text out": lambda: model([node("Cast", to=8)], outputs=[value("clean", 8)]),
    "a scalar out": lambda: model(
        [node("ReduceSum", keepdims=0)], outputs=[value("clean", shape=[])]
    ),
    "one dimension fewer": lambda: model([node("Flatten")], outputs=[value("clean", shape=None)]),
    "longer": lambda: model([node("Concat", ["noisy", "noisy"], axis=2)]),
    "transposed": lambda: model(
        [node("Transpose", perm=[0, 2, 1])], outputs=[value("clean", shape=None)]
    ),
    "not a number": lambda: model([node("Log", ["n"]), node("Neg", out=["n"])][::-1]),
    "infinite": lambda: model(
        [node("Div", ["noisy", "z"]), node("Sub", ["noisy", "noisy"], ["z"])][::-1]
    ),
    "a long chain": lambda: nested(20_000),
    "nothing": lambda: b"",
    "text": lambda: b"field notes\n" * 50,
    "random": lambda: np.random.default_rng(3).bytes(5_000),
    "endless number": lambda: b"\xff" * 5_000,
    "a name of a megabyte": lambda: model([node("x" * (1 << 20))]),
    "a name that is no text": lambda: model([node("Identity")]).replace(
        b"Identity", b"Ident\xff\xfe\xfd"
    ),
}
REFUSED = ("loop", "choice", "scan", "function", "foreign", "made-up", "text", "nothing", "random")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", GRAPHS)
def test_a_hostile_graph_is_refused_or_gives_sound(tiny_model, tmp_path, monkeypatch, what) -> None:
    monkeypatch.chdir(tmp_path)
    card = own(tiny_model, tmp_path)
    (tmp_path / "secret").write_bytes(np.float32(3).tobytes())
    card.with_suffix(".onnx").write_bytes(GRAPHS[what]())
    vouch(card)
    refusal = ""
    try:
        after = Denoiser(card).denoise(NOISE, 16_000)
    except ModelError as error:
        refusal = str(error)
    if refusal:
        assert refusal.isprintable()
        assert len(refusal) < 600
    else:
        assert not any(word in what for word in REFUSED)
        assert after.shape == NOISE.shape
        assert np.isfinite(after).all()


def test_a_graph_that_is_refused_is_one_line_of_the_command(tree, tiny_model, biodenoise) -> None:
    card = own(tiny_model, tree.root)
    card.with_suffix(".onnx").write_bytes(endless_loop())
    vouch(card)
    tree.add("a.wav")
    result = biodenoise(tree.input, tree.output, model=card)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "'Loop'" in line
    assert not tree.output.exists()


def test_operators_are_read_as_onnx_reads_them(tiny_model) -> None:
    graph = Path(tiny_model).with_suffix(".onnx").read_bytes()
    wanted = [(n.op_type, n.domain) for n in onnx.load_from_string(graph).graph.node]
    assert list(operators(graph)) == wanted
    assert len(wanted) > 20


# What becomes of an output of a mask network's steps: its name and the last nodes, from `whole`.
STEPS: dict[str, tuple[str, list[Any]]] = {
    "harmless": ("clean", [node("Identity", ["whole"])]),
    "a loop": ("clean", [node("Loop", ["whole"])]),
    "a memory that grows": (
        "near_out", [node("Concat", ["whole", "whole"], ["near_out"], axis=2)],
    ),
    "a memory of whole numbers": ("near_out", [node("Cast", ["whole"], ["near_out"], to=INT64)]),
    "a memory of text": ("hidden0_out", [node("Cast", ["whole"], ["hidden0_out"], to=8)]),
    "a memory by another name": ("near_out", [node("Identity", ["whole"], ["far_out"])]),
    "more sound": ("clean", [node("Concat", ["whole", "whole"], axis=3)]),
    "other parts": ("clean", [node("Transpose", ["whole"], perm=[0, 2, 1, 3, 4])]),
    "whole numbers": ("clean", [node("Cast", ["whole"], to=INT64)]),
    "a missing input": ("clean", [node("Add", ["whole", "nothing"])]),
}  # fmt: skip


def masks(folder: Path) -> Path:
    """Write a causal mask network; return its card's path."""
    from biodenoising.models.networks import build_network, save_checkpoint

    sizes = {"short": 64, "long": 256, "hop": 32, "channels": (4, 6), "across": 4, "along": 4}
    network = build_network("masknet", {**sizes, "causal": True})
    card = Card("masks", "masknet", "", "", 16_000, Chunking(4_096, 512, 256, 128))
    save_checkpoint(network, card, folder, half=False)
    return folder / "masks.json"


def change(card: Path, **values: Any) -> None:
    card.write_text(json.dumps(json.loads(card.read_text()) | values))


def live(card: Path) -> np.ndarray:
    stream = Denoiser(card).stream(16_000)
    parts = [stream.feed(NOISE[start : start + 500]) for start in range(0, len(NOISE), 500)]
    return np.concatenate([*parts, stream.flush()])[stream.latency :]


@pytest.mark.parametrize("what", STEPS)
def test_a_hostile_step_is_refused(tmp_path, what) -> None:
    card, (output, last) = masks(tmp_path), STEPS[what]
    before = live(card)
    made = onnx.load(card.with_suffix(".steps.onnx"), load_external_data=False)
    for each in made.graph.node:
        for names in (each.input, each.output):
            names[:] = ["whole" if name == output else name for name in names]
    made.graph.node.extend(last)
    (changed,) = (each for each in made.graph.output if each.name == output)
    changed.name = last[-1].output[0]
    changed.type.tensor_type.ClearField("shape")
    if last[-1].op_type == "Cast":
        changed.type.tensor_type.elem_type = last[-1].attribute[0].i
    card.with_suffix(".steps.onnx").write_bytes(made.SerializeToString())
    change(card, steps_sha256=sha256_of(card.with_suffix(".steps.onnx")))
    if what == "harmless":
        np.testing.assert_array_equal(live(card), before)
        return
    with pytest.raises(ModelError) as refusal:
        live(card)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        {"hop": 0, "short": 0}, {"hop": -32}, {"long": 100}, {"blocks": 10**12}, {"blocks": None},
        {"channels": []}, {"channels": [10**12]}, {"channels": [-1]}, {"channels": "many"},
        {"along": 10**15}, {"causal": False},
    ],
    ids=str,
)  # fmt: skip
def test_steps_that_no_card_has_are_refused(tmp_path, arguments) -> None:
    card = masks(tmp_path)
    change(card, arguments=json.loads(card.read_text())["arguments"] | arguments)
    with pytest.raises(ModelError):
        live(card)


def test_a_damaged_step_is_refused_and_verified(tmp_path) -> None:
    card = masks(tmp_path)
    path = card.with_suffix(".steps.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        live(card)
    with pytest.raises(ModelError, match="damaged"):
        verify_model(read_card(card))
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        live(card)


@pytest.mark.parametrize("rate", [0, -1, 8_000, 48_000, 10**9])
def test_a_card_with_another_rate(tiny_model, tmp_path, rate: int) -> None:
    """What the card says counts; a rate that no recording has is refused."""
    card = own(tiny_model, tmp_path)
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sample_rate": rate}))
    if 0 < rate < 10**6:
        assert Denoiser(card).denoise(NOISE, 16_000).shape == NOISE.shape
        return
    with pytest.raises(ModelError):
        Denoiser(card)


def test_two_processes_and_a_folder_that_cannot_be_written(tiny_model, tmp_path) -> None:
    """Models are read where they lie; nothing is unpacked or cached beside them."""
    card = own(tiny_model, tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    code = "import sys, numpy; from biodenoising import denoise;"
    code += "denoise(numpy.ones(4000, 'f4'), 16000, model=sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", code, str(card)]) for _ in range(2)]
    assert [process.wait(timeout=100) for process in started] == [0, 0]
    tmp_path.chmod(0o755)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
