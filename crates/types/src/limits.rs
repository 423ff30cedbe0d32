//! Limits that several programs must agree on. A limit of one program stays in that program.

/// Most characters (not bytes) in a prompt or a negative prompt.
pub const PROMPT_CHARS_MAX: u32 = 4_000;
/// Widest and highest picture. Above it the VAE alone wants more memory than a 24 GiB card has.
pub const SIDE_PX_MAX: u32 = 2_048;
/// Smallest side; every model here works on latents an eighth of this, and 8 by 8 is the least that makes sense.
pub const SIDE_PX_MIN: u32 = 64;
/// Sides are whole multiples of this: the VAE's factor of 8 times the UNet's three halvings.
pub const SIDE_PX_MULTIPLE: u32 = 64;
/// Most denoising steps a picture may take.
pub const STEPS_MAX: u32 = 150;
/// Most pictures one request may ask for (OpenAI's own limit for `n`).
pub const IMAGES_MAX: u32 = 10;
/// Highest guidance scale accepted; beyond it pictures only burn.
pub const GUIDANCE_MAX: f64 = 30.0;
/// Largest seed: what every JSON reader can hold exactly (2^53 - 1).
pub const SEED_MAX: u64 = 9_007_199_254_740_991;
/// Attempts that may fail before a job does. Attempts lost to a drain or a preemption do not count.
pub const FAILED_ATTEMPTS_MAX: u32 = 3;
/// Highest and lowest priority of a job.
pub const PRIORITY_MAX: i32 = 1_000;
/// See [`PRIORITY_MAX`].
pub const PRIORITY_MIN: i32 = -1_000;
/// Longest a claim may be held open, in milliseconds. Stays under common proxies' idle limits.
pub const CLAIM_WAIT_MS_MAX: u64 = 55_000;
/// Largest picture a worker may upload, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// Largest preview of a picture that is being drawn, in bytes of the file. Ten of them, in base64, go with one renewal.
pub const PREVIEW_BYTES_MAX: u32 = 12 << 10;
/// Longest side of a preview, in pixels.
pub const PREVIEW_SIDE_PX_MAX: u32 = 128;
/// Largest checkpoint of a job, in bytes: ten pictures of the largest size and what any sampler remembers of them take 50
/// MiB.
pub const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;
/// Most LoRAs in one request: each adds its own products to every layer it changes.
pub const LORAS_MAX: u32 = 8;
/// Most ControlNets in one request: each is half a denoiser more at every step.
pub const CONTROLS_MAX: u32 = 4;
/// Furthest weight of a LoRA or ControlNet from 0; beyond it pictures only break.
pub const ADAPTER_WEIGHT_MAX: f64 = 4.0;
/// Most layers left off the end of a text encoder.
pub const CLIP_SKIP_MAX: u32 = 8;
/// Longest store key of an input picture, in bytes.
pub const IMAGE_KEY_BYTES_MAX: u32 = 512;
/// Largest input picture a user may upload, in bytes.
pub const INPUT_BYTES_MAX: u64 = 16 << 20;
/// Most pixels of an input picture. It is scaled to the result's size, which has at most a quarter of these.
pub const INPUT_PIXELS_MAX: u64 = 4_096 * 4_096;
