//! Previews: who watches sees the picture come; who does not costs nothing; nothing goes past a safety filter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tintype_types::worker::{Assignment, Outcome, RenewAnswer};
use tintype_types::{ImageFormat, Sampler, Timestamp};
use tintype_worker::images::{Filter, decode, resize};
use tintype_worker::output::RgbImage;
use tintype_worker::testing::shapes::decode_png;

use crate::contract::{self, Contract, Running, assignment};
use crate::stepper::Steps;

/// Two pictures that take long enough to be seen more than once.
fn long_job(job: &str) -> Assignment {
    let mut job = assignment(job, 2);
    (job.request.steps, job.request.sampler) = (100, Sampler::Ddim);
    job.watched = true;
    job
}

/// How far apart two pictures of a size are: the mean over all bytes.
fn off(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.pixels.iter().zip(&b.pixels).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.pixels.len() as f64
}

#[tokio::test]
async fn who_watches_sees_each_picture_come() {
    let contract = Contract::start().await;
    let job = long_job("job-1");
    contract.answer_renewals(Some(RenewAnswer::Continue { lease_end: Timestamp(0), watched: true }));
    contract.give(job.clone());
    let steps = Steps::default();
    let worker = Running::with(&contract, steps.gate(contract::shapes()));
    for halt in [30, 60] {
        steps.allow(30);
        contract.renewed(|renew| renew.previews.iter().any(|preview| preview.step == halt)).await;
    }
    steps.allow(40);
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    worker.drain().await;
    let shown: Vec<_> = contract.renewals().into_iter().flat_map(|renew| renew.previews).collect();
    for image in [0, 1] {
        let of_it: Vec<_> = shown.iter().filter(|preview| preview.image == image).collect();
        // Where it was halted it was looked at again and again.
        assert!(of_it.windows(2).all(|pair| pair[0].step <= pair[1].step), "{of_it:?}");
        assert!(of_it.iter().any(|preview| preview.step < of_it[of_it.len() - 1].step), "picture {image}: {of_it:?}");
        let last = of_it.last().unwrap();
        assert_eq!(last.format, ImageFormat::Jpeg);
        assert!((1..100).contains(&last.step));
        let seen = decode("preview", &STANDARD.decode(&last.data).unwrap()).unwrap();
        let drawn = decode_png(&contract.stored(&job.outputs[image as usize].put_url).bytes).unwrap();
        let drawn = resize(&drawn, seen.width, seen.height, Filter::Box);
        let negative = RgbImage { pixels: drawn.pixels.iter().map(|byte| 255 - byte).collect(), ..drawn.clone() };
        let (right, wrong) = (off(&seen, &drawn), off(&seen, &negative));
        assert!(right < 60.0 && right * 2.0 < wrong, "{right} from the picture, {wrong} from its negative");
    }
}

#[tokio::test]
async fn nobody_is_shown_what_nobody_watches_or_a_filter_has_not_seen() {
    for (watched, flags) in [(false, vec![]), (true, vec!["--safety-filter", "command:/bin/false"])] {
        let contract = Contract::start().await;
        contract.answer_renewals(Some(RenewAnswer::Continue { lease_end: Timestamp(0), watched }));
        let job = Assignment { watched, ..long_job("job-1") };
        contract.give(job);
        let steps = Steps::default();
        let worker = Running::with_flags(&contract, steps.gate(contract::shapes()), &flags);
        for halt in [30, 60] {
            steps.allow(30);
            contract.renewed(|renew| renew.step == 2 * halt).await;
        }
        steps.allow(40);
        contract.finished("job-1").await;
        worker.drain().await;
        let renewals = contract.renewals();
        assert!(renewals.iter().all(|renew| renew.previews.is_empty()), "watched {watched}: {renewals:?}");
    }
}
