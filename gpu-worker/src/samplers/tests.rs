//! What parity with diffusers (`tests/parity.rs`) does not show: refusals, and laws that hold for every sampler.

use tintype_types::Sampler;

use super::*;

#[test]
fn a_model_that_knows_the_answer_is_walked_to_it() {
    // With the true noise told at every step, each sampler must end at the picture itself.
    let picture = [0.5_f32, -1.0, 2.0, 0.0];
    for prediction_type in [Prediction::Epsilon, Prediction::VPrediction] {
        let config = ScheduleConfig { prediction_type, steps_offset: 1, ..ScheduleConfig::default() };
        let schedule = NoiseSchedule::new(config).unwrap();
        // TCD leaps to the first trained level, not to no noise at all; PNDM mixes outputs, which only as noise are the
        // same at each level.
        let exact = |sampler: &Sampler| {
            *sampler != Sampler::Tcd && (*sampler != Sampler::Pndm || prediction_type == Prediction::Epsilon)
        };
        for sampler in Sampler::ALL.into_iter().filter(exact) {
            for steps in [1, 2, 5, 50] {
                for skipped in [0, 1, steps / 2, steps] {
                    // PNDM goes over its first step twice, which after steps left out does not add up; so in diffusers.
                    if sampler == Sampler::Pndm && skipped > 0 {
                        continue;
                    }
                    let run = SamplerRun::starting_at(sampler, &schedule, steps, skipped).unwrap();
                    let name = format!("{sampler:?}, {prediction_type:?}, {steps} but {skipped}");
                    arrives(run, &schedule, &picture, &name);
                }
            }
        }
    }
}

/// Walks from noise, or from the noised picture after steps left out, to the picture.
fn arrives(mut run: SamplerRun, schedule: &NoiseSchedule, picture: &[f32], name: &str) {
    let mut latent = if run.skipped == 0 && run.steps() > 0 {
        vec![run.init_noise(); picture.len()]
    } else {
        run.mixture().of(picture, &[1.0, -0.5, 0.25, 2.0])
    };
    while let Some(timestep) = run.timestep() {
        let output = truth(&run, schedule, timestep, &latent, picture);
        for (got, wanted) in run.estimate(&output, &latent).iter().zip(picture) {
            assert!((got - wanted).abs() < 2e-3, "{name}: {got} is shown for {wanted}");
        }
        run.step(&output, &mut latent, |len| vec![0.5; len]);
    }
    assert_eq!(run.done(), run.steps(), "{name}");
    for (got, wanted) in latent.iter().zip(picture) {
        assert!((got - wanted).abs() < 2e-3, "{name}: {latent:?}");
    }
}

#[test]
fn a_number_of_steps_the_model_has_no_levels_for_is_refused() {
    let schedule = NoiseSchedule::new(ScheduleConfig { num_train_timesteps: 10, ..ScheduleConfig::default() }).unwrap();
    for steps in [0, 10, 151, u32::MAX] {
        let error = SamplerRun::new(Sampler::Euler, &schedule, steps).unwrap_err();
        assert_eq!(error, ScheduleError::Steps { steps, max: 9 });
    }
    assert!(SamplerRun::new(Sampler::Dpmpp2m, &schedule, 9).is_ok());
}

#[test]
fn what_a_sampler_cannot_take_is_refused() {
    let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
    for levels in [Levels::Karras, Levels::Exponential, Levels::Beta, Levels::SgmUniform] {
        let error = SamplerRun::new(Recipe { solver: Solver::Ddim, levels }, &schedule, 20).unwrap_err();
        assert!(error.to_string().contains("ddim"), "{error}");
        assert!(SamplerRun::new(Recipe { solver: Solver::EulerA, levels }, &schedule, 20).is_ok());
    }
    let error = SamplerRun::new(Solver::Lcm, &schedule, 51).unwrap_err();
    assert_eq!(error, ScheduleError::Steps { steps: 51, max: 50 });
}

#[test]
fn the_documented_pairs_are_those_there_are_and_each_is_held_by_what_it_says() {
    let document = include_str!("../../../docs/SAMPLERS.md");
    let fixture: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/samplers.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
    let names = |cell: &str| -> Vec<Sampler> {
        let word = |name: &str| name.to_lowercase().replace("++", "pp").replace(' ', "-");
        let known = |name: &str| Sampler::ALL.into_iter().find(|sampler| sampler.as_str() == word(name));
        cell.split(", ").map(|name| known(name).unwrap_or_else(|| panic!("{name} is no sampler"))).collect()
    };
    let mut told = 0;
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| sampler")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 1 + tintype_types::Levels::ALL.len(), "{line}");
        for sampler in names(cells[0]) {
            // In the order of the table's head.
            for (levels, cell) in tintype_types::Levels::ALL.into_iter().zip(&cells[1..]) {
                let recipe = Recipe::of(sampler, levels);
                let name = format!("{} with {} levels", sampler.as_str(), levels.as_str());
                let solver = serde_json::to_value(recipe.solver).unwrap();
                let trailing = recipe.levels == Levels::Trailing;
                let held = cases.iter().any(|case| {
                    case["solver"] == solver
                        && case["levels"]
                            == serde_json::to_value(if trailing { Levels::Own } else { recipe.levels }).unwrap()
                        && (!trailing || case["config"]["timestep_spacing"] == "trailing")
                });
                let runs = SamplerRun::new(recipe, &schedule, 20).is_ok();
                assert_eq!(runs, sampler.takes(levels), "{name}: the wire and the sampler disagree");
                let one_spread = matches!(sampler, Sampler::Lcm | Sampler::Tcd) && trailing;
                match *cell {
                    "D" => assert!(runs && (held || one_spread), "{name} is held by no fixture"),
                    "C" => assert!(runs && !held, "{name} is held by a fixture, or not there"),
                    "-" => assert!(!runs, "{name} is there"),
                    other => panic!("{name}: {other}"),
                }
                told += 1;
            }
        }
    }
    // Two names are another sampler's with Karras levels.
    assert_eq!(told, (Sampler::ALL.len() - 2) * tintype_types::Levels::ALL.len());
}

#[test]
fn evaluations_and_steps_are_told_apart() {
    let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
    let steps_seen = |solver: Solver| {
        let mut run = SamplerRun::new(solver, &schedule, 3).unwrap();
        let mut seen = Vec::new();
        while run.timestep().is_some() {
            run.step(&[0.1], &mut [0.3], |len| vec![0.5; len]);
            seen.push(run.done());
        }
        seen
    };
    assert_eq!(steps_seen(Solver::Euler), [1, 2, 3]);
    assert_eq!(steps_seen(Solver::Heun), [0, 1, 1, 2, 3]);
    assert_eq!(steps_seen(Solver::DpmppSde), [0, 1, 1, 2, 3]);
    assert_eq!(steps_seen(Solver::Pndm), [0, 1, 2, 3]);
}

#[test]
fn sgm_uniform_is_even_in_time_and_leaves_the_first_level_out() {
    let schedule = NoiseSchedule::new(ScheduleConfig::default()).unwrap();
    let recipe = Recipe { solver: Solver::Euler, levels: Levels::SgmUniform };
    let run = SamplerRun::new(recipe, &schedule, 4).unwrap();
    assert_eq!(run.timesteps(), [999.0, 749.25, 499.5, 249.75]);
    assert!((run.sigmas().unwrap()[0] - run.init_noise()).abs() < 1e-6);
}

#[test]
fn a_schedule_that_makes_no_sense_is_refused() {
    let spoilt: [fn(&mut ScheduleConfig); 7] = [
        |c| c.num_train_timesteps = 0,
        |c| c.num_train_timesteps = usize::MAX,
        |c| c.beta_start = -1.0,
        |c| c.beta_end = 2.0,
        |c| c.beta_end = f64::NAN,
        |c| c.trained_betas = Some(vec![0.1]),
        |c| c.rescale_betas_zero_snr = true,
    ];
    for spoil in spoilt {
        let mut config = ScheduleConfig::default();
        spoil(&mut config);
        assert!(matches!(NoiseSchedule::new(config), Err(ScheduleError::Config(_))));
    }
}

#[test]
fn a_published_scheduler_config_is_read() {
    let text = r#"{"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "beta_start": 0.00085, "clip_sample": false, "num_train_timesteps": 1000, "set_alpha_to_one": false,
        "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null}"#;
    let config: ScheduleConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.steps_offset, config.set_alpha_to_one, config.timestep_spacing), (1, false, None));
}

/// What a perfect model says of this latent.
fn truth(run: &SamplerRun, schedule: &NoiseSchedule, timestep: f32, latent: &[f32], picture: &[f32]) -> Vec<f32> {
    // Share of picture and noise in the latent as the model sees it.
    let sigma = match run.sigma() {
        Some(sigma) => f64::from(sigma),
        None => schedule.train_sigmas()[timestep as usize],
    };
    let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
    run.model_input(latent)
        .iter()
        .zip(picture)
        .map(|(seen, picture)| {
            let noise = (f64::from(*seen) - alpha * f64::from(*picture)) / (sigma * alpha);
            match schedule.config.prediction_type {
                Prediction::Epsilon => noise as f32,
                Prediction::VPrediction => (alpha * noise - sigma * alpha * f64::from(*picture)) as f32,
            }
        })
        .collect()
}
