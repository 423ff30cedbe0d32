//! From what a job asks to what a worker needs: the model's defaults fill the gaps, and a seed is found.

use tintype_crds::GenerationJob;
use tintype_types::{ModelDefaults, ResolvedRequest};

/// Nothing is left to choose, and every attempt at the job gets the same.
pub fn resolve(job: &GenerationJob, defaults: &ModelDefaults) -> ResolvedRequest {
    let seed = seed_of(job.metadata.uid.as_deref().unwrap_or_default());
    job.spec.request.resolve(defaults, seed)
}

/// FNV-1a of the UID, folded to 32 bits: the range every other program offers for seeds.
fn seed_of(uid: &str) -> u64 {
    let hash = uid
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) ^ (hash & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use tintype_crds::GenerationJobSpec;
    use tintype_types::{GenerationRequest, Sampler};

    use super::*;

    #[test]
    fn the_seed_is_the_jobs_own_and_stays() {
        let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Euler };
        let mut job = GenerationJob::new("j", GenerationJobSpec::new(GenerationRequest::new("m", "p")));
        job.metadata.uid = Some("01d1f3f4-c4dc-4dff-9e03-1d62be17495a".to_owned());
        let first = resolve(&job, &defaults);
        assert_eq!(first, resolve(&job, &defaults));
        assert!(u32::try_from(first.seed).is_ok());
        job.metadata.uid = Some("01d1f3f4-c4dc-4dff-9e03-1d62be17495b".to_owned());
        assert_ne!(first.seed, resolve(&job, &defaults).seed);
        job.spec.request.seed = Some(7);
        assert_eq!(resolve(&job, &defaults).seed, 7);
    }
}
