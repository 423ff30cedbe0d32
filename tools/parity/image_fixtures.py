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


def autoencoder(name, seed, old_names, height, width, **config):
    """Encoder and decoder of one small autoencoder, whole and in tiles of its `sample_size`."""
    model = base.shaken(diffusers.AutoencoderKL(in_channels=3, out_channels=3, **config), seed)
    g = torch.Generator().manual_seed(seed + 100)
    x = torch.rand(2, 3, height, width, generator=g) * 2 - 1
    factor, scale = 2 ** (len(config["block_out_channels"]) - 1), model.config.scaling_factor
    z = torch.randn(2, config["latent_channels"], height // factor, width // factor, generator=g)
    with torch.no_grad():
        whole = model.encode(x).latent_dist
        noise = torch.randn(whole.mean.shape, generator=torch.Generator().manual_seed(7))
        out = dict(x=x, z=z, noise=noise, mode=whole.mode() * scale,
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
    autoencoder("autoencoder", 21, False, 28, 40, latent_channels=4, sample_size=16, block_out_channels=(4, 8), layers_per_block=1,
                norm_num_groups=2, scaling_factor=0.7, **blocks(2))
    autoencoder("autoencoder_old", 22, True, 40, 44, latent_channels=3, sample_size=32, block_out_channels=(4, 4, 6), layers_per_block=2,
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


ALL = dict(starts=starts, autoencoders=autoencoders, scaled=scaled, files=files)

if __name__ == "__main__":
    for part in PARTS or ALL:
        ALL[part]()
