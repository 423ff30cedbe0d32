//! What a body must keep to before anything else looks at it, and what a finish's pictures must be.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tintype_store::{Store, StoreError, image_key};
use tintype_types::limits::{IMAGE_BYTES_MAX, IMAGES_MAX, PREVIEW_BYTES_MAX, SEED_MAX, SIDE_PX_MAX};
use tintype_types::worker::{Claim, Finish, Gpu, Outcome, Renew, ThrottleReason, Unwell, WarmUpStanding};
use tintype_types::{Attempt, ErrorCode, ImageFormat, JobId, Output, Preview};

use crate::answer::Refusal;

/// Longest name, in bytes: that of a Kubernetes object.
const NAME_BYTES_MAX: usize = 253;
/// Most GPUs one worker may own.
const GPUS_MAX: usize = 64;
/// Most models a claim may name in one list.
const MODELS_MAX: usize = 1_024;
/// Most jobs a worker may ask for at once.
const SLOTS_MAX: u32 = 1_024;
/// Longest message of a failure; the rest is cut off, as losing the failure for its length would be worse.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Reads a JSON body.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // serde_json's message names the field and the place, and no value but a short wrong one.
    serde_json::from_slice(bytes)
        .map_err(|e| Refusal::new(ErrorCode::InvalidRequest, format!("the body is not what this call takes: {e}")))
}

/// A job's id in a path: it becomes part of keys and URLs.
pub(crate) fn job(job: &JobId) -> Result<(), Refusal> {
    name("job", job.as_str())?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if job.as_str().starts_with('.') || !job.as_str().bytes().all(allowed) {
        return Err(Refusal::invalid("job", "a job's id has letters, digits, '.', '_' and '-' only"));
    }
    Ok(())
}

/// Checks a claim and cuts what it says of a failure to a bounded length.
pub(crate) fn claim(claim: &mut Claim) -> Result<(), Refusal> {
    let Claim {
        worker,
        boot_id,
        pool,
        gpus: gpu_list,
        resident_models,
        residents,
        loadable_models,
        free_slots,
        wait_ms: _,
        warm_up,
        unwell,
    } = claim;
    name("worker", worker.as_str())?;
    name("bootId", boot_id.as_str())?;
    name("pool", pool.as_str())?;
    gpus(gpu_list)?;
    models("residentModels", resident_models.iter().map(String::as_str))?;
    models("residents", residents.iter().map(|resident| resident.name.as_str()))?;
    models("loadableModels", loadable_models.iter().map(String::as_str))?;
    match warm_up {
        None | Some(WarmUpStanding::Ready) => {}
        Some(
            WarmUpStanding::Loading { model }
            | WarmUpStanding::Failed { model, .. }
            | WarmUpStanding::Superseded { model },
        ) => name("warmUp", model)?,
    }
    if let Some(WarmUpStanding::Failed { message, .. }) = warm_up {
        cut(message);
    }
    if let Some(Unwell { reason: _, message }) = unwell {
        cut(message);
        if *free_slots > 0 {
            return Err(Refusal::invalid("freeSlots", "a worker that is unwell has none"));
        }
    }
    if *free_slots > SLOTS_MAX {
        return Err(Refusal::invalid("freeSlots", format!("{free_slots} is too many; at most {SLOTS_MAX}")));
    }
    Ok(())
}

pub(crate) fn renew(renew: &Renew) -> Result<(), Refusal> {
    let Renew { worker, boot_id, step, steps, gpus: gpu_list, previews: shown } = renew;
    name("worker", worker.as_str())?;
    name("bootId", boot_id.as_str())?;
    gpus(gpu_list)?;
    if step > steps {
        return Err(Refusal::invalid("step", format!("step {step} is beyond the {steps} there are")));
    }
    previews(shown)
}

/// Previews go on to browsers as they are: none is larger than it may be, and none is anything but base64.
fn previews(previews: &[Preview]) -> Result<(), Refusal> {
    if previews.len() > IMAGES_MAX as usize {
        return Err(Refusal::invalid("previews", format!("there is one a picture, so {IMAGES_MAX} at most")));
    }
    let data_max = (PREVIEW_BYTES_MAX as usize).div_ceil(3) * 4;
    for Preview { image, step: _, format: _, data } in previews {
        if *image >= IMAGES_MAX {
            return Err(Refusal::invalid("previews", format!("no job has a picture {image}")));
        }
        if data.len() > data_max {
            return Err(Refusal::invalid("previews", format!("a preview has at most {PREVIEW_BYTES_MAX} bytes")));
        }
        let text = data.trim_end_matches('=');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        if text.is_empty() || data.len() - text.len() > 2 || !text.bytes().all(allowed) {
            return Err(Refusal::invalid("previews", "a preview's data is base64"));
        }
    }
    Ok(())
}

/// Checks a finish and brings it into its canonical form: pictures in their order, a message of bounded length.
pub(crate) fn finish(finish: &mut Finish, job: &JobId, attempt: Attempt) -> Result<(), Refusal> {
    name("worker", finish.worker.as_str())?;
    name("bootId", finish.boot_id.as_str())?;
    match &mut finish.outcome {
        Outcome::Done { outputs: reported } => {
            *reported = outputs(std::mem::take(reported), job, attempt)?;
        }
        Outcome::Preempted { checkpoint: Some(left) } if !is_sha256(&left.sha256) => {
            return Err(Refusal::invalid("checkpoint", "sha256 is 64 lower-case hex digits"));
        }
        Outcome::Preempted { .. } => {}
        Outcome::Failed { message, .. } => {
            cut(message);
        }
    }
    Ok(())
}

fn cut(message: &mut String) {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
    }
}

/// Whether the pictures are no more than were asked for (where that is known) and all in the store. Fewer are charged as
/// fewer.
pub(crate) async fn stored(outputs: &[Output], asked: Option<u32>, store: &Store) -> Result<(), Refusal> {
    if let Some(asked) = asked.filter(|asked| outputs.len() > *asked as usize) {
        let message = format!("{} pictures are reported, only {asked} were asked for", outputs.len());
        return Err(Refusal::invalid("outputs", message));
    }
    for output in outputs {
        let found = store.stat(&output.key).await.map_err(|e| store_failed(&e))?;
        match found {
            Some(meta) if meta.bytes == output.bytes => {}
            Some(meta) => {
                let message = format!("{} has {} bytes in the store, not {}", output.key, meta.bytes, output.bytes);
                return Err(Refusal::invalid("outputs", message));
            }
            None => {
                let message = format!("{} is not in the store; upload it before the finish", output.key);
                return Err(Refusal::invalid("outputs", message));
            }
        }
    }
    Ok(())
}

fn outputs(reported: Vec<Output>, job: &JobId, attempt: Attempt) -> Result<Vec<Output>, Refusal> {
    let count = u32::try_from(reported.len()).unwrap_or(u32::MAX);
    if count == 0 || count > IMAGES_MAX {
        return Err(Refusal::invalid("outputs", format!("an attempt ends with 1 to {IMAGES_MAX} pictures")));
    }
    // The format is the first key's: only keys of the format asked for were signed, so no other has a picture behind it.
    let keys = |format: &ImageFormat| -> BTreeMap<String, u32> {
        (0..count).map(|n| (image_key(job, attempt, n, *format), n)).collect()
    };
    let first = reported.first().map_or("", |output| output.key.as_str());
    let keys = ImageFormat::ALL.iter().map(keys).find(|keys| keys.contains_key(first)).unwrap_or_default();
    let mut ordered = BTreeMap::new();
    for output in reported {
        let Some(n) = keys.get(&output.key) else {
            return Err(Refusal::invalid(
                "outputs",
                "a key is not one of those this attempt was given, in order from 0",
            ));
        };
        picture(&output)?;
        ordered.insert(*n, output);
    }
    if ordered.len() != keys.len() {
        return Err(Refusal::invalid("outputs", "a key is reported twice"));
    }
    Ok(ordered.into_values().collect())
}

fn picture(output: &Output) -> Result<(), Refusal> {
    let Output { key: _, sha256, bytes, width, height, seed } = output;
    if !is_sha256(sha256) {
        return Err(Refusal::invalid("outputs", "sha256 is 64 lower-case hex digits"));
    }
    let side = 1..=SIDE_PX_MAX;
    if !(1..=IMAGE_BYTES_MAX).contains(bytes) || !side.contains(width) || !side.contains(height) || *seed > SEED_MAX {
        return Err(Refusal::invalid("outputs", "a picture's bytes, width, height or seed is out of bounds"));
    }
    Ok(())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn gpus(gpus: &[Gpu]) -> Result<(), Refusal> {
    if gpus.len() > GPUS_MAX {
        return Err(Refusal::invalid("gpus", format!("{} GPUs are too many; at most {GPUS_MAX}", gpus.len())));
    }
    let long = |gpu: &Gpu| {
        let names = [Some(&gpu.uuid), Some(&gpu.name), gpu.mig_of.as_ref()];
        names.into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX)
    };
    if gpus.iter().any(long) {
        return Err(Refusal::invalid("gpus", format!("a name has more than {NAME_BYTES_MAX} bytes")));
    }
    if gpus.iter().any(|gpu| gpu.throttle_reasons.len() > ThrottleReason::ALL.len()) {
        return Err(Refusal::invalid("gpus", "throttleReasons says one of them twice"));
    }
    Ok(())
}

fn models<'a>(param: &str, mut models: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Refusal> {
    if models.len() > MODELS_MAX {
        return Err(Refusal::invalid(param, format!("{} models are too many; at most {MODELS_MAX}", models.len())));
    }
    models.try_for_each(|model| name(param, model))
}

fn name(param: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let message = format!("a name has 1 to {NAME_BYTES_MAX} bytes and no control characters");
        return Err(Refusal::invalid(param, message));
    }
    Ok(())
}

fn store_failed(error: &StoreError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "the store could not be asked for a picture");
    Refusal::new(ErrorCode::Unavailable, "the store could not be asked for the pictures; repeat the call")
}

#[cfg(test)]
mod tests {
    use tintype_types::FailureReason;

    use tintype_types::worker::UnwellReason;

    use super::*;

    type Spoil = fn(&mut Claim);

    #[test]
    fn claims_out_of_bounds_are_refused_and_the_field_is_named() {
        let cases: [(&str, Spoil); 13] = [
            ("worker", |c| c.worker = "".into()),
            ("worker", |c| c.worker = "a\nb".into()),
            ("bootId", |c| c.boot_id = "x".repeat(254).into()),
            ("pool", |c| c.pool = "".into()),
            ("gpus", |c| c.gpus = vec![Gpu::default(); 65]),
            ("gpus", |c| c.gpus = vec![Gpu { name: "x".repeat(254), ..Gpu::default() }]),
            ("gpus", |c| c.gpus = vec![Gpu { mig_of: Some("x".repeat(254)), ..Gpu::default() }]),
            ("gpus", |c| {
                c.gpus = vec![Gpu { throttle_reasons: vec![ThrottleReason::GpuIdle; 10], ..Gpu::default() }];
            }),
            ("freeSlots", |c| c.unwell = Some(Unwell { reason: UnwellReason::Hot, message: String::new() })),
            ("residentModels", |c| c.resident_models = vec!["m".to_owned(); 1_025]),
            ("loadableModels", |c| c.loadable_models = vec!["x".repeat(254)]),
            ("freeSlots", |c| c.free_slots = 1_025),
            ("warmUp", |c| c.warm_up = Some(WarmUpStanding::Loading { model: String::new() })),
        ];
        assert_eq!(claim(&mut good_claim()), Ok(()));
        for (param, spoil) in cases {
            let mut spoilt = good_claim();
            spoil(&mut spoilt);
            let refusal = claim(&mut spoilt).unwrap_err();
            assert!(format!("{refusal:?}").contains(&format!("{param:?}")), "{refusal:?}");
        }
    }

    #[test]
    fn previews_out_of_bounds_are_refused() {
        let good = Preview { image: 9, step: 3, format: ImageFormat::Jpeg, data: "ab+/".repeat(4 << 10) };
        assert_eq!(previews(&vec![good.clone(); 10]), Ok(()));
        assert_eq!(previews(&[Preview { data: "QQ==".to_owned(), ..good.clone() }]), Ok(()));
        let data = |data: &str| Preview { data: data.to_owned(), ..good.clone() };
        let long = data(&"A".repeat((16 << 10) + 1));
        let spoilt = ["", "==", "A===", "\"onerror=", "a b", "a\n", "é"].map(data);
        for bad in spoilt.into_iter().chain([long, Preview { image: 10, ..good.clone() }]) {
            let refusal = previews(&[bad]).unwrap_err();
            assert!(format!("{refusal:?}").contains("previews"), "{refusal:?}");
        }
        assert!(previews(&vec![good; 11]).is_err());
    }

    #[test]
    fn pictures_are_put_in_order_and_foreign_keys_are_refused() {
        let (id, attempt) = (JobId::from("j"), Attempt(2));
        let picture = |key: &str| Output {
            key: key.to_owned(),
            sha256: "ab".repeat(32),
            bytes: 3,
            width: 64,
            height: 64,
            seed: 1,
        };
        let report = |outputs: Vec<Output>| {
            let outcome = Outcome::Done { outputs };
            let mut report = Finish { worker: "w".into(), boot_id: "b".into(), outcome, gpu_ms: 1 };
            finish(&mut report, &id, attempt).map(|()| report.outcome)
        };
        let (first, second) = (picture("jobs/j/2/0.png"), picture("jobs/j/2/1.png"));
        let ordered = report(vec![second.clone(), first.clone()]).unwrap();
        assert_eq!(ordered, Outcome::Done { outputs: vec![first.clone(), second.clone()] });
        let webp = picture("jobs/j/2/0.webp");
        assert_eq!(report(vec![webp.clone()]).unwrap(), Outcome::Done { outputs: vec![webp.clone()] });
        for bad in [
            vec![],
            vec![webp, second.clone()],
            vec![picture("jobs/j/2/0.gif")],
            vec![second.clone()],
            vec![first.clone(), first.clone()],
            vec![picture("jobs/j/1/0.png")],
            vec![picture("jobs/other/2/0.png")],
            vec![Output { sha256: "AB".repeat(32), ..first.clone() }],
            vec![Output { bytes: 0, ..first.clone() }],
            vec![Output { width: 100_000, ..first.clone() }],
            vec![Output { seed: u64::MAX, ..first.clone() }],
            vec![first; 11],
        ] {
            assert!(report(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_and_the_failure_kept() {
        let message = "é".repeat(2_000);
        let outcome = Outcome::Failed { reason: FailureReason::Internal, message, retryable: true };
        let mut report = Finish { worker: "w".into(), boot_id: "b".into(), outcome, gpu_ms: 1 };
        finish(&mut report, &"j".into(), Attempt(1)).unwrap();
        let Outcome::Failed { message, .. } = report.outcome else { panic!("the outcome changed") };
        assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn job_ids_that_could_leave_their_place_are_refused() {
        assert!(job(&"0b7e-1.x_Y".into()).is_ok());
        for bad in ["", "..", ".x", "a/b", "a b", "ä", "a\0"] {
            assert!(job(&bad.into()).is_err(), "{bad:?}");
        }
    }

    fn good_claim() -> Claim {
        Claim {
            worker: "w".into(),
            boot_id: "b".into(),
            pool: "p".into(),
            gpus: vec![Gpu::default(); 64],
            resident_models: vec!["m".to_owned(); 1_024],
            residents: Vec::new(),
            loadable_models: Vec::new(),
            free_slots: 1,
            wait_ms: u64::MAX,
            warm_up: None,
            unwell: None,
        }
    }
}
