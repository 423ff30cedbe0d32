//! Pictures that start from pictures obey the engine's laws: beside others, and taken up again in the middle, they come
//! out as alone, to the bit.

use tintype_types::{Hires, NoiseSource, ResolvedRequest, Sampler};
use tintype_worker::pipeline::{CandlePipeline, Lane as _, Pipeline};

use crate::redrawn::{draw, order, pipeline, redrawing, request};

type Lane = <CandlePipeline as Pipeline>::Lane;

#[test]
fn pictures_from_pictures_come_out_beside_others_as_alone() {
    let mut pipeline = pipeline();
    let model = "tintype/shapes";
    let larger = Hires { width: 128, height: 64, strength: 0.6 };
    let requests = [
        ResolvedRequest { sampler: Sampler::EulerA, noise: NoiseSource::Nv, ..redrawing(model, 0.6, false) },
        ResolvedRequest { hires: Some(larger), steps: 5, ..redrawing(model, 0.8, true) },
        ResolvedRequest { sampler: Sampler::Heun, steps: 4, ..redrawing(model, 1.0, true) },
        ResolvedRequest { hires: Some(larger), sampler: Sampler::Unipc, guidance_rescale: 0.7, ..request(model) },
        ResolvedRequest { guidance_scale: 1.0, steps: 3, ..request(model) },
        ResolvedRequest { width: 128, sampler: Sampler::Dpmpp2m, clip_skip: 1, ..request(model) },
    ];
    let alone: Vec<_> = requests.iter().map(|request| draw(&mut pipeline, request)).collect();
    let mut lanes: Vec<Lane> = requests.iter().map(|request| pipeline.begin(&order(request), 0).unwrap()).collect();
    let mut together = 0;
    // In turns: the first that is not over goes with all that can go with it, then stands at the end of the line.
    let mut line: Vec<usize> = (0..lanes.len()).collect();
    while let Some(first) = line.iter().copied().find(|place| !lanes[*place].is_over()) {
        let chosen: Vec<usize> = (0..lanes.len())
            .filter(|place| *place == first || (!lanes[*place].is_over() && lanes[*place].steps_with(&lanes[first])))
            .collect();
        together = together.max(chosen.len());
        let mut batch: Vec<&mut Lane> =
            lanes.iter_mut().enumerate().filter(|(place, _)| chosen.contains(place)).map(|(_, lane)| lane).collect();
        pipeline.step(&mut batch).unwrap();
        line.retain(|place| *place != first);
        line.push(first);
    }
    assert!(together >= 4, "at most {together} went together");
    for ((lane, alone), request) in lanes.iter().zip(&alone).zip(&requests) {
        assert!(pipeline.finish(lane).unwrap() == *alone, "{:?}", request.sampler);
    }
}

#[test]
fn a_picture_taken_up_in_either_pass_comes_out_as_undisturbed() {
    let mut pipeline = pipeline();
    let hires = Some(Hires { width: 128, height: 64, strength: 0.6 });
    let requests = [
        ResolvedRequest { hires, steps: 5, ..redrawing("tintype/shapes", 0.8, true) },
        ResolvedRequest { hires, steps: 4, sampler: Sampler::EulerA, ..redrawing("tintype/shapes", 0.5, false) },
    ];
    for request in requests {
        let order = order(&request);
        let undisturbed = draw(&mut pipeline, &request);
        let mut lane = pipeline.begin(&order, 0).unwrap();
        while !lane.is_over() {
            pipeline.step(&mut [&mut lane]).unwrap();
            let mut again = pipeline.begin(&order, 0).unwrap();
            again.restore(lane.state()).unwrap();
            assert_eq!(again.progress(), lane.progress());
            lane = again;
        }
        assert!(pipeline.finish(&lane).unwrap() == undisturbed, "{:?}", request.sampler);
    }
}

#[test]
fn another_generator_draws_another_picture_and_the_same_one_the_same() {
    let mut pipeline = pipeline();
    let nv = ResolvedRequest { noise: NoiseSource::Nv, steps: 4, ..request("tintype/shapes") };
    let cpu = ResolvedRequest { noise: NoiseSource::Cpu, ..nv.clone() };
    let first = draw(&mut pipeline, &nv);
    assert_eq!(first, draw(&mut pipeline, &nv));
    assert_ne!(first, draw(&mut pipeline, &cpu));
}
