//! What command lines come to.

use dunlin_loadtest::scenario::Mode;

use super::*;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(["dunlin-loadtest"].into_iter().chain(line.split(' '))).unwrap()
}

fn refused(line: &str) -> String {
    Cli::try_parse_from(["dunlin-loadtest"].into_iter().chain(line.split(' '))).unwrap_err().to_string()
}

fn load(cli: &Cli) -> (Shape, &Load) {
    match &cli.command {
        Command::Fanout(load) => (Shape::Fanout, load),
        Command::Topics(load) => (Shape::Topics, load),
        Command::Cross(load) => (Shape::Cross, load),
        other => panic!("{other:?}"),
    }
}

fn cast(line: &str) -> Result<Cast> {
    let cli = parse(line);
    let (shape, load) = load(&cli);
    cli.cast(shape, load)
}

fn course(line: &str) -> Course {
    let cli = parse(line);
    let (shape, load) = load(&cli);
    load.course(&cli.cast(shape, load).unwrap()).unwrap()
}

#[test]
fn the_shapes_differ_in_how_many_there_are() {
    let of = |line| cast(line).map(|cast| (cast.topics.count, cast.peers)).unwrap();
    assert_eq!(of("fanout"), (1, 1000));
    assert_eq!(of("topics"), (1000, 10_000));
    assert_eq!(of("topics --topics 3 --peers 5"), (3, 5));
    assert_eq!(of("cross --publish-url ws://127.0.0.1:1/"), (1, 1000));
}

#[test]
fn cross_needs_to_know_where_to_publish() {
    assert!(cast("cross").unwrap_err().to_string().contains("--publish-url"));
    let cast = cast("cross --publish-url ws://127.0.0.1:1/x").unwrap();
    assert_eq!((cast.publishing.address.port(), cast.target.address.port()), (1, 8080));
}

#[test]
fn a_load_goes_at_a_rate_or_climbs() {
    let Course::Once(plan) = course("fanout") else { panic!() };
    assert_eq!((plan.warmup.as_secs(), plan.duration.as_secs()), (2, 10));
    let Course::Climb(climb) = course("topics --climb --from 10 --limit-p99 50ms --limit-loss 0.01") else {
        panic!()
    };
    assert_eq!((climb.warmup.as_secs(), climb.duration.as_secs()), (1, 4));
    assert_eq!((climb.from, climb.p99_limit.as_millis(), climb.loss_limit), (10.0, 50, 0.01));
    assert!(refused("fanout --climb --rate 5").contains("cannot be used with"));
    assert!(refused("fanout --from 5").contains("--climb"));
}

#[test]
fn an_adapter_brings_its_subprotocol_and_how_it_confirms() {
    let of = |line| cast(line).map(|cast| (cast.answers, cast.target.subprotocol)).unwrap();
    assert_eq!(of("fanout"), (Answers::Ok, None));
    assert_eq!(of("fanout --no-ack"), (Answers::Nothing, None));
    assert_eq!(of("fanout --adapter nchan"), (Answers::Nothing, None));
    assert_eq!(of("fanout --adapter dunlin-msgpack"), (Answers::Ok, Some("dunlin.msgpack.v1".to_owned())));
    assert_eq!(of("fanout --adapter dunlin-msgpack --subprotocol x").1, Some("x".to_owned()));
    assert!(refused("fanout --adapter mqtt").contains("socket-io"));
}

#[test]
fn strangers_are_asked_first() {
    assert!(cast("fanout --url ws://192.0.2.1:80/").unwrap_err().to_string().contains("--allow-remote"));
    assert!(cast("fanout --url ws://192.0.2.1:80/ --allow-remote").is_ok());
}

#[test]
fn only_answers_can_be_waited_for_without_subscribers() {
    let cli = parse("fanout --peers 0 --rate 0");
    let (shape, nobody) = load(&cli);
    assert!(nobody.course(&cli.cast(shape, nobody).unwrap()).is_err());
    assert!(matches!(
        course("fanout --peers 0 --rate 0 --answered"),
        Course::Once(plan) if plan.pace.asks()
    ));
}

#[test]
fn agents_are_counted_or_named() {
    let of = |line| {
        let cli = parse(line);
        load(&cli).1.agents().map(|(count, commands)| (count, commands.len()))
    };
    assert_eq!([of("fanout"), of("fanout --agents 2")], [None, Some((2, 0))]);
    assert_eq!(of("fanout --agent ./one --agent ./two"), Some((0, 2)));
}

#[test]
fn the_help_is_short_and_whole() {
    use clap::CommandFactory;
    let mut command = Cli::command();
    command.build();
    let fanout = command.find_subcommand_mut("fanout").unwrap();
    assert!(!fanout.render_help().to_string().contains("--lossy"));
    assert!(fanout.render_long_help().to_string().contains("--lossy"));
}

#[test]
fn topics_of_a_mode_are_called_after_it() {
    let of = |line| cast(line).map(|cast| (cast.topics.name(0), cast.topics.mode)).unwrap();
    assert_eq!(of("fanout"), ("load0000000".to_owned(), Mode::Relay));
    assert_eq!(of("topics --mode list --prefix x"), ("list:x0000000".to_owned(), Mode::List));
    assert!(refused("fanout --mode heap").contains("relay, value, log, list, map"));
}

#[test]
fn who_resumes_comes_back_where_it_was_unless_told_otherwise() {
    let resume = |line: &str| {
        let cli = parse(line);
        let Command::Resume(args) = &cli.command else { panic!("{line}") };
        args.resume(&cli)
    };
    let here = resume("resume").unwrap();
    assert_eq!((here.from, here.topics.name(0).as_str()), (here.to, "log:load0000000"));
    let there = resume("resume --resume-at ws://127.0.0.1:1/x --end-pid 4711").unwrap();
    assert_eq!((there.to.address.port(), there.end.is_some()), (1, true));
    assert!(resume("resume --resume-at ws://127.0.0.1:1/ --end-pid 1").is_err(), "it must not end");
    assert!(resume("resume --adapter nats").unwrap_err().to_string().contains("dunlin.json.v1"));
    assert!(refused("resume --end-pid 4711").contains("--resume-at"));
}
