//! Runs that leave out their first steps.

use serde::Deserialize;
use tintype_worker::rng::Mt19937;
use tintype_worker::samplers::{Levels, NoiseSchedule, Recipe, SamplerRun, ScheduleConfig, Solver, steps_of_strength};

use crate::common::near;
use crate::read;

#[derive(Deserialize)]
struct Starts {
    picture: Vec<f32>,
    noise: Vec<f32>,
    cases: Vec<Start>,
}

#[derive(Deserialize)]
struct Start {
    solver: Solver,
    levels: Levels,
    steps: u32,
    strength: f64,
    config: ScheduleConfig,
    timesteps: Vec<f32>,
    mixes: Vec<[f32; 2]>,
    end: Vec<f32>,
}

#[test]
fn samplers_start_in_the_middle_as_diffusers_does() {
    let Starts { picture, noise: unit, cases } = read("starts.json");
    assert_eq!(cases.len(), 64);
    for case in cases {
        let recipe = Recipe { solver: case.solver, levels: case.levels };
        let name = format!("{recipe:?}, {} steps at {}", case.steps, case.strength);
        let schedule = NoiseSchedule::new(case.config.clone()).unwrap();
        let taken = steps_of_strength(case.steps, case.strength);
        let mut run = SamplerRun::starting_at(recipe, &schedule, case.steps, case.steps - taken).unwrap();
        assert_eq!((run.steps(), run.done()), (taken as usize, 0), "{name}");
        let mut noise = Mt19937::new(5);
        let mut latent = run.mixture().of(&picture, &unit);
        for (timestep, [of_picture, of_noise]) in case.timesteps.iter().zip(&case.mixes) {
            near(&format!("level of {name}"), &[run.timestep().unwrap()], &[*timestep], 1e-6);
            let mixture = run.mixture();
            near(&format!("mixture of {name}"), &[mixture.picture, mixture.noise], &[*of_picture, *of_noise], 1e-6);
            let output: Vec<f32> = run
                .model_input(&latent)
                .iter()
                .map(|seen| (3.0 * seen + timestep / 500.0).sin() * 0.7 + seen / 4.0)
                .collect();
            run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
            run.step(&output, &mut latent, |len| noise.randn(len));
        }
        assert_eq!((run.timestep(), run.done()), (None, taken as usize), "{name}");
        near(&format!("end of {name}"), &latent, &case.end, 1e-4);
    }
}

#[test]
fn a_run_with_nothing_to_redraw_is_over_before_it_begins() {
    let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
    let mut run = SamplerRun::starting_at(Solver::Heun, &schedule, 5, 5).unwrap();
    assert_eq!((run.timestep(), run.steps(), run.done()), (None, 0, 0));
    let mut latent = run.mixture().of(&[0.5, -2.0], &[1.0, 1.0]);
    assert_eq!(latent, [0.5, -2.0], "no noise is added");
    run.step(&[9.0, 9.0], &mut latent, |_| unreachable!("no noise is asked for"));
    assert_eq!(latent, [0.5, -2.0]);
    assert_eq!([0.0, 0.19, 0.2, 0.55, 1.0].map(|strength| steps_of_strength(5, strength)), [0, 0, 1, 2, 5]);
}

#[derive(Deserialize)]
struct ZeroSnr {
    start: Vec<f32>,
    cases: Vec<ZeroSnrCase>,
}

#[derive(Deserialize)]
struct ZeroSnrCase {
    solver: Solver,
    config: ScheduleConfig,
    init_noise: f32,
    timesteps: Vec<f32>,
    end: Vec<f32>,
}

#[test]
fn models_whose_last_level_is_pure_noise_are_walked_as_diffusers_does() {
    let ZeroSnr { start, cases } = read("zero_snr.json");
    assert_eq!(cases.len(), 6);
    for ZeroSnrCase { solver, config, init_noise, timesteps, end } in cases {
        let schedule = NoiseSchedule::new(config).unwrap();
        let mut run = SamplerRun::new(solver, &schedule, 12).unwrap();
        near("levels", run.timesteps(), &timesteps, 1e-6);
        near("first noise", &[run.init_noise()], &[init_noise], 1e-5);
        let mut noise = Mt19937::new(5);
        let mut latent: Vec<f32> = start.iter().map(|value| value * run.init_noise()).collect();
        while let Some(timestep) = run.timestep() {
            let output: Vec<f32> = run
                .model_input(&latent)
                .iter()
                .map(|seen| (3.0 * seen + timestep / 500.0).sin() * 0.7 + seen / 4.0)
                .collect();
            run.step(&output, &mut latent, |len| noise.randn(len));
        }
        near(&format!("end of {solver:?}"), &latent, &end, 1e-4);
    }
}
