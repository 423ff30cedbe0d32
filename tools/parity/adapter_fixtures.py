"""Fixtures of LoRAs and ControlNets; see make_fixtures.py, which calls this and owns the networks they change.

Each LoRA is computed twice, by diffusers and PEFT as they load the file and by adding its product to the weights; the
two must agree. Each way of naming is written by this script's own rules, read by diffusers' rules.
"""
import copy, json
import torch
from diffusers import ControlNetModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from safetensors.torch import load_file, save_file


def low_rank(model, wanted, rank, seed):
    """Random halves for every layer whose name ends in one of `wanted`: {name: (down, up)}."""
    g = torch.Generator().manual_seed(seed)
    halves = {}
    for name, layer in sorted(model.named_modules()):
        if not any(name == w or name.endswith("." + w) for w in wanted) or not hasattr(layer, "weight"):
            continue
        out, inner, *kernel = layer.weight.shape
        down = torch.randn(rank, inner, *kernel, generator=g) * (0.7 / (inner * (kernel or [1])[0] ** 2) ** 0.5)
        halves[name] = (down, torch.randn(out, rank, *[1 for _ in kernel], generator=g) * (0.9 / rank ** 0.5))
    assert halves
    return halves


def merged(model, uses):
    """A copy of the model with each of [(halves, scale)] added to its weights."""
    model = copy.deepcopy(model)
    layers = dict(model.named_modules())
    for halves, scale in uses:
        for name, (down, up) in halves.items():
            weight = layers[name].weight
            weight.data += scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return model


def kohya(prefix, halves, alpha, rename=lambda name: name):
    out = {}
    for name, (down, up) in halves.items():
        stem = prefix + rename(name).replace(".", "_")
        out |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(float(alpha))}
    return out


def peft(prefix, halves):
    return {f"{prefix}.{n}.lora_{h}.weight": v for n, pair in halves.items() for h, v in zip("AB", pair)}


def sgm(name, layers, attends):
    """kohya's names of an SDXL UNet with as many layers in each block, whose up blocks attend or not."""
    parts = name.split(".")
    res = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    kind, rest = parts[2] if len(parts) > 2 else "", parts[4:]
    if parts[0] == "mid_block":
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[parts[1], parts[2]]
        return f"middle_block.{place}." + (res[parts[3]] if parts[1] == "resnets" else ".".join(parts[3:]))
    tail = res[rest[0]] if kind == "resnets" else ".".join(rest)
    b, l = (int(parts[1]), int(parts[3])) if len(parts) > 3 else (0, 0)
    if parts[0] == "down_blocks":
        at = 1 + b * (layers + 1)
        return f"input_blocks.{at + layers}.0.op" if kind == "downsamplers" else f"input_blocks.{at + l}.{int(kind == 'attentions')}.{tail}"
    if parts[0] == "up_blocks":
        at = b * (layers + 1)
        return (f"output_blocks.{at + layers}.{1 + attends[b]}.conv" if kind == "upsamplers"
                else f"output_blocks.{at + l}.{int(kind == 'attentions')}.{tail}")
    return {"time_embedding.linear_1": "time_embed.0", "add_embedding.linear_2": "label_emb.0.2", "conv_in": "input_blocks.0.0", "conv_out": "out.2"}[name]


def loras(OUT, write, unets, clips):
    """`unets` and `clips` give the networks of the fixtures of that name, weights and all."""
    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    expected = {}

    def run(name, unet, case, state, uses, loader, weight):
        """Through diffusers, held against the merged weights."""
        save_file({k: v.contiguous() for k, v in state.items()}, OUT / f"{name}.safetensors")
        x, t, context = case["x"], case["t"], case["context"]
        added = {"text_embeds": case["pooled"], "time_ids": case["sizes"]} if "pooled" in case else None
        ask = lambda model: model(x, t, context, added_cond_kwargs=added).sample
        read = loader.lora_state_dict(load_file(OUT / f"{name}.safetensors"), unet_config=unet.config)
        loader.load_lora_into_unet(read[0], network_alphas=read[1], unet=unet, adapter_name=name)
        unet.set_adapters([name], [weight])
        with torch.no_grad():
            y, other = ask(unet), ask(merged(base[id(unet)], [(h, s * weight) for h, s in uses]))
        assert (y - other).abs().max() < 2e-5, (name, (y - other).abs().max())
        print(f"{name}: {(OUT / f'{name}.safetensors').stat().st_size} bytes, changes {(y - case['y']).abs().max():.2f} at most")
        expected[name] = y
        return ask

    conv, xl = unets["unet_conv"], unets["unet_sdxl"]
    base = {id(conv): copy.deepcopy(conv), id(xl): copy.deepcopy(xl)}
    case, case_xl = load_file(OUT / "unet_conv.safetensors"), load_file(OUT / "unet_sdxl.safetensors")
    one = low_rank(conv, attention + ["proj_in", "ff.net.0.proj", "conv1", "time_emb_proj", "downsamplers.0.conv"], 2, 41)
    two = low_rank(conv, attention + ["ff.net.2", "conv2", "conv_shortcut", "upsamplers.0.conv", "linear_1"], 1, 42)
    text = low_rank(clips["clip_quick_gelu"], ["q_proj", "v_proj", "out_proj", "fc1", "fc2"], 2, 43)
    text_names = {("text_model." + n.removeprefix("text_model.")): v for n, v in text.items()}
    run("lora_peft", conv, case, {**peft("unet", one), **peft("text_encoder", text_names)}, [(one, 1.0)], StableDiffusionLoraLoaderMixin, 0.7)
    state = {**kohya("lora_unet_", two, 0.5), **kohya("lora_te_", text_names, 3)}
    ask = run("lora_kohya", conv, case, state, [(two, 0.5)], StableDiffusionLoraLoaderMixin, -0.4)
    conv.set_adapters(["lora_peft", "lora_kohya"], [0.7, -0.4])
    with torch.no_grad():
        expected["both"] = ask(conv)
    wide = low_rank(xl, attention + ["proj_in", "conv1", "time_emb_proj", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"], 2, 44)
    second = low_rank(clips["clip_projected"], ["k_proj", "fc2"], 2, 45)
    second = {("text_model." + n.removeprefix("text_model.")): v for n, v in second.items()}
    state = {**kohya("lora_unet_", wide, 1, lambda n: sgm(n, 1, [True, False])), **kohya("lora_te1_", text_names, 2), **kohya("lora_te2_", second, 1)}
    run("lora_kohya_xl", xl, case_xl, state, [(wide, 0.5)], StableDiffusionXLLoraLoaderMixin, 1.2)
    ids = load_file(OUT / "clip_quick_gelu.safetensors")["ids"].long()
    with torch.no_grad():
        expected["text_peft"] = merged(clips["clip_quick_gelu"], [(text, 0.7)])(ids).last_hidden_state
        expected["text_both"] = merged(clips["clip_quick_gelu"], [(text, 0.7 + 1.5 * -0.4)])(ids).last_hidden_state
        plain = {n: second["text_model." + n.removeprefix("text_model.")] for n, m in clips["clip_projected"].named_modules()
                 if "text_model." + n.removeprefix("text_model.") in second}
        ids = load_file(OUT / "clip_projected.safetensors")["ids"].long()
        out = merged(clips["clip_projected"], [(plain, 0.5)])(ids, output_hidden_states=True)
        expected |= {"text2_hidden": out.hidden_states[-2], "text2_pooled": out.text_embeds}
    write("lora_expected", expected)


def controlnets(OUT, write, shaken, plain, unets):
    """ControlNets of both families, with the UNet of the fixture of that family following them."""
    def case(name, unet_name, seed, factor, **config):
        unet, given = unets[unet_name], load_file(OUT / f"{unet_name}.safetensors")
        same = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim", "norm_num_groups",
                "down_block_types", "use_linear_projection", "transformer_layers_per_block", "addition_embed_type",
                "addition_time_embed_dim", "projection_class_embeddings_input_dim")
        net = shaken(ControlNetModel(**{k: unet.config[k] for k in same}, **config), seed)
        g = torch.Generator().manual_seed(seed + 100)
        hints = torch.rand(2, 3, 8 * factor, 16 * factor, generator=g)
        x, t, context = given["x"], given["t"], given["context"]
        added = {"text_embeds": given["pooled"], "time_ids": given["sizes"]} if "pooled" in given else None
        out = {}
        with torch.no_grad():
            sums = None
            for i, weight in enumerate((0.8, -0.3)):             # two ControlNets at once: the same one, two hints
                down, mid = net(x, t, context, hints[i:i + 1].expand(2, -1, -1, -1), conditioning_scale=weight, added_cond_kwargs=added, return_dict=False)
                if i == 0:
                    out |= {f"down{k}": v for k, v in enumerate(down)} | {"mid": mid}
                sums = (down, mid) if sums is None else ([a + b for a, b in zip(sums[0], down)], sums[1] + mid)
                follow = unet(x, t, context, added_cond_kwargs=added, down_block_additional_residuals=tuple(sums[0]), mid_block_additional_residual=sums[1]).sample
                print(name, "changes", float((follow - given["y"]).abs().max()), "at most")
                out[f"y{i + 1}"] = follow
        write(name, {**{f"weights.{k}": v for k, v in net.state_dict().items()}, "hints": hints, **out}, plain(net.config))

    case("control_conv", "unet_conv", 51, 4, conditioning_embedding_out_channels=(3, 5, 7))
    case("control_sdxl", "unet_sdxl", 52, 2, conditioning_embedding_out_channels=(4, 6), controlnet_conditioning_channel_order="bgr")


def addons(OUT):
    """Captions and hints for the LoRA and ControlNet that ship: by the same draws of chance as their makers measured with.

    follow.txt: `colour shape ground size cx cy radius`; 24 of the model's own places, then 6 prompts in 4 corners each.
    night.txt: `colour shape ground`, none of them black.
    """
    import random
    clear, shapes = ["red", "green", "blue", "yellow", "white", "black"], ["circle", "square", "triangle", "ring", "cross", "star"]
    sizes = {"small": (11, 15), "medium": (17, 21), "large": (23, 27)}
    rng, night = random.Random(21), []
    while len(night) < 24:
        colour, ground = rng.sample(clear, 2)
        if "black" not in (colour, ground):
            night.append(f"{colour} {rng.choice(shapes)} {ground}")
    rng, follow = random.Random(22), []
    for _ in range(24):
        (colour, ground), shape = rng.sample(clear, 2), rng.choice(shapes)
        size = rng.choice(["medium", "large"])
        r = rng.uniform(*sizes[size])
        follow.append(f"{colour} {shape} {ground} {size} {rng.uniform(r + 2, 62 - r):.3f} {rng.uniform(r + 2, 62 - r):.3f} {r:.3f}")
    rng = random.Random(23)
    for _ in range(6):
        (colour, ground), shape = rng.sample(clear, 2), rng.choice(shapes)
        for x, y in ((18, 18), (46, 18), (18, 46), (46, 46)):
            follow.append(f"{colour} {shape} {ground} small {x} {y} {rng.uniform(*sizes['small']):.3f}")
    (OUT / "night.txt").write_text("\n".join(night) + "\n")
    (OUT / "follow.txt").write_text("\n".join(follow) + "\n")


def single_file_names(OUT):
    """ldm_names.txt: what diffusers' own conversion makes of each tensor name of single-file checkpoints.

    Lines `part: diffusers name = stored name`, with `/0`, `/1`, `/2` for a third of the rows and `/t` for a turned matrix.
    One layer a block, two blocks: every kind of name, few times.
    """
    from diffusers.loaders import single_file_utils as sf
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection
    lines = []

    def traced(stored, convert):
        """Each stored tensor holds its own number, so that what comes out tells where it came from."""
        numbers = {n: torch.full(shape, float(i)) for i, (n, shape) in enumerate(stored.items())}
        by_number = {float(i): n for i, n in enumerate(stored)}
        return {k: by_number[float(v.flatten()[0])] for k, v in convert(dict(numbers)).items()}

    res = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"]
    att = ["norm", "proj_in", "proj_out"] + [f"transformer_blocks.0.{n}" for n in ("norm1", "attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ff.net.0.proj", "ff.net.2")]
    at = lambda place, names: [f"{place}.{n}" for n in names]
    unet = ["input_blocks.0.0", "time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "out.0", "out.2", "input_blocks.2.0.op", "output_blocks.1.1.conv"]
    unet += at("input_blocks.1.0", res[:-1]) + at("input_blocks.3.0", res) + at("input_blocks.3.1", att)
    unet += at("middle_block.0", res[:-1]) + at("middle_block.1", att) + at("middle_block.2", res[:-1])
    for i in range(4):
        unet += at(f"output_blocks.{i}.0", res) + (at(f"output_blocks.{i}.1", att) if i > 1 else [])
    # An upsampler behind an attention, as in the other half of published UNets, is kohya's case in lora_kohya_xl.
    config = dict(layers_per_block=1, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
                  class_embed_type=None, addition_embed_type="text_time", num_class_embeds=None, upcast_attention=False)
    shapes = {f"model.diffusion_model.{n}.{w}": (2,) for n in unet for w in ("weight", "bias")}
    lines += [f"unet: {k} = {v.removeprefix('model.diffusion_model.')}" for k, v in traced(shapes, lambda c: sf.convert_ldm_unet_checkpoint(c, config)).items()]

    block = ["norm1", "conv1", "norm2", "conv2", "nin_shortcut"]
    vae = ["quant_conv", "post_quant_conv", "encoder.down.0.downsample.conv", "decoder.up.1.upsample.conv"]
    for half, side, count in (("encoder", "down", 1), ("decoder", "up", 2)):
        vae += [f"{half}.{n}" for n in ("conv_in", "conv_out", "norm_out")] + at(f"{half}.mid.attn_1", ["norm", "q", "k", "v", "proj_out"])
        vae += at(f"{half}.mid.block_1", block[:-1]) + at(f"{half}.mid.block_2", block[:-1])
        vae += [n for b in (0, 1) for l in range(count) for n in at(f"{half}.{side}.{b}.block.{l}", block)]
    config = dict(layers_per_block=1, down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
    shapes = {f"first_stage_model.{n}.{w}": (2, 2, 1, 1) if "attn_1" in n and "norm" not in n and w == "weight" else (2,) for n in vae for w in ("weight", "bias")}
    lines += [f"vae: {k} = {v.removeprefix('first_stage_model.')}" for k, v in traced(shapes, lambda c: sf.convert_ldm_vae_checkpoint(c, config)).items()]

    # OpenCLIP holds query, key and value in one matrix, and its projection the other way round.
    p, g = "conditioner.embedders.1.model.", torch.Generator().manual_seed(1)
    make = lambda *shape: torch.randn(*shape, generator=g)
    stored = {"token_embedding.weight": make(9, 4), "positional_embedding": make(5, 4), "ln_final.weight": make(4), "ln_final.bias": make(4), "text_projection": make(4, 4)}
    for n in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2"):
        stored |= {f"transformer.resblocks.1.{n}.weight": make(4, 4) if "ln" not in n else make(4), f"transformer.resblocks.1.{n}.bias": make(4)}
    stored |= {"transformer.resblocks.1.attn.in_proj_weight": make(12, 4), "transformer.resblocks.1.attn.in_proj_bias": make(12)}
    model = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=9, hidden_size=4, intermediate_size=4, num_hidden_layers=2, num_attention_heads=2,
                                                       max_position_embeddings=5, projection_dim=4))
    out = sf.convert_open_clip_checkpoint(model, {p + k: v for k, v in stored.items()}, prefix=p)
    pieces = {}
    for k, v in stored.items():
        pieces[k] = v
        if "in_proj" in k:
            pieces |= {f"{k}/{i}": third for i, third in enumerate(v.chunk(3))}
        if k == "text_projection":
            pieces[f"{k}/t"] = v.T
    for k, v in out.items():
        source = [n for n, piece in pieces.items() if piece.shape == v.shape and torch.equal(piece, v)]
        if "position_ids" not in k:
            lines.append(f"open_clip: {k if k.startswith('text_') else 'text_model.' + k} = {source[0]}")
    (OUT / "ldm_names.txt").write_text("\n".join(lines) + "\n")
    print("ldm_names.txt:", len(lines), "names")
