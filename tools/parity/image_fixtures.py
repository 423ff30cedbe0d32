#!/usr/bin/env python3
"""Writes the fixtures of everything that starts from a picture: see make_fixtures.py, whose arguments it takes.

    python image_fixtures.py ../../gpu-worker/tests/fixtures ../../models [part ...]
"""
import inspect, json
import numpy as np
import torch
import diffusers
from PIL import Image
import make_fixtures as base
from make_fixtures import OUT, PARTS
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel


def starts():
    """Runs that leave out their first steps, as img2img pipelines make them: how picture and noise are mixed before each
    evaluation, and where the closed-form model of `samplers` leads. LMS is left out: diffusers weighs slopes it has not got."""
    D = diffusers
    kinds = {"ddim": (D.DDIMScheduler, dict(clip_sample=False)), "ddpm": (D.DDPMScheduler, dict(clip_sample=False)),
             "euler": (D.EulerDiscreteScheduler, {}), "euler-a": (D.EulerAncestralDiscreteScheduler, {}),
             "heun": (D.HeunDiscreteScheduler, {}), "dpmpp2m": (D.DPMSolverMultistepScheduler, {}),
             "dpmpp-sde": (D.DPMSolverSDEScheduler, {}), "unipc": (D.UniPCMultistepScheduler, {}),
             "pndm": (D.PNDMScheduler, dict(skip_prk_steps=True)), "lcm": (D.LCMScheduler, {}), "tcd": (D.TCDScheduler, {})}
    karras = ("euler", "heun", "dpmpp2m", "dpmpp-sde", "unipc")
    shape = (1, 4, 2, 2)
    picture = torch.randn(shape, generator=torch.Generator().manual_seed(11))
    unit = torch.randn(shape, generator=torch.Generator().manual_seed(12))
    cases = []
    for solver, (make, more) in kinds.items():
        for levels in ("own", "karras") if solver in karras else ("own",):
            for prediction, steps, strength in (("epsilon", 20, 0.8), ("v_prediction", 20, 0.35), ("epsilon", 7, 0.3), ("epsilon", 10, 1.0)):
                config = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                              prediction_type=prediction, timestep_spacing="leading", steps_offset=1)
                flags = {} if levels == "own" else {f"use_{levels}_sigmas": True}
                s = make(**config, **more, **flags)
                s.set_timesteps(steps)
                start = max(steps - min(int(steps * strength), steps), 0)
                timesteps = s.timesteps[start * s.order:]
                if hasattr(s, "set_begin_index"):
                    s.set_begin_index(start * s.order)
                g = torch.Generator().manual_seed(5)
                if solver == "dpmpp-sde":
                    s.noise_sampler = lambda a, b: torch.randn(shape, generator=g)
                takes = dict(generator=g) if "generator" in inspect.signature(s.step).parameters else {}
                one, none, mixes = torch.ones(1), torch.zeros(1), []
                x = s.add_noise(picture, unit, timesteps[:1])
                for t in timesteps:
                    at = t.reshape(1)
                    mixes.append([float(s.add_noise(one, none, at)), float(s.add_noise(none, one, at))])
                    seen = s.scale_model_input(x, t)
                    x = s.step(torch.sin(3 * seen + float(t) / 500) * 0.7 + seen / 4, t, x, **takes).prev_sample
                cases.append(dict(solver=solver, levels=levels, steps=steps, strength=strength, config=dict(config, set_alpha_to_one=solver not in ("pndm",)),
                                  timesteps=[float(t) for t in timesteps], mixes=mixes, end=[float(v) for v in x.flatten()]))
    flat = lambda t: [float(v) for v in t.flatten()]
    doc = dict(picture=flat(picture), noise=flat(unit))
    lines = ",\n".join(json.dumps(c) for c in cases)
    text = '{"picture": %s, "noise": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(doc["picture"]), json.dumps(doc["noise"]), lines)
    (OUT / "starts.json").write_text(text)
    print("starts.json:", len(text), "bytes,", len(cases), "cases")


def zero_snr():
    """Models whose last level is pure noise (Lin et al., 2023): betas rescaled, v prediction, trailing levels."""
    D = diffusers
    start = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(9))
    cases = []
    for solver, make, more in (("ddim", D.DDIMScheduler, dict(clip_sample=False)), ("ddpm", D.DDPMScheduler, dict(clip_sample=False)),
                               ("euler", D.EulerDiscreteScheduler, {}), ("euler-a", D.EulerAncestralDiscreteScheduler, {}),
                               ("dpmpp2m", D.DPMSolverMultistepScheduler, {}), ("unipc", D.UniPCMultistepScheduler, {})):
        config = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                      prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True)
        s = make(**config, **more)
        s.set_timesteps(12)
        g = torch.Generator().manual_seed(5)
        takes = dict(generator=g) if "generator" in inspect.signature(s.step).parameters else {}
        x = start * s.init_noise_sigma
        for t in s.timesteps:
            seen = s.scale_model_input(x, t)
            x = s.step(torch.sin(3 * seen + float(t) / 500) * 0.7 + seen / 4, t, x, **takes).prev_sample
        cases.append(dict(solver=solver, config=config, init_noise=float(s.init_noise_sigma), timesteps=[float(t) for t in s.timesteps],
                          end=[float(v) for v in x.flatten()]))
    lines = ",\n".join(json.dumps(c) for c in cases)
    (OUT / "zero_snr.json").write_text('{"start": %s,\n"cases": [\n%s\n]}\n' % (json.dumps([float(v) for v in start.flatten()]), lines))


def autoencoder(name, seed, old_names, batch, height, width, **config):
    """Encoder and decoder of one small autoencoder, whole and in tiles of its `sample_size`."""
    model = base.shaken(diffusers.AutoencoderKL(in_channels=3, out_channels=3, **config), seed)
    g = torch.Generator().manual_seed(seed + 100)
    x = torch.rand(batch, 3, height, width, generator=g) * 2 - 1
    factor, scale = 2 ** (len(config["block_out_channels"]) - 1), model.config.scaling_factor
    z = torch.randn(batch, config["latent_channels"], height // factor, width // factor, generator=g)
    with torch.no_grad():
        whole = model.encode(x).latent_dist
        out = dict(x=x, z=z, mode=whole.mode() * scale,
                   sample=whole.sample(generator=torch.Generator().manual_seed(7)) * scale, decoded=model.decode(z / scale).sample)
        model.enable_tiling()
        assert model.tile_latent_min_size < z.shape[-1]
        out.update(tiled_mode=model.encode(x).latent_dist.mode() * scale, tiled=model.decode(z / scale).sample)
        assert not torch.equal(out["tiled"], out["decoded"])
    weights = model.state_dict()
    if old_names:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            weights = {k.replace(f".{new}.", f".{old}."): v for k, v in weights.items()}
    base.write(name, {**{f"weights.{k}": v for k, v in weights.items()}, **out}, base.plain(model.config))


def autoencoders():
    blocks = lambda n: dict(down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n)
    autoencoder("autoencoder", 21, False, 2, 28, 40, latent_channels=4, sample_size=16, block_out_channels=(4, 8), layers_per_block=1,
                norm_num_groups=2, scaling_factor=0.7, **blocks(2))
    autoencoder("autoencoder_old", 22, True, 1, 40, 44, latent_channels=3, sample_size=32, block_out_channels=(4, 4, 6), layers_per_block=2,
                norm_num_groups=2, scaling_factor=0.18215, use_quant_conv=False, use_post_quant_conv=False, **blocks(3))


def scaled():
    """What Pillow makes of a small picture at other sizes, by Lanczos (diffusers' filter) and box."""
    rng = np.random.default_rng(4)
    source = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    source[2:5, 3:9] = (255, 0, 128)                          # an edge, for overshoot
    image = Image.fromarray(source)
    cases = [dict(width=w, height=h, filter=name, pixels=np.asarray(image.resize((w, h), kind)).flatten().tolist())
             for w, h in ((13, 9), (26, 9), (5, 4), (8, 16), (1, 1), (31, 20)) for name, kind in (("lanczos", Image.LANCZOS), ("box", Image.BOX))]
    doc = dict(width=13, height=9, pixels=source.flatten().tolist(), cases=cases)
    (OUT / "scaled.json").write_text(json.dumps(doc) + "\n")


def files():
    """One smooth picture as JPEG, progressive JPEG, JPEG lying on its side, grey JPEG, lossy and lossless WebP with a hole."""
    y, x = np.mgrid[0:24, 0:32]
    picture = np.stack([x * 7, y * 9, 255 - x * 4 - y * 3], -1).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(picture)
    image.save(OUT / "upright.png")
    image.save(OUT / "baseline.jpg", quality=97, subsampling=0)
    image.save(OUT / "progressive.jpg", quality=97, progressive=True, subsampling=2)
    image.convert("L").save(OUT / "grey.jpg", quality=97)
    lying = image.transpose(Image.ROTATE_90)                  # stored so that tag 6, a quarter to the right, mends it
    exif = Image.Exif()
    exif[274] = 6
    lying.save(OUT / "lying.jpg", quality=97, subsampling=0, exif=exif.tobytes())
    lying.save(OUT / "lying.png", exif=exif.tobytes())
    image.save(OUT / "lossy.webp", quality=95)
    alpha = np.full((24, 32, 1), 255, np.uint8)
    alpha[:, 16:] = 0
    Image.fromarray(np.concatenate([picture, alpha], -1)).save(OUT / "hole.webp", lossless=True, exact=True)


def drawn_by_hand():
    """A picture to start from and a mask, neither of the size that is drawn: a yellow square on green, its middle redrawn."""
    y, x = np.mgrid[0:80, 0:100]
    square = (x > 28) & (x < 72) & (y > 18) & (y < 62)
    picture = np.where(square[..., None], (230, 210, 40), np.stack([30 + x // 4, 150 - y // 2, 60 + x * 0], -1)).astype(np.uint8)
    mask = (((x - 50) ** 2 + (y - 40) ** 2 < 24 ** 2) * 255).astype(np.uint8)
    Image.fromarray(picture).save(OUT / "ground.png")
    Image.fromarray(mask).save(OUT / "ground_mask.png")
    return Image.open(OUT / "ground.png").convert("RGB"), Image.open(OUT / "ground_mask.png")


def sampler_of(name, config):
    D, karras = diffusers, name.endswith("-karras")
    kind = {"ddim": D.DDIMScheduler, "euler": D.EulerDiscreteScheduler, "euler-a": D.EulerAncestralDiscreteScheduler,
            "heun": D.HeunDiscreteScheduler, "unipc": D.UniPCMultistepScheduler, "pndm": D.PNDMScheduler,
            "ddpm": D.DDPMScheduler, "dpmpp-2m": D.DPMSolverMultistepScheduler}[name.removesuffix("-karras")]
    more = dict(use_karras_sigmas=karras) if "use_karras_sigmas" in inspect.signature(kind.__init__).parameters else {}
    if "clip_sample" in inspect.signature(kind.__init__).parameters:
        more["clip_sample"] = False
    if kind is D.PNDMScheduler:
        more["skip_prk_steps"] = True
    return kind.from_config(config, **more)


def inpainting_folder():
    """A UNet of nine channels beside the other parts of the small model, with random weights."""
    shapes = base.SHAPES
    text = json.loads((shapes / "text_encoder/config.json").read_text())["hidden_size"]
    unet = base.shaken(diffusers.UNet2DConditionModel(sample_size=8, in_channels=9, out_channels=4, layers_per_block=1, block_out_channels=(4, 8),
                       cross_attention_dim=text, attention_head_dim=2, norm_num_groups=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                       up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")), 31)
    whole("unet_nine", unet, base.plain(unet.config))
    return unet


def whole(name, model, config):
    """Weights in half precision under their own names, to be put into a model's folder; the config in the metadata."""
    model.half().float()
    path = OUT / f"{name}.safetensors"
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items() if "position_ids" not in k}, path, metadata={"config": json.dumps(config)})
    print(f"{name}: {path.stat().st_size} bytes")


def redrawn():
    """The two small models' pictures that start from a picture, by diffusers' img2img and inpainting pipelines."""
    D = diffusers
    init, mask = drawn_by_hand()
    cases = []
    nine = inpainting_folder()
    runs = [("shapes", s, k, m) for s, k, m in (("dpmpp-2m-karras", 0.6, False), ("euler-a", 0.8, False), ("ddim", 0.35, False), ("heun", 0.5, False),
            ("unipc", 0.75, False), ("euler", 1.0, False), ("ddpm", 0.55, False), ("dpmpp-2m-karras", 1.0, True), ("euler-a", 0.75, True),
            ("heun", 0.6, True), ("ddim", 0.9, True), ("unipc", 0.5, True))]
    runs += [("shapes-xl", "euler", 0.6, False), ("shapes-xl", "dpmpp-2m-karras", 0.8, True), ("nine", "euler", 1.0, True), ("nine", "ddim", 0.7, True)]
    for model, sampler, strength, masked in runs:
        kinds = {("shapes", False): D.StableDiffusionImg2ImgPipeline, ("shapes", True): D.StableDiffusionInpaintPipeline, ("nine", True): D.StableDiffusionInpaintPipeline,
                 ("shapes-xl", False): D.StableDiffusionXLImg2ImgPipeline, ("shapes-xl", True): D.StableDiffusionXLInpaintPipeline}
        folder = base.MODELS / ("shapes" if model == "nine" else model)
        pipe = kinds[model, masked].from_pretrained(str(folder), torch_dtype=torch.float32, **(dict(unet=nine) if model == "nine" else {}))
        pipe.scheduler = sampler_of(sampler, pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        more = dict(image=init, mask_image=mask, height=64, width=64) if masked else dict(image=init.resize((64, 64), Image.LANCZOS))
        image = pipe("a red circle on a blue background", negative_prompt="green", num_inference_steps=10, guidance_scale=3.0, strength=strength,
                     generator=torch.Generator().manual_seed(3), **more).images[0]
        name = f"redrawn_{len(cases)}.png"
        image.save(OUT / name)
        cases.append(dict(model=model, sampler=sampler, strength=strength, masked=masked, file=name))
    (OUT / "redrawn.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


def sd2():
    """A folder as Stable Diffusion 2's, small and random: an OpenCLIP text encoder whose last layer is left off, heads by block,
    linear projections, v prediction. The tokenizer and the autoencoder are the small model's."""
    shapes = base.SHAPES
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(str(shapes), torch_dtype=torch.float32)
    vocab = len(pipe.tokenizer)
    config = CLIPTextConfig(vocab_size=vocab, hidden_size=12, intermediate_size=24, num_hidden_layers=2, num_attention_heads=3, hidden_act="gelu",
                            projection_dim=12, max_position_embeddings=77, bos_token_id=pipe.tokenizer.bos_token_id, eos_token_id=pipe.tokenizer.eos_token_id,
                            pad_token_id=0)
    pipe.text_encoder = base.shaken(CLIPTextModel(config), 41)
    pipe.unet = base.shaken(diffusers.UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(4, 8),
                            cross_attention_dim=12, attention_head_dim=[1, 4], norm_num_groups=2, use_linear_projection=True, upcast_attention=True,
                            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")), 42)
    whole("sd2_text", pipe.text_encoder, config.to_dict())
    whole("sd2_unet", pipe.unet, base.plain(pipe.unet.config))
    pipe.scheduler = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
                                             steps_offset=1, prediction_type="v_prediction")
    pipe.set_progress_bar_config(disable=True)
    for name, more in (("sd2.png", {}), ("sd2_rescaled.png", dict(guidance_rescale=0.7))):
        pipe("a red circle on a blue background", negative_prompt="green", num_inference_steps=8, guidance_scale=5.0, height=64, width=64,
             generator=torch.Generator().manual_seed(0), **more).images[0].save(OUT / name)


def tiny_decoder():
    """A TAESD as diffusers' AutoencoderTiny has it, small and random; its weights under their own names, to be put into a folder."""
    model = diffusers.AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(6, 6, 6, 6), decoder_block_out_channels=(6, 6, 6, 6),
                                      num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(2, 1, 1, 1))
    model = base.shaken(model, 51)
    z = torch.randn(1, 4, 5, 7, generator=torch.Generator().manual_seed(52))
    with torch.no_grad():
        y = model.decode(z).sample
    weights = {k: v for k, v in model.state_dict().items() if k.startswith("decoder.")}
    base.write("taesd", {**weights, "z": z, "y": y}, base.plain(model.config))


ALL = dict(starts=starts, zero_snr=zero_snr, autoencoders=autoencoders, scaled=scaled, files=files, redrawn=redrawn, sd2=sd2, tiny_decoder=tiny_decoder)

if __name__ == "__main__":
    for part in PARTS or ALL:
        ALL[part]()
