//! Taking a run up where another one stopped. All of a run follows from how it was laid out and how far it has come, but
//! for the numbers it remembers; those are what a checkpoint holds, and nothing in it can describe a run that never was.

use super::{Method, SamplerRun};

impl SamplerRun {
    /// Evaluations done.
    pub fn evaluations(&self) -> usize {
        self.index
    }

    /// The numbers remembered from earlier evaluations, in a fixed order; each list is as long as the latent.
    pub fn history(&self) -> Vec<Vec<f32>> {
        let mut run = self.clone();
        run.remembered().into_iter().map(std::mem::take).collect()
    }

    /// A run laid out as this one that has done so many evaluations and remembers these numbers. None if this run is
    /// further already, has no so many evaluations, or would remember another number of lists.
    pub fn resumed(&self, evaluations: usize, history: Vec<Vec<f32>>) -> Option<Self> {
        if evaluations < self.index || evaluations > self.timesteps.len() {
            return None;
        }
        // What is remembered when, and of what order, shows when a run of one number goes as far.
        let mut run = self.clone();
        while run.index < evaluations {
            run.step(&[0.0], &mut [0.0], |len| vec![0.0; len]);
        }
        let places = run.remembered();
        if places.len() != history.len() {
            return None;
        }
        for (place, values) in places.into_iter().zip(history) {
            *place = values;
        }
        Some(run)
    }

    fn remembered(&mut self) -> Vec<&mut Vec<f32>> {
        match &mut self.method {
            Method::Ddim { .. }
            | Method::Ddpm { .. }
            | Method::Euler { .. }
            | Method::EulerA { .. }
            | Method::Lcm { .. }
            | Method::Tcd { .. } => Vec::new(),
            Method::Heun { half, sigmas: _ } => half.iter_mut().flat_map(|(start, slope)| [start, slope]).collect(),
            Method::Dpmpp2m { previous, sigmas: _ } => previous.iter_mut().collect(),
            Method::DpmppSde { start, sigmas: _ } => start.iter_mut().collect(),
            Method::Unipc { memory, sigmas: _ } => memory.lists(),
            Method::Lms { slopes, sigmas: _ } => slopes.iter_mut().collect(),
            Method::Pndm { memory, alphas: _ } => memory.lists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tintype_types::Sampler;

    use crate::samplers::{NoiseSchedule, SamplerRun, ScheduleConfig};

    #[test]
    fn a_run_taken_up_anywhere_ends_as_the_run_left_alone() {
        let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
        let draw = |len: usize| (0..len).map(|place| place as f32 / 7.0 - 0.5).collect::<Vec<_>>();
        let answer = |run: &SamplerRun, latent: &[f32]| -> Vec<f32> {
            run.model_input(latent).iter().map(|value| (value * 1.7).sin()).collect()
        };
        for sampler in Sampler::ALL {
            let fresh = SamplerRun::new(sampler, &schedule, 7).unwrap();
            let mut run = fresh.clone();
            let mut latent = vec![0.9, -2.0, 0.1, 3.0];
            let mut stops = vec![(run.clone(), latent.clone())];
            while run.timestep().is_some() {
                let output = answer(&run, &latent);
                run.step(&output, &mut latent, draw);
                stops.push((run.clone(), latent.clone()));
            }
            for (stopped, mut at) in stops {
                assert!(stopped.history().iter().all(|list| list.len() == 4), "{sampler:?}");
                let mut again = fresh.resumed(stopped.evaluations(), stopped.history()).unwrap();
                assert_eq!(again, stopped, "{sampler:?}");
                while again.timestep().is_some() {
                    let output = answer(&again, &at);
                    again.step(&output, &mut at, draw);
                }
                assert_eq!(at, latent, "{sampler:?}");
            }
        }
    }

    #[test]
    fn a_place_no_run_comes_to_is_refused() {
        let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
        let fresh = SamplerRun::new(Sampler::Lms, &schedule, 7).unwrap();
        assert!(fresh.resumed(8, vec![vec![0.0]; 4]).is_none());
        assert!(fresh.resumed(3, vec![vec![0.0]; 4]).is_none());
        assert!(fresh.resumed(3, Vec::new()).is_none());
        let later = fresh.resumed(3, vec![vec![0.0]; 3]).unwrap();
        assert!(later.resumed(2, vec![vec![0.0]; 2]).is_none());
    }
}
