//! How often the models that ship follow the prompt, through the REST API: 64 random captions each, judged by their pixels,
//! the same captions and seeds with which diffusers' own pictures from the same weights were judged.

use serde_json::{Value, json};
use tintype_worker::testing::shapes::{Expected, check, decode_png};

use crate::support::up::Up;

/// One line a caption: `colour shape ground: the caption`. Its seed is the line's number, from 0.
const CAPTIONS: &str = include_str!("fixtures/captions.txt");
/// Right in ground, colour and shape, of 64, in diffusers' pictures of each model (DPM++ 2M Karras, 20 steps).
const DIFFUSERS: [(&str, usize); 2] = [("tintype/shapes", 59), ("tintype/shapes-xl", 63)];

#[tokio::test]
async fn captions_are_followed_as_often_as_with_diffusers() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    for (model, with_diffusers) in DIFFUSERS {
        let requests = (0..).zip(CAPTIONS.lines()).map(|(seed, line)| {
            let (_, caption) = line.split_once(": ").unwrap();
            json!({ "model": model, "prompt": caption, "seed": seed, "sampler": "dpmpp-2m-karras", "steps": 20 })
        });
        let pictures = up.pictures(requests.collect::<Vec<Value>>()).await;
        let right =
            std::iter::zip(CAPTIONS.lines(), &pictures).filter(|(line, picture)| is_right(line, picture)).count();
        assert_eq!(pictures.len(), 64);
        assert!(right >= with_diffusers, "{model}: {right} of 64 are right; with diffusers {with_diffusers} are");
    }
    up.stop().await;
}

fn is_right(line: &str, picture: &[u8]) -> bool {
    let (expected, _) = line.split_once(": ").unwrap();
    let words: Vec<&str> = expected.split(' ').collect();
    let image = decode_png(picture).expect("the file is a PNG");
    check(&image, Expected { colour: words[0], shape: words[1], ground: words[2] }).all()
}
