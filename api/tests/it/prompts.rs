//! Searching prompts by the database's own index of words, whether a picture is in it yet or waits.

use serde_json::{Value, json};

use crate::gallery::{draw, ids, listed};
use crate::rig::{Rig, until};

#[tokio::test]
async fn words_are_found_begun_in_part_or_misspelt_among_ones_own_whether_the_index_has_them_yet_or_not() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.user().await, rig.user().await);
    for prompt in ["A Gondola at 7:30, (cinematic:1.2)", "two gondolas ++ caf\u{e9}", "\u{732b}\u{304c} a dragon"] {
        draw(&rig, &ada, json!({ "prompt": prompt })).await;
    }
    draw(&rig, &eve, json!({ "prompt": "gondola lighthouse" })).await;
    let all = listed(&ada, "").await;
    let [dragon, two, one] = [&all[0], &all[1], &all[2]];
    // What is asked for, and what is found of what waits for the index; it takes no word for another.
    let asked: [(&str, &[&String], bool); 16] = [
        ("gondola", &[two, one], true),
        ("GOND", &[two, one], true),
        ("ondol", &[two, one], true),
        ("gondola%207:30", &[one], true),
        ("gondola%20dragon", &[], true),
        ("cinema", &[one], true),
        ("1.2", &[one], true),
        ("lighthouse", &[], true),
        ("%2B%2B", &[two], true),
        ("%2B%2B%20gondola", &[two], true),
        ("CAF%C3%89", &[two], true),
        ("%E7%8C%AB", &[dragon], true),
        ("%E7%8C%AB%E3%81%8C%20dragon", &[dragon], true),
        ("gondlas", &[two, one], false),
        ("dargon", &[dragon], false),
        ("cafe%20gondoal", &[two], false),
    ];
    let check = async |found_by_text_alone: bool, state: &str| {
        for (query, expected, in_text) in &asked {
            let expected: &[&String] = if *in_text || !found_by_text_alone { expected } else { &[] };
            let found = listed(&ada, &format!("q={query}")).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}, {state}");
        }
        let days = ada.get("/api/v1/images/days?q=gondola").await;
        assert_eq!((&days.body["data"][0]["images"], &days.body["data"][1]), (&json!(2), &Value::Null), "{state}");
    };
    let held = wait_for_the_index(&rig, &all).await;
    check(true, "while all wait").await;
    held.rollback().await.unwrap();
    indexed(&rig).await;
    check(false, "in the index").await;
    let held = wait_for_the_index(&rig, std::slice::from_ref(two)).await;
    assert_eq!(listed(&ada, "q=gondola").await, [two.clone(), one.clone()], "one waits");
    let page = ada.get("/api/v1/images?q=gondola&limit=1").await;
    let next = format!("q=gondola&limit=1&cursor={}", page.body["next"].as_str().unwrap());
    assert_eq!((ids(&page), listed(&ada, &next).await), (vec![two.clone()], vec![one.clone()]));
    let days = ada.get("/api/v1/images/days?q=gondola").await;
    assert_eq!(days.body["data"][0]["images"], 2, "one waits");
    held.rollback().await.unwrap();
}

/// Has these pictures wait for the index of words, and keeps them there.
async fn wait_for_the_index(rig: &Rig, images: &[String]) -> sqlx::Transaction<'static, sqlx::Postgres> {
    const RESET: &str = "update image_words set words = null where image = any($1::text[]::uuid[])";
    const HOLD: &str =
        "select words is null from image_words where image = any($1::text[]::uuid[]) for update skip locked";
    until("they wait", || async {
        sqlx::query(RESET).bind(images).execute(&rig.pool).await.unwrap();
        let mut tx = rig.pool.begin().await.unwrap();
        let held: Vec<bool> = sqlx::query_scalar(HOLD).bind(images).fetch_all(&mut *tx).await.unwrap();
        (held == vec![true; images.len()]).then_some(tx)
    })
    .await
}

/// Waits until no picture waits for the index of words.
async fn indexed(rig: &Rig) {
    const WAITING: &str = "select count(*) from image_words where words is null";
    until("all are in the index", || async {
        let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&rig.pool).await.unwrap();
        (waiting == 0).then_some(())
    })
    .await;
}
