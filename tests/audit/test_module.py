"""The mistakes of published loaders, each in a small torch module, and the same load done right."""

import pytest

torch = pytest.importorskip("torch")

from outrider.audit import audit  # noqa: E402
from outrider.audit.session import Audit  # noqa: E402

EXPERTS, HIDDEN, INNER = 4, 8, 6


class Model(torch.nn.Module):
    """A block with fused parameters, experts and a drafter's head, allocated as engines do."""

    def __init__(self, heads=8):
        super().__init__()
        empty = lambda *shape: torch.nn.Parameter(torch.empty(*shape), requires_grad=False)  # noqa: E731
        self.embed = empty(16, HIDDEN)
        self.head = empty(16, HIDDEN)
        self.draft_head = empty(16, HIDDEN)
        self.w13 = empty(EXPERTS, 2 * INNER, HIDDEN)
        self.shared_gate_up = empty(2 * INNER, HIDDEN)
        self.markov_w1 = empty(16, 4)
        self.attn_sink = empty(heads)


def artifact():
    torch.manual_seed(1)
    tensors = {
        "embed.weight": torch.randn(16, HIDDEN),
        "head.weight": torch.randn(16, HIDDEN),
        "mtp.2.head.weight": torch.randn(16, HIDDEN),
        "shared_experts.w1.weight": torch.randn(INNER, HIDDEN),
        "shared_experts.w3.weight": torch.randn(INNER, HIDDEN),
        "markov_w1.weight": torch.randn(16, 4),
        "attn_sink": torch.randn(8),
    }
    for expert in range(EXPERTS):
        for part in ("w1", "w3"):
            tensors["experts.%d.%s.weight" % (expert, part)] = torch.randn(INNER, HIDDEN)
    return tensors


def load(model, tensors, skip=lambda name: False, extra=None):
    """A right loader; `skip` leaves tensors out, `extra` sees each tensor first and says whether it took it."""
    for name, tensor in tensors.items():
        if skip(name) or extra is not None and extra(model, name, tensor):
            continue
        half = slice(0, INNER) if ".w1." in name else slice(INNER, None)
        if name.startswith("experts."):
            model.w13[int(name.split(".")[1])][half].copy_(tensor)
        elif name.startswith("shared_experts."):
            model.shared_gate_up[half].copy_(tensor)
        else:
            names = {"embed.weight": "embed", "head.weight": "head", "mtp.2.head.weight": "draft_head"}
            getattr(model, names.get(name, name.replace(".weight", ""))).data.copy_(tensor)


def report_of(**named):
    return audit(Model, lambda model, tensors: load(model, tensors, **named), artifact())


def kinds(report):
    return sorted({finding.kind for finding in report.findings})


def test_a_right_load_has_no_findings():
    report = report_of()
    assert report.findings == [] and report.sound
    assert "SOUND" in report.text()


def test_vllm_35548_parameters_left_as_allocated():
    report = report_of(skip=lambda name: name.startswith("mtp."))
    assert report.of("in-use-uninitialised") == ["draft_head"]
    assert report.of("taken-by-nobody") == ["mtp.2.head.weight"]
    assert not report.sound


def test_vllm_ascend_17094_the_target_s_head_arrives_last():
    def both(model, name, tensor):
        if name in ("head.weight", "mtp.2.head.weight"):
            model.head.data.copy_(tensor)
            model.draft_head.data.copy_(tensor)
            return True

    tensors = artifact()
    tensors["head.weight"] = tensors.pop("head.weight")  # now after mtp.2.head.weight
    report = audit(Model, lambda model, given: load(model, given, extra=both), tensors)
    assert report.of("written-twice") == ["head", "draft_head"]
    assert "head.weight over mtp.2.head.weight, 128 elements" in report.text()


def test_vllm_ascend_15446_every_rank_takes_the_first_rows():
    tensors = artifact()
    session = Audit(tensors)
    for rank in range(2):
        with session.constructing():
            model = Model(heads=4)
        fed = dict(session.feed(tensors.items()))
        sliced = lambda model, name, tensor: name == "attn_sink" and [model.attn_sink.data.copy_(tensor[:4])]  # noqa: E731
        with session.loading(model, "rank %d" % rank):
            load(model, fed, extra=sliced)
    report = session.report()
    assert kinds(report) == ["taken-in-part"] and report.of("taken-in-part") == ["attn_sink"]
    assert "4-7 of 8 along dimension 0" in report.text()


def test_every_rank_takes_its_own_rows():
    tensors = artifact()
    session = Audit(tensors)
    for rank in range(2):
        with session.constructing():
            model = Model(heads=4)
        fed = dict(session.feed(tensors.items()))

        def sliced(model, name, tensor, rank=rank):
            return name == "attn_sink" and [model.attn_sink.data.copy_(tensor[4 * rank : 4 * rank + 4])]

        with session.loading(model, "rank %d" % rank):
            load(model, fed, extra=sliced)
    assert session.report().findings == []


def test_an_unanchored_rename_drops_the_shared_experts():
    def rename(model, name, tensor):
        if "w1" in name and not name.startswith("experts."):  # meant for the layers, hits markov_w1
            if name.startswith("markov"):
                model.markov_w1.data.copy_(tensor)
            return True
        return "shared_experts" in name

    report = report_of(extra=rename)
    assert report.of("in-use-uninitialised") == ["shared_gate_up"]
    assert report.of("taken-by-nobody") == ["shared_experts.w1.weight", "shared_experts.w3.weight"]


def test_a_fused_parameter_loaded_by_half():
    report = report_of(skip=lambda name: name == "shared_experts.w3.weight")
    assert report.of("written-in-part") == ["shared_gate_up"]
    assert "48 of 96 elements missing: 6-11 of 12 along dimension 0" in report.text()


def test_an_expert_filter_of_the_wrong_size():
    report = report_of(skip=lambda name: name.startswith("experts.3."))
    assert report.of("written-in-part") == ["w13"]
    assert "96 of 384 elements missing: 3 of 4 along dimension 0" in report.text()
    assert len(report.of("taken-by-nobody")) == 2


def test_half_of_every_expert():
    report = report_of(skip=lambda name: name.startswith("experts.") and ".w3." in name)
    assert "in each of 4, 6-11 of 12 along dimension 1" in report.text()
    assert "experts.0-3.w3.weight" in report.text()


def test_a_buffer_reused_before_it_was_copied():
    def buffered(model, tensors):
        buffer, kept = torch.empty(16, HIDDEN), {}
        for name, tensor in tensors:
            if tensor.shape == buffer.shape:
                buffer.copy_(tensor)
                kept[name] = buffer
            else:
                load(model, {name: tensor})
        load(model, kept)

    tensors = artifact()
    report = audit(Model, buffered, iter(tensors.items()), artifact=tensors)
    assert not report.sound


def test_other_bytes_than_the_artifact_s():
    def swapped(model, name, tensor):
        if name == "embed.weight":
            model.embed.data.copy_(tensor)
            other = torch.zeros(HIDDEN).numpy()
            model.embed.data.numpy()[3] = other  # below the dispatcher: only the values show it
            return True

    report = report_of(extra=swapped)
    assert report.of("other-bytes") == ["embed"]
    assert "8 of 128 compared elements differ from embed.weight" in report.text()


def test_codes_converted_as_numbers():
    class Scales(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.empty(4, dtype=torch.uint8), requires_grad=False)

    tensors = {"scale": torch.full((4,), 0.0078125).to(torch.float8_e8m0fnu)}
    wrong = audit(Scales, lambda model, given: model.scale.data.copy_(given["scale"]), tensors)
    assert wrong.of("other-bytes") == ["scale"]
    right = audit(Scales, lambda model, given: model.scale.data.copy_(given["scale"].view(torch.uint8)), tensors)
    assert right.findings == []


def test_a_cast_that_rounds_is_a_note_and_an_exact_one_is_nothing():
    build = lambda: torch.nn.Linear(4, 4, bias=False).to(torch.bfloat16)  # noqa: E731
    take = lambda model, given: model.weight.data.copy_(given["weight"])  # noqa: E731
    assert kinds(audit(build, take, {"weight": torch.randn(4, 4)})) == ["cast"]
    assert kinds(audit(build, take, {"weight": torch.ones(4, 4)})) == []


@pytest.mark.parametrize("assign", [False, True])
def test_load_state_dict(assign):
    build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))  # noqa: E731
    tensors = {name: torch.rand_like(tensor.float()).to(tensor.dtype) for name, tensor in build().state_dict().items()}
    take = lambda model, given: model.load_state_dict(given, strict=False, assign=assign)  # noqa: E731
    assert audit(build, take, tensors).findings == []
    del tensors["0.bias"]
    report = audit(build, take, tensors)
    assert report.of("never-written") == ["0.bias"] and "keeps random values" in report.text()


def test_tied_parameters_and_computed_ones():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(8, 4)
            self.head = torch.nn.Linear(4, 8, bias=False)
            self.head.weight = self.embed.weight
            self.stacked = torch.nn.Parameter(torch.empty(2, 4, 4), requires_grad=False)

    def take(model, given):
        model.embed.weight.data.copy_(given["embed"])
        model.stacked.data = torch.stack([given["a"].t().contiguous(), given["b"] * 2])

    tensors = {"embed": torch.randn(8, 4), "a": torch.randn(4, 4), "b": torch.randn(4, 4)}
    assert audit(Tied, take, tensors).findings == []


def test_a_load_that_raises_is_a_finding():
    report = audit(Model, lambda model, given: given["mtp.9"], artifact())
    assert kinds(report) == ["load-stopped"] and "KeyError" in report.text()


def test_names_of_files_cannot_reach_the_terminal():
    report = audit(torch.nn.Identity, lambda model, given: None, {"a\x1b[31m": torch.ones(2)})
    assert "\x1b" not in report.text() and "a\\x1b[31m" in report.text()
