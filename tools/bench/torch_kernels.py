"""Torch's side of `make bench-kernels`: runs one operation a line of standard input, and answers with its times.

A line is JSON: {"op": "conv", "sizes": [..], "precision": "f32"}. The answer is {"cpu_ms": .., "wall_ms": ..} of one
run; operands are made at the first request for an operation and kept until the next one. Started by the Rust side,
which alternates its own runs with these.
"""

import json
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit(
        "torch is not installed for this Python. It is only needed for this bench: install torch, diffusers and "
        "safetensors (2.15.0, 0.42.1 and 0.8 were used) and name that Python in TINTYPE_BENCH_PYTHON."
    )

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def conv(dtype, batch, inner, outer, side, kernel, stride):
    x, w, b = random(dtype, batch, inner, side, side), random(dtype, outer, inner, kernel, kernel), random(dtype, outer)
    return lambda: F.conv2d(x, w, b, stride=stride, padding=kernel // 2)


def linear(dtype, rows, inner, outer):
    x, w, b = random(dtype, rows, inner), random(dtype, outer, inner), random(dtype, outer)
    return lambda: F.linear(x, w, b)


def attention(dtype, batch, heads, queries, keys, width):
    q, k, v = (random(dtype, batch, heads, count, width) for count in (queries, keys, keys))
    return lambda: F.scaled_dot_product_attention(q, k, v)


def group_norm(dtype, batch, channels, side, groups):
    x, w, b = random(dtype, batch, channels, side, side), random(dtype, channels), random(dtype, channels)
    return lambda: F.group_norm(x, groups, w, b)


def group_norm_silu(dtype, batch, channels, side, groups):
    norm = group_norm(dtype, batch, channels, side, groups)
    return lambda: F.silu(norm())


def layer_norm(dtype, rows, width):
    x, w, b = random(dtype, rows, width), random(dtype, width), random(dtype, width)
    return lambda: F.layer_norm(x, (width,), w, b)


def silu(dtype, batch, channels, side):
    x = random(dtype, batch, channels, side, side)
    return lambda: F.silu(x)


def geglu(dtype, rows, width):
    x = random(dtype, rows, 2 * width)

    def run():
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)

    return run


def unet(dtype, config, folder, batch, side, tokens):
    """A UNet of random weights; the first request writes them, and what goes in and comes out, for the other side."""
    import diffusers
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    model = diffusers.UNet2DConditionModel.from_config(config).eval().to(torch.bfloat16)
    weights, case = f"{folder}/unet.safetensors", f"{folder}/case.safetensors"
    try:
        model.load_state_dict(load_file(weights))
    except FileNotFoundError:
        save_file(model.state_dict(), weights)
    # The weights are rounded to bf16 for both sides, and then used in the precision asked for.
    model = model.to(dtype)
    x = torch.randn(batch, model.config.in_channels, side, side)
    t = torch.linspace(900, 100, batch)
    context = torch.randn(batch, tokens, model.config.cross_attention_dim)
    inputs, added = {"x": x, "t": t, "context": context}, None
    if model.config.addition_embed_type == "text_time":
        sizes = torch.tensor([[8 * side, 8 * side, 0, 0, 8 * side, 8 * side]] * batch, dtype=dtype)
        width = model.config.projection_class_embeddings_input_dim - 6 * model.config.addition_time_embed_dim
        inputs["pooled"] = torch.randn(batch, width)
        added = {"text_embeds": inputs["pooled"].to(dtype), "time_ids": sizes}

    def run():
        return model(x.to(dtype), t, context.to(dtype), added_cond_kwargs=added).sample

    if dtype == torch.float32:
        save_file({**inputs, "y": run().contiguous()}, case)
    return run


def text_encoder(dtype, folder, width, positions, words, end):
    """Writes a small CLIP text encoder of random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=width, num_hidden_layers=1, num_attention_heads=8,
        max_position_embeddings=positions, eos_token_id=end, bos_token_id=end - 1, pad_token_id=end,
    )
    CLIPTextModel(config).save_pretrained(folder)
    return lambda: None


def nothing(dtype):
    """Asked for when what the operation before it keeps is not wanted any more."""
    return lambda: None


def random(dtype, *shape):
    return torch.randn(*shape).to(dtype)


OPERATIONS = {
    function.__name__: function
    for function in (
        conv, linear, attention, group_norm, group_norm_silu, layer_norm, silu, geglu, unet, text_encoder, nothing
    )
}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    known, run = None, None
    for line in sys.stdin:
        request = json.loads(line)
        if line != known:
            run = None
            run = OPERATIONS[request["op"]](TYPES[request["precision"]], *request["sizes"])
            known = line
            run()
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu_ms": cpu * 1e3, "wall_ms": wall * 1e3}), flush=True)


main()
