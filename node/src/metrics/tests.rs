use std::time::Duration;

use super::*;

fn lines(metrics: &Metrics, snapshots: &[Snapshot]) -> Vec<String> {
    metrics.render(snapshots, 0, &Status::alone()).lines().map(str::to_owned).collect()
}

#[test]
fn peers_without_a_name_of_their_own_share_the_label_other() {
    let metrics = Metrics::new(vec![Namespace::parse("/a").expect("a good name")]);
    let shard = Snapshot { named_peers: vec![2], peers: 5, ..Snapshot::default() };
    let lines = lines(&metrics, &[shard.clone(), shard]);
    assert!(
        lines.contains(&r#"dunlin_peers{namespace="/a",transport="websocket"} 4"#.to_owned()),
        "{lines:#?}"
    );
    assert!(lines.contains(&r#"dunlin_peers{namespace="other",transport="websocket"} 6"#.to_owned()));
}

#[test]
fn a_tally_is_taken_over_once() {
    let metrics = Metrics::new(Vec::new());
    let mut tally = Tally { deliveries: 3, closes: vec![1000, 1000, 2345], ..Tally::default() };
    tally.frame(FrameType::Publish);
    for _ in 0..2 {
        metrics.absorb(&mut tally, Moment::default());
    }
    let lines = lines(&metrics, &[]);
    for line in [
        "dunlin_deliveries_total 3",
        r#"dunlin_frames_received_total{type="publish"} 1"#,
        r#"dunlin_frames_received_total{type="hello"} 0"#,
        r#"dunlin_closes_total{code="1000"} 2"#,
        r#"dunlin_closes_total{code="other"} 1"#,
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:#?}");
    }
}

#[test]
fn the_histogram_weighs_each_publication_with_its_deliveries() {
    let metrics = Metrics::new(Vec::new());
    metrics.latency.observe(0, Duration::from_micros(100), 10);
    metrics.latency.observe(0, Duration::from_millis(3), 5);
    metrics.latency.observe(0, Duration::from_mins(1), 1);
    let lines = lines(&metrics, &[]);
    for line in [
        r#"dunlin_delivery_seconds_bucket{le="0.0001"} 10"#,
        r#"dunlin_delivery_seconds_bucket{le="0.0025"} 10"#,
        r#"dunlin_delivery_seconds_bucket{le="0.005"} 15"#,
        r#"dunlin_delivery_seconds_bucket{le="+Inf"} 16"#,
        "dunlin_delivery_seconds_count 16",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:#?}");
    }
}
