//! Pictures that start from a picture, through the REST API, and what who watches sees: read from the pixels.

use serde_json::{Value, json};
use tintype_worker::output::RgbImage;
use tintype_worker::testing::shapes::{Expected, check, decode_png};

use crate::support::up::Up;

/// Side of the pictures, in pixels.
const SIDE: usize = 64;
/// The colours of the picture that is started from: an orange square on white.
const GROUND: [u8; 3] = [255, 255, 255];
const SQUARE: [u8; 3] = [255, 140, 0];

#[tokio::test]
async fn a_picture_shines_through_by_its_strength_and_a_mask_keeps_it_to_the_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let own = painted(|x, y| if middle(x, y) { SQUARE } else { GROUND });
    let (left, image) = (|x: usize, _| x < SIDE / 2, up.upload(encoded(&own)).await);
    let mask = up.upload(encoded(&painted(|x, y| if left(x, y) { [255; 3] } else { [0; 3] }))).await;
    let request = |strength: f64, mask: Option<&str>| {
        let mut init = json!({ "image": image, "strength": strength });
        if let Some(mask) = mask {
            init["mask"] = mask.into();
        }
        json!({
            "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1, "init": init
        })
    };
    let plain = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1 });
    let requests = vec![plain, request(0.2, None), request(0.8, None), request(1.0, Some(&mask))];
    let pictures: Vec<RgbImage> =
        up.pictures(requests).await.iter().map(|file| decode_png(file).expect("the file is a PNG")).collect();
    let [plain, little, much, masked] = &pictures[..] else { panic!("four pictures") };
    assert!(check(plain, Expected { colour: "red", shape: "circle", ground: "blue" }).all());
    assert!(off(little, &own) < 30.0, "at 0.2 it is {} from what it starts from", off(little, &own));
    assert!(off(little, &own) * 1.5 < off(much, &own), "{} at 0.2, {} at 0.8", off(little, &own), off(much, &own));
    let changed = |x: usize, y: usize| pixel(masked, x, y) != pixel(&own, x, y);
    let all = || (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
    let kept = all().filter(|(x, y)| !left(*x, *y));
    assert_eq!(kept.filter(|(x, y)| changed(*x, *y)).count(), 0, "pixels the mask keeps have changed");
    let redrawn = all().filter(|(x, y)| left(*x, *y) && changed(*x, *y)).count();
    assert!(redrawn > SIDE * SIDE / 2 * 8 / 10, "only {redrawn} pixels were redrawn");
    up.stop().await;
}

#[tokio::test]
async fn who_watches_a_job_sees_its_picture_come() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let request = json!({
        "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1, "steps": 150, "images": 2
    });
    let job = up.rest.post("/api/v1/jobs", request).await;
    // The stream ends with the job.
    let told = up.rest.bytes(&format!("/api/v1/jobs/{}/events", job["id"].as_str().unwrap())).await;
    let told = String::from_utf8(told).unwrap();
    let events: Vec<Value> = told
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let previews: Vec<&Value> = events.iter().filter_map(|event| event["previews"].as_array()).flatten().collect();
    assert!(previews.len() >= 2, "{} previews in {} events", previews.len(), events.len());
    for preview in previews {
        assert_eq!(preview["format"], "jpeg");
        // The first bytes of a JPEG, in base64.
        assert!(preview["data"].as_str().unwrap().starts_with("/9j/"), "{preview}");
        assert!(preview["data"].as_str().unwrap().len() <= 16 << 10);
    }
    let last = events.last().unwrap();
    assert_eq!((&last["state"], last.get("previews")), (&json!("Complete"), None));
    let log = up.running.log();
    assert!(!log.contains("/9j/"), "a picture is in the log");
    up.stop().await;
}

fn middle(x: usize, y: usize) -> bool {
    let inside = SIDE / 4..SIDE * 3 / 4;
    inside.contains(&x) && inside.contains(&y)
}

fn painted(colour: impl Fn(usize, usize) -> [u8; 3]) -> RgbImage {
    let pixels = (0..SIDE * SIDE).flat_map(|at| colour(at % SIDE, at / SIDE)).collect();
    RgbImage { width: SIDE as u32, height: SIDE as u32, pixels }
}

fn pixel(image: &RgbImage, x: usize, y: usize) -> &[u8] {
    &image.pixels[(y * SIDE + x) * 3..][..3]
}

fn off(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.pixels.len(), b.pixels.len());
    std::iter::zip(&a.pixels, &b.pixels).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.pixels.len() as f64
}

fn encoded(image: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&image.pixels).unwrap();
    file
}
