//! A traced job's waits and assignments, as the collector sees them; and what its workers are given to go on with.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

mod rig;

use std::time::Duration;

use rig::{Rig, Runner, failed};
use tintype_otlp_receiver::{Received, Receiver};
use tintype_telemetry::{Telemetry, TelemetryArgs};
use tintype_types::{FailureReason, Traceparent};

const LIMIT: Duration = Duration::from_secs(30);
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn each_attempt_has_waited_and_hangs_below_its_assignment() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let receiver = Receiver::start().await;
    let args = TelemetryArgs { otlp_endpoint: Some(receiver.url()), trace_ratio: 1.0 };
    let telemetry = Telemetry::open(&args, "tintype-test", &prometheus::Registry::new()).unwrap();
    let rig = Rig::start_with(None, &telemetry);
    rig.lead().await;
    let (traced, untraced) = (rig.record.add("traced", 1), rig.record.add("untraced", 1));
    rig.record.trace(&traced, GIVEN.parse().unwrap());

    let worker = Runner::new("w1", "b1");
    let mut given: Vec<(u32, Traceparent)> = Vec::new();
    while given.len() < 2 {
        let assignment = rig.assigned(&worker).await;
        assert_eq!(assignment.job == untraced, assignment.traceparent.is_none());
        given.extend(assignment.traceparent.map(|part_of| (assignment.attempt.0, part_of)));
        let outcome = if given.len() == 1 && assignment.job == traced {
            failed(FailureReason::OutOfMemory, true)
        } else {
            rig.draw(&assignment).await
        };
        assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200);
    }

    let spans = receiver.until(LIMIT, |spans| spans.len() == 4).await;
    assert!(spans.iter().all(|span| span.trace == GIVEN[3..35] && span.parent == GIVEN[36..52]), "{spans:#?}");
    let find = |name: &str, attempt: u32| -> &Received {
        let attempt = attempt.to_string();
        spans.iter().find(|span| span.name == name && span.attributes["attempt"] == attempt).unwrap()
    };
    for (attempt, part_of) in &given {
        let (wait, assignment) = (find("queue wait", *attempt), find("assignment", *attempt));
        assert_eq!(part_of.to_string(), format!("00-{}-{}-01", assignment.trace, assignment.span));
        assert!(wait.end <= assignment.start && assignment.start <= assignment.end);
        assert_eq!(
            (assignment.attributes["worker.id"].as_str(), assignment.attributes["job.id"].as_str()),
            ("w1", "traced")
        );
    }
    assert!(find("queue wait", 1).start < find("queue wait", 2).start);
    assert!(
        find("assignment", 1).end <= find("queue wait", 2).start,
        "the second wait began when the first attempt ended"
    );
}
