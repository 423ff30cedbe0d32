//! `gpu-worker generate` as a person runs it: the real program, its files, its words and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tintype_worker::images::{Filter, Mask, decode, resize};
use tintype_worker::output::RgbImage;
use tintype_worker::testing::shapes::{Expected, check, decode_png};

#[test]
fn a_picture_is_drawn_and_shows_what_was_asked_for() {
    let place = Place::new();
    let signed = ["--prompt", "a red circle on a blue background", "--seed", "7", "--c2pa", "on", "--out", "x.png"];
    let drawn = place.run(&signed);
    assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
    assert_eq!(String::from_utf8(drawn.stdout).unwrap(), "x.png  64x64  seed 7\n");
    let file = place.read("x.png");
    let image = decode_png(&file).unwrap();
    assert!(check(&image, Expected { colour: "red", shape: "circle", ground: "blue" }).all());
    // A worker's finish: settings inside, signed.
    for word in ["Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras", "caBX", "trainedAlgorithmicMedia"] {
        assert!(holds(&file, word), "no {word} in the file");
    }
    assert!(!place.0.path().join("x.png.part").exists());
}

#[test]
fn flags_say_how_many_in_what_form_and_with_what_inside() {
    let place = Place::new();
    let drawn = place.run(&[
        "--prompt",
        "a green square on white",
        "--seed",
        "3",
        "--images",
        "2",
        "--steps",
        "3",
        "--sampler",
        "euler",
        "--guidance",
        "2.5",
        "--width",
        "128",
        "--out",
        "two.webp",
        "--no-parameters",
    ]);
    assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
    let said = String::from_utf8(drawn.stdout).unwrap();
    assert_eq!(said, "two-1.webp  128x64  seed 3\ntwo-2.webp  128x64  seed 4\n");
    let (first, second) = (place.read("two-1.webp"), place.read("two-2.webp"));
    assert!(first.starts_with(b"RIFF") && first != second);
    assert!(!holds(&first, "green"));
    let again = place.run(&[
        "--prompt",
        "a green square on white",
        "--seed",
        "4",
        "--steps",
        "3",
        "--sampler",
        "euler",
        "--guidance",
        "2.5",
        "--width",
        "128",
        "--out",
        "one.webp",
        "--no-parameters",
    ]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(place.read("one.webp"), second, "the next picture takes the next seed");
}

#[test]
fn bf16_draws_where_the_processor_has_it_and_is_refused_elsewhere() {
    let place = Place::new();
    let draw = |precision: &str, out: &str| {
        place.run(&["--prompt", "a red circle on white", "--seed", "3", "--precision", precision, "--out", out])
    };
    let (exact, short, wrong) = (draw("f32", "exact.png"), draw("bf16", "short.png"), draw("fp8", "wrong.png"));
    let half = draw("f16", "half.png");
    assert_eq!(exact.status.code(), Some(0), "{}", stderr(&exact));
    if tintype_worker::kernels::Precision::Bf16.checked().is_ok() {
        assert_eq!(short.status.code(), Some(0), "{}", stderr(&short));
        assert_ne!(place.read("exact.png"), place.read("short.png"));
    } else {
        assert_eq!(short.status.code(), Some(2));
        assert!(stderr(&short).contains("AVX512-BF16"), "{}", stderr(&short));
    }
    assert_eq!(half.status.code(), Some(2));
    assert!(stderr(&half).contains("f16 is for GPUs"), "{}", stderr(&half));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("it is f32, bf16 or f16"), "{}", stderr(&wrong));
}

#[test]
fn a_lora_by_its_file_changes_the_picture_and_weight_0_does_not() {
    let place = Place::new();
    let night = models().join("shapes-night");
    let plain = ["--prompt", "a red circle on a blue background", "--seed", "7", "--no-parameters"];
    let drawn = |out: &str, lora: Option<f64>| {
        let value = lora.map(|weight| format!("{}:{weight}", night.display()));
        let lora: Vec<&str> = value.iter().flat_map(|value| ["--lora", value.as_str()]).collect();
        let drawn = place.run(&[&plain[..], &["--out", out], &lora].concat());
        assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
        decode_png(&place.read(out)).unwrap()
    };
    let without = drawn("without.png", None);
    assert_eq!(drawn("zero.png", Some(0.0)), without);
    let image = drawn("night.png", Some(1.0));
    assert!(check(&image, Expected { colour: "red", shape: "circle", ground: "black" }).all());
}

#[test]
fn a_picture_to_start_from_shines_through_by_its_strength_and_where_the_mask_keeps_it() {
    let place = Place::new();
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let (ground, mask) = (fixture("ground.png"), fixture("ground_mask.png"));
    let file = |path: &Path| decode("init", &std::fs::read(path).unwrap()).unwrap();
    let own = resize(&file(&ground), 64, 64, Filter::Lanczos);
    let drawn = |strength: &str, more: &[&str]| {
        let (out, init) = ("x.png", ground.display().to_string());
        let flags = ["--prompt", "a red circle on a blue background", "--seed", "3", "--init", &init, "--out", out];
        let drawn = place.run(&[&flags[..], &["--strength", strength], more].concat());
        assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
        decode_png(&place.read(out)).unwrap()
    };
    let off = |image: &RgbImage| {
        let off = image.pixels.iter().zip(&own.pixels).map(|(a, b)| f64::from(a.abs_diff(*b)));
        off.sum::<f64>() / own.pixels.len() as f64
    };
    let (little, much) = (off(&drawn("0.2", &[])), off(&drawn("1", &[])));
    assert!(little < 20.0 && little * 2.0 < much, "{little} off at strength 0.2, {much} at 1");
    let masked = drawn("0.9", &["--mask", &mask.display().to_string()]);
    let redrawn = Mask::of(&file(&mask), 64, 64, 8).pixels;
    let changed: Vec<bool> =
        std::iter::zip(masked.pixels.chunks(3), own.pixels.chunks(3)).map(|(drawn, own)| drawn != own).collect();
    assert!(changed.iter().zip(&redrawn).all(|(changed, redrawn)| *redrawn || !changed), "what is kept has changed");
    let inside = changed.iter().filter(|changed| **changed).count() * 10 / redrawn.iter().filter(|it| **it).count();
    assert!(inside >= 9, "of ten pixels to be redrawn {inside} were");
}

#[test]
fn a_second_pass_is_as_large_as_it_says_and_shows_the_same() {
    let place = Place::new();
    let flags = ["--prompt", "a red circle on a blue background", "--seed", "7", "--hires", "128x128:0.4"];
    let drawn = place.run(&[&flags[..], &["--out", "x.png"]].concat());
    assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
    assert_eq!(String::from_utf8(drawn.stdout).unwrap(), "x.png  128x128  seed 7\n");
    let image = resize(&decode_png(&place.read("x.png")).unwrap(), 64, 64, Filter::Box);
    assert!(check(&image, Expected { colour: "red", shape: "circle", ground: "blue" }).all());
}

#[test]
fn a_wrong_flag_is_named_with_the_way_out() {
    let place = Place::new();
    std::fs::create_dir(place.0.path().join("folder")).unwrap();
    std::fs::write(place.0.path().join("notes.txt"), "no picture").unwrap();
    let models = models().display().to_string();
    let empty = place.0.path().display().to_string();
    let cases: [(&[&str], &[&str]); 21] = [
        (&["--steps", "0"], &["--steps", "1"]),
        (&["--width", "100"], &["--width", "64"]),
        (&["--guidance", "99"], &["--guidance", "30"]),
        (&["--sampler", "karras"], &["--sampler", "dpmpp-2m-karras"]),
        (&["--out", "x.gif"], &["--out", ".webp", "--format"]),
        (&["--out", "folder"], &["--out"]),
        (&["--out", "nowhere/x.png"], &["--out", "make it first"]),
        (&["--model", &models], &["--model", "tintype/shapes-xl", "name one"]),
        (&["--model", &empty], &["--model", "model_index.json"]),
        (&["--lora", "nowhere.safetensors:1"], &["--lora", "nowhere.safetensors"]),
        (&["--lora", &models], &["--lora", "holds"]),
        (&["--control", "nowhere"], &["--control", "hint.png"]),
        (&["--init", "nowhere.png"], &["--init", "nowhere.png"]),
        (&["--init", "notes.txt"], &["init", "PNG, JPEG or WebP"]),
        (&["--init", "notes.txt", "--strength", "1.5"], &["strength", "1"]),
        (&["--init", "notes.txt", "--mask", "nowhere.png"], &["--mask", "nowhere.png"]),
        (&["--strength", "0.5"], &["--init"]),
        (&["--hires", "big"], &["--hires", "1024x1024:0.55"]),
        (&["--hires", "100x128"], &["--hires", "64"]),
        (&["--c2pa-key", "x"], &["--c2pa-cert"]),
        (&["--safety-filter", "x"], &["--safety-filter", "command:PATH"]),
    ];
    for (flags, words) in cases {
        let refused = place.run(&[&["--prompt", "x", "--out", "x.png"][..], flags].concat());
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
        assert!(!place.0.path().join("x.png").exists());
    }
}

#[test]
fn a_lora_for_another_model_is_refused_by_its_file_and_said_once() {
    let place = Place::new();
    let model = models().join("shapes-xl").display().to_string();
    let night = models().join("shapes-night").display().to_string();
    let refused = place.run(&["--prompt", "x", "--model", &model, "--lora", &night, "--out", "x.png"]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("is for Stable Diffusion 1.x").count(), 1, "{said}");
    assert!(!place.0.path().join("x.png").exists());
}

#[test]
fn a_filter_that_refuses_leaves_no_file() {
    let place = Place::new();
    let refused =
        place.run(&["--prompt", "x", "--steps", "1", "--out", "x.png", "--safety-filter", "command:/bin/false"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("held back"), "{}", stderr(&refused));
    assert!(!place.0.path().join("x.png").exists());
}

#[test]
fn a_key_that_cannot_be_used_is_told_before_anything_is_drawn() {
    let place = Place::new();
    let key = ["--c2pa", "on", "--c2pa-key", "nowhere.key", "--c2pa-cert", "nowhere.pem"];
    let refused = place.run(&[&["--prompt", "x", "--steps", "1", "--out", "x.png"][..], &key].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("nowhere.key") && stderr(&refused).contains("--c2pa off"),
        "{}",
        stderr(&refused)
    );
    assert!(!place.0.path().join("x.png").exists());
}

#[test]
fn without_the_command_it_is_a_worker_still() {
    let ran = Command::new(env!("CARGO_BIN_EXE_gpu-worker")).env_clear().output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("--dispatch-url"), "{}", stderr(&ran));
    let ran = Command::new(env!("CARGO_BIN_EXE_gpu-worker"))
        .env_clear()
        .args(["--dispatch-url", "ftp://host", "--token-file", "/nowhere", "--models-dir", "/nowhere"])
        .output();
    let ran = ran.unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("http://"), "{}", stderr(&ran));
}

/// A folder to draw in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Runs the command there; a flag that comes twice takes its last value.
    fn run(&self, flags: &[&str]) -> Output {
        let mut words: Vec<(String, Vec<String>)> = vec![("--model".into(), vec![shapes().display().to_string()])];
        for word in flags {
            if word.starts_with("--") {
                words.retain(|(flag, _)| flag != word);
                words.push(((*word).to_owned(), Vec::new()));
            } else if let Some((_, values)) = words.last_mut() {
                values.push((*word).to_owned());
            }
        }
        let words = words.into_iter().flat_map(|(flag, values)| std::iter::once(flag).chain(values));
        Command::new(env!("CARGO_BIN_EXE_gpu-worker"))
            .arg("generate")
            .args(words)
            .env_clear()
            .env("HOME", self.0.path())
            // A signature is new each time; most tests compare whole files.
            .env("TINTYPE_C2PA", "off")
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn holds(file: &[u8], word: &str) -> bool {
    file.windows(word.len()).any(|window| window == word.as_bytes())
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn shapes() -> PathBuf {
    models().join("shapes")
}
