#!/usr/bin/env python3
"""Writes gpu-worker/tests/fixtures/: what diffusers, transformers and torch compute, for the worker's parity tests.

    pip install torch diffusers transformers peft safetensors numpy scipy torchsde      (CPU is enough; tests themselves need none of it)
    python make_fixtures.py ../../gpu-worker/tests/fixtures ../../models [part ...]     (parts: unets vaes clips adapters samplers noise prompts pictures eight)

All networks are random and small, with group counts other than 32. Tensors are saved before any cast, and what was
written is read back and checked.
"""
import inspect, json, sys
from pathlib import Path
import numpy as np
import torch
import diffusers, peft, transformers
from diffusers import (AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel)
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
import adapter_fixtures

OUT, MODELS, PARTS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
SHAPES, SHAPES_XL = MODELS / "shapes", MODELS / "shapes-xl"
torch.set_num_threads(1)


def write(name, tensors, config=None):
    """One file a case: weights under `weights.`, inputs and outputs beside them; the config in the metadata."""
    path = OUT / f"{name}.safetensors"
    tensors = {k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(config)} if config else None)
    back = load_file(path)
    assert all(torch.equal(back[k], v) for k, v in tensors.items()), name
    print(f"{name}: {path.stat().st_size} bytes")


def plain(config):
    """Without diffusers' own notes, whose order changes from run to run."""
    return {k: v for k, v in config.items() if not k.startswith("_")}


def shaken(model, seed):
    """Random weights all over, norms and biases too, so that a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        fan = max(1, p[0].numel()) if p.dim() > 1 else 1
        p.data = (1 + 0.2 * noise) if "norm" in name and name.endswith("weight") else noise * (0.9 / fan ** 0.5 if p.dim() > 1 else 0.1)
    return model.eval()


def unet(name, seed, **config):
    model = shaken(UNet2DConditionModel(**config), seed)
    g = torch.Generator().manual_seed(seed + 100)
    x = torch.randn(2, config["in_channels"], 8, 16, generator=g)
    t = torch.tensor([981.0, 3.5])
    context = torch.randn(2, 7, config["cross_attention_dim"], generator=g)
    added, more = None, {}
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        more = {"pooled": torch.randn(2, pooled, generator=g),
                "sizes": torch.tensor([[64.0, 128, 0, 0, 64, 128], [1024.0, 768, 5, 17, 512, 640]])}
        added = {"text_embeds": more["pooled"], "time_ids": more["sizes"]}
    with torch.no_grad():
        y = model(x, t, context, added_cond_kwargs=added).sample
    write(name, {**{f"weights.{k}": v for k, v in model.state_dict().items()}, "x": x, "t": t, "context": context, "y": y, **more}, plain(model.config))


def vae(name, seed, old_names, **config):
    model = shaken(AutoencoderKL(**config), seed)
    z = torch.randn(2, config["latent_channels"], 4, 6, generator=torch.Generator().manual_seed(seed + 100))
    with torch.no_grad():
        y = model.decode(z / model.config.scaling_factor).sample
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith(("encoder.", "quant_conv."))}
    if old_names:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            weights = {k.replace(f".{new}.", f".{old}."): v for k, v in weights.items()}
    write(name, {**{f"weights.{k}": v for k, v in weights.items()}, "z": z, "y": y}, plain(model.config))


def clip(name, seed, prefix, **config):
    config = CLIPTextConfig(**config)
    model = shaken(CLIPTextModel(config), seed)
    ids = torch.tensor([[97, 3, 14, 15, 92, 65, 98, 98], [97, 98, 98, 98, 98, 98, 98, 98]])
    with torch.no_grad():
        y = model(ids).last_hidden_state
    weights = {k.removeprefix("text_model."): v for k, v in model.state_dict().items() if "position_ids" not in k}
    keep = {k: config.to_dict()[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps")}
    write(name, {**{f"weights.{prefix}{k}": v for k, v in weights.items()}, "ids": ids, "y": y}, keep)


def clip_projected(name, seed, end, **config):
    """Every layer's vectors and the pooled one, of an encoder as SDXL's second."""
    config = CLIPTextConfig(eos_token_id=end, **config)
    model = shaken(CLIPTextModelWithProjection(config), seed)
    ids = torch.tensor([[97, 3, 14, 15, 92, 65, 98, 0], [97, 98, 0, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    weights = {k: v for k, v in model.state_dict().items() if "position_ids" not in k}
    weights = {(k if k.startswith(("text_model.", "text_projection.")) else "text_model." + k): v for k, v in weights.items()}
    keep = {k: config.to_dict()[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps", "projection_dim", "eos_token_id")}
    hidden = {f"hidden{i}": h for i, h in enumerate(out.hidden_states)}
    write(name, {**{f"weights.{k}": v for k, v in weights.items()}, "ids": ids, "pooled": out.text_embeds, **hidden}, keep)


def samplers():
    """Noise levels, timesteps and whole trajectories against a closed-form model: out = sin(3x + t/500) * 0.7 + x/4.
    Noise is drawn from one generator (seed 5); DPM-Solver++ SDE's too, in place of its Brownian tree."""
    D = diffusers
    less = lambda c, *names: {k: v for k, v in c.items() if k not in names}
    kinds = {                       # solver: (scheduler, fields it has not got, fields to add, whether it takes sigma levels)
        "ddim": (D.DDIMScheduler, (), dict(clip_sample=False), False),
        "ddpm": (D.DDPMScheduler, ("set_alpha_to_one",), dict(clip_sample=False), False),
        "euler": (D.EulerDiscreteScheduler, ("set_alpha_to_one",), {}, True),
        "euler-a": (D.EulerAncestralDiscreteScheduler, ("set_alpha_to_one",), {}, False),
        "heun": (D.HeunDiscreteScheduler, ("set_alpha_to_one",), {}, True),
        "dpmpp2m": (D.DPMSolverMultistepScheduler, ("set_alpha_to_one",), {}, True),
        "dpmpp-sde": (D.DPMSolverSDEScheduler, ("set_alpha_to_one",), {}, True),
        "unipc": (D.UniPCMultistepScheduler, ("set_alpha_to_one",), {}, True),
        "lms": (D.LMSDiscreteScheduler, ("set_alpha_to_one",), {}, True),
        "pndm": (D.PNDMScheduler, (), dict(skip_prk_steps=True), False),
        "lcm": (D.LCMScheduler, (), {}, False),
        "tcd": (D.TCDScheduler, (), {}, False),
    }
    start = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(9))
    cases = []

    def walk(solver, levels, steps, config):
        make, without, more, _ = kinds[solver]
        flags = {} if levels == "own" else {f"use_{levels}_sigmas": True}
        s = make(**less(config, *without), **more, **flags)
        s.set_timesteps(steps)
        g = torch.Generator().manual_seed(5)
        if solver == "dpmpp-sde":
            s.noise_sampler = lambda a, b: torch.randn(start.shape, generator=g)
        takes = dict(generator=g) if "generator" in inspect.signature(s.step).parameters else {}
        x = start * s.init_noise_sigma
        for t in s.timesteps:
            seen = s.scale_model_input(x, t)
            out = torch.sin(3 * seen + float(t) / 500) * 0.7 + seen / 4
            x = s.step(out, t, x, **takes).prev_sample
        sigmas = s.sigmas if hasattr(s, "sigmas") else None
        if solver in ("heun", "dpmpp-sde"):                  # told twice each there, once here
            sigmas = torch.cat([sigmas[:1], sigmas[1:-1][::2], sigmas[-1:]])
        cases.append(dict(solver=solver, levels=levels, steps=steps, config=config, init_noise=float(s.init_noise_sigma),
                          timesteps=[float(t) for t in s.timesteps],
                          sigmas=None if sigmas is None or not kinds[solver][3] and solver != "euler-a" else [float(v) for v in sigmas],
                          end=[float(v) for v in x.flatten()]))

    for solver, (_, _, _, sigma_levels) in kinds.items():
        for prediction in ("epsilon", "v_prediction"):
            for spacing in ("leading", "linspace", "trailing"):
                if solver in ("lcm", "tcd") and spacing != "leading":
                    continue                                 # one spread, whatever is said
                for steps, offset, to_one, schedule in ((20, 1, False, "scaled_linear"), (7, 0, True, "linear")):
                    config = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule=schedule,
                                  prediction_type=prediction, timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=to_one)
                    for levels in ("own",) if not sigma_levels or steps == 7 else ("own", "karras", "exponential", "beta"):
                        walk(solver, levels, steps, config)
    doc = dict(start=[float(v) for v in start.flatten()], cases=cases)
    text = "{\"start\": %s,\n\"cases\": [\n%s\n]}\n" % (json.dumps(doc["start"]), ",\n".join(json.dumps(c) for c in cases))
    (OUT / "samplers.json").write_text(text)
    print("samplers.json:", len(text), "bytes,", len(cases), "cases")


def noise():
    cases = []
    for seed in (0, 1, 42, 2 ** 32 + 5, 2 ** 53 - 1):
        for count in (1, 5, 15, 16, 17, 31, 256, 1000):
            values = torch.randn(count, generator=torch.Generator().manual_seed(seed))
            cases.append(dict(seed=seed, count=count, first=[float(v) for v in values[:6]], last=[float(v) for v in values[-6:]]))
    g = torch.Generator().manual_seed(3)                     # one generator, mixed lengths: the kept number matters
    mixed = [[float(v) for v in torch.randn(n, generator=g)[:4]] for n in (3, 20, 1, 16, 2)]
    (OUT / "noise.json").write_text(json.dumps(dict(cases=cases, mixed=mixed)) + "\n")


def prompts():
    tokenizer = CLIPTokenizer.from_pretrained(str(SHAPES / "tokenizer"))
    texts = ["a red circle on a blue background", "", "it's 42 stars!", "Ünïcödé  ÉCLAIR\tß", "日本の円 🎨", "a" * 300,
             "red " * 100, "<|endoftext|> x", "don't we'll they've I'm", "e\u0301 \u00a0 x"]
    cases = [dict(text=t, ids=tokenizer(t, padding="max_length", max_length=77, truncation=True).input_ids) for t in texts]
    (OUT / "prompts.json").write_text(json.dumps(cases) + "\n")


def pictures():
    for name, kind, model, negative in (("picture", StableDiffusionPipeline, SHAPES, "green"),
                                        ("picture_xl", StableDiffusionXLPipeline, SHAPES_XL, "green"),
                                        ("picture_xl_zeros", StableDiffusionXLPipeline, SHAPES_XL, None)):
        pipe = kind.from_pretrained(str(model), torch_dtype=torch.float32)
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
        pipe.set_progress_bar_config(disable=True)
        image = pipe("a red circle on a blue background", negative_prompt=negative, num_inference_steps=20, guidance_scale=3.0,
                     height=64, width=64, generator=torch.Generator().manual_seed(0)).images[0]
        image.save(OUT / f"{name}.png")


def eight():
    """Eight prompts of each small model, side by side; a line's number is its seed."""
    lines = (OUT / "eight.txt").read_text().splitlines()
    for name, kind, model in (("eight", StableDiffusionPipeline, SHAPES), ("eight_xl", StableDiffusionXLPipeline, SHAPES_XL)):
        pipe = kind.from_pretrained(str(model), torch_dtype=torch.float32)
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
        pipe.set_progress_bar_config(disable=True)
        sheet = Image.new("RGB", (64 * len(lines), 64))
        for seed, prompt in enumerate(lines):
            image = pipe(prompt, num_inference_steps=20, guidance_scale=3.0, height=64, width=64,
                         generator=torch.Generator().manual_seed(seed)).images[0]
            sheet.paste(image, (64 * seed, 0))
        sheet.save(OUT / f"{name}.png", optimize=True)


def unets():
    # Conv projections, one layer a block, groups 4, as Stable Diffusion 1.5 but small.
    unet("unet_conv", 1, sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 12, 16),
         cross_attention_dim=6, attention_head_dim=2, norm_num_groups=4,
         down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
         up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))
    # Linear projections, two layers a block, two transformer layers, heads by block, no flip, a shift, centred input.
    unet("unet_linear", 2, sample_size=8, in_channels=5, out_channels=4, layers_per_block=2, block_out_channels=(6, 12),
         cross_attention_dim=8, attention_head_dim=[1, 3], norm_num_groups=3, use_linear_projection=True, norm_eps=1e-4,
         transformer_layers_per_block=[1, 2], flip_sin_to_cos=False, freq_shift=1, center_input_sample=True,
         down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
         up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))
    # SDXL's: sizes and a pooled vector, no attention at the wide end, transformers of one and two layers, heads by block.
    unet("unet_sdxl", 7, sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(6, 12),
         cross_attention_dim=10, attention_head_dim=[1, 3], norm_num_groups=3, use_linear_projection=True,
         transformer_layers_per_block=[1, 2], addition_embed_type="text_time", addition_time_embed_dim=4,
         projection_class_embeddings_input_dim=29, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
         up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))


def vaes():
    vae("vae_new", 3, False, in_channels=3, out_channels=3, latent_channels=4, sample_size=32, block_out_channels=(6, 12),
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, layers_per_block=1,
        norm_num_groups=3, scaling_factor=0.7)
    vae("vae_old", 4, True, in_channels=3, out_channels=3, latent_channels=3, sample_size=32, block_out_channels=(4, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3, layers_per_block=2,
        norm_num_groups=2, scaling_factor=0.18215, use_post_quant_conv=False)


def clips():
    text = dict(vocab_size=99, intermediate_size=24, num_hidden_layers=2, max_position_embeddings=9, bos_token_id=97, eos_token_id=98, pad_token_id=98)
    clip("clip_quick_gelu", 5, "text_model.", hidden_size=12, num_attention_heads=3, hidden_act="quick_gelu", **text)
    clip("clip_gelu", 6, "", hidden_size=8, num_attention_heads=2, hidden_act="gelu", **text)
    for name, seed, end in (("clip_projected", 8, 98), ("clip_old_end", 9, 2)):
        clip_projected(name, seed, end, vocab_size=99, intermediate_size=20, num_hidden_layers=3, max_position_embeddings=9,
                       bos_token_id=97, pad_token_id=0, hidden_size=8, num_attention_heads=2, hidden_act="gelu", projection_dim=5)


def network(name, kind, config=None):
    """A network of a fixture written before."""
    path = OUT / f"{name}.safetensors"
    config = config or json.loads(safe_open(path, "pt").metadata()["config"])
    weights = {k.removeprefix("weights."): v for k, v in load_file(path).items() if k.startswith("weights.")}
    model = kind(**config) if kind is UNet2DConditionModel else kind(CLIPTextConfig(**config))
    known = model.state_dict()                               # transformers' versions differ in the first word
    fit = lambda k: k if k in known else k.removeprefix("text_model.") if k.removeprefix("text_model.") in known else f"text_model.{k}"
    missing = model.load_state_dict({fit(k): v for k, v in weights.items()}, strict=False)
    assert not missing.unexpected_keys and all("position_ids" in k for k in missing.missing_keys), missing
    return model.eval()


def adapters():
    """After `unets` and `clips`, whose networks these change."""
    some = lambda kind, *names: {name: network(name, kind) for name in names}
    clips = some(CLIPTextModel, "clip_quick_gelu") | some(CLIPTextModelWithProjection, "clip_projected")
    adapter_fixtures.loras(OUT, write, some(UNet2DConditionModel, "unet_conv", "unet_sdxl"), clips)
    adapter_fixtures.addons(OUT)
    adapter_fixtures.single_file_names(OUT)
    adapter_fixtures.controlnets(OUT, write, shaken, plain, some(UNet2DConditionModel, "unet_conv", "unet_sdxl"))


ALL = dict(unets=unets, vaes=vaes, clips=clips, adapters=adapters, samplers=samplers, noise=noise, prompts=prompts, pictures=pictures, eight=eight)

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for part in PARTS or ALL:
        ALL[part]()
    (OUT / "versions.json").write_text(json.dumps(dict(torch=torch.__version__.split("+")[0], diffusers=diffusers.__version__,
                                                       transformers=transformers.__version__, peft=peft.__version__, numpy=np.__version__)) + "\n")
