//! The LoRA, the ControlNet and the pictures a request names, through the REST API: read from the pixels of what comes
//! back. `gpu-worker/tests` measures the same over more captions, without the API.

use serde_json::{Value, json};
use tintype_worker::output::RgbImage;
use tintype_worker::testing::follow::{apart, ground, hint, overlap, shape};
use tintype_worker::testing::shapes::{decode_png, draw, look};

use crate::support::up::Up;

/// One line a picture: `colour shape ground`. Its seed is the line's number, from 0.
const NIGHT: &str = include_str!("../../gpu-worker/tests/fixtures/night.txt");
/// One line a picture: `colour shape ground size cx cy radius`: 24 places, then six prompts in four corners each.
const FOLLOW: &str = include_str!("../../gpu-worker/tests/fixtures/follow.txt");
/// Darkest ground a picture without the LoRA has, and brightest with it, as a mean of the channels.
const BLACK: u32 = 40;

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `what` is size, colour and shape.
fn caption(what: &str, ground: &str) -> String {
    format!("{} {what} on {} {ground} background", article(what), article(ground))
}

fn off(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.pixels.len(), b.pixels.len());
    std::iter::zip(&a.pixels, &b.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

async fn images(up: &Up, requests: Vec<Value>) -> Vec<RgbImage> {
    up.pictures(requests).await.iter().map(|file| decode_png(file).expect("the file is a PNG")).collect()
}

#[tokio::test]
async fn the_night_lora_blackens_the_ground_in_both_namings_and_by_its_weight_alone() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let variants = [
        json!([]),
        json!([{ "name": "tintype/night", "weight": 0 }]),
        json!([{ "name": "tintype/night" }]),
        json!([{ "name": "tintype/night-kohya" }]),
    ];
    let lines: Vec<Vec<&str>> = NIGHT.lines().take(4).map(|line| line.split(' ').collect()).collect();
    let requests = (0..).zip(&lines).flat_map(|(seed, words)| {
        let prompt = caption(&format!("{} {}", words[0], words[1]), words[2]);
        variants
            .clone()
            .map(|loras| json!({ "model": "tintype/shapes", "prompt": prompt, "seed": seed, "loras": loras }))
    });
    let pictures = images(&up, requests.collect()).await;
    for (words, four) in std::iter::zip(&lines, pictures.chunks_exact(4)) {
        let bright = |image: &RgbImage| ground(image).iter().map(|channel| u32::from(*channel)).sum::<u32>() / 3;
        let [without, zero, peft, kohya] = four else { panic!("four of each") };
        assert!(bright(without) >= BLACK, "{words:?}: without the LoRA the ground is {}", bright(without));
        assert!(off(without, zero) <= 1, "{words:?}: a weight of 0 changed something");
        assert!(bright(peft) < BLACK, "{words:?}: with the LoRA the ground is {}", bright(peft));
        assert!(off(peft, kohya) <= 1, "{words:?}: the two namings are two LoRAs");
    }
    up.stop().await;
}

#[tokio::test]
async fn the_shape_goes_where_the_uploaded_hint_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let (mut requests, mut wanted) = (Vec::new(), Vec::new());
    let places = FOLLOW.lines().take(12).chain(FOLLOW.lines().skip(24).take(8));
    for (n, line) in places.enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let [cx, cy, radius] = [4, 5, 6].map(|at| words[at].parse::<f64>().unwrap());
        let drawn = draw(words[1], (cx, cy), radius, (64, 64));
        let size = if words[3] == "medium" { String::new() } else { format!("{} ", words[3]) };
        let what = format!("{size}{} {}", words[0], words[1]);
        let image = up.upload(encoded(&hint(&drawn, 64))).await;
        requests.push(json!({
            "model": "tintype/shapes", "prompt": caption(&what, words[2]),
            "seed": if n < 12 { n } else { (n - 12) / 4 },
            "controls": [{ "name": "tintype/shapes-control", "image": image }]
        }));
        wanted.push(drawn);
    }
    let made: Vec<Vec<bool>> = images(&up, requests).await.iter().map(shape).collect();
    let mean = std::iter::zip(&made, &wanted).take(12).map(|(made, wanted)| overlap(made, wanted)).sum::<f64>() / 12.0;
    assert!(mean >= 0.85, "mean overlap with the hint {mean}");
    let corners = std::iter::zip(&made, &wanted).skip(12).map(|(made, wanted)| apart(made, wanted, 64));
    let corners: Vec<f64> = corners.collect();
    assert!(corners.iter().all(|apart| *apart <= 2.0), "middles are apart by {corners:?} px");
    up.stop().await;
}

#[tokio::test]
async fn files_come_in_the_format_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let ask = |format: &str| json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1, "format": format });
    let files = up.pictures(["png", "webp", "jpeg"].map(ask).to_vec()).await;
    let begins = |n: usize, magic: &[u8]| assert!(files[n].starts_with(magic), "file {n} begins {:?}", &files[n][..12]);
    begins(0, b"\x89PNG");
    begins(1, b"RIFF");
    begins(2, b"\xff\xd8\xff");
    assert_eq!(look(&decode_png(&files[0]).unwrap()).colour, Some("red"));
    up.stop().await;
}

fn encoded(image: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&image.pixels).unwrap();
    file
}
