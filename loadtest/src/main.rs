//! `dunlin-loadtest`: reads the command line, runs one scenario, prints its report.

mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use dunlin_loadtest::{
    agents::{self, Agents},
    progress::{self, on_stderr},
    record::{Record, Verdict},
    report::{Report, page, render, step_line},
    scenario::{
        chronicle::Chronicle,
        churn, climb, connect,
        fanout::{self, Performer},
        idle, resume,
        stage::Stage,
        storm,
    },
};

use self::cli::{Cli, Command, Course, Load, Shape};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        // An agent's coordinator has been told, and tells its user.
        Err(_) if matches!(cli.command, Command::Agent) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dunlin-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenario. A fan-out that wasn't clean exits 3, so that a script needn't read the report.
fn run(cli: &Cli) -> Result<ExitCode> {
    // The default slack of 50 µs would be seen in every latency.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    if let Some(folder) = &cli.report {
        page::prepare(folder)?;
    }
    match &cli.command {
        Command::Fanout(load) => return told(cli, carry(cli, Shape::Fanout, load)?),
        Command::Topics(load) => return told(cli, carry(cli, Shape::Topics, load)?),
        Command::Cross(load) => return told(cli, carry(cli, Shape::Cross, load)?),
        Command::Idle { peers, topics, hold, beside } => {
            let cast = cli.idle_cast(*peers, *topics, beside)?;
            return finish(cli, &idle::run(cast, *hold, cli.redis()?, &mut *on_stderr())?);
        }
        Command::Connect { count } => {
            return finish(cli, &connect::run(&cli.arrivals(*count)?, &mut *on_stderr())?);
        }
        Command::Churn(args) => {
            return finish(cli, &churn::run(args.churn(cli)?, cli.redis()?, &mut *on_stderr())?);
        }
        Command::Storm(args) => {
            return finish(cli, &storm::run(args.storm(cli)?, cli.redis()?, &mut *on_stderr())?);
        }
        Command::Resume(args) => {
            let redis = [cli.redis()?, cli.redis()?];
            return finish(cli, &resume::run(args.resume(cli)?, redis, &mut *on_stderr())?);
        }
        Command::Agent => agents::serve()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Carries a load, once or up to the knee, and remembers how it went.
fn carry(cli: &Cli, shape: Shape, load: &Load) -> Result<(ExitCode, Record)> {
    let cast = cli.cast(shape, load)?;
    let (course, title) = (load.course(&cast)?, cast.title());
    let mut progress = progress::on_stderr();
    let chronicle = Chronicle::new(&cast, load.interval(), &mut *progress);
    let mut chronicle = chronicle.with_redis(cli.redis()?)?;
    let mut performer: Box<dyn Performer> = match load.agents() {
        Some((local, commands)) => {
            Box::new(Agents::open(cast, local, commands, load.interval(), &mut chronicle)?)
        }
        None => Box::new(Stage::open(cast, &mut chronicle)?),
    };
    match course {
        Course::Once(plan) => {
            let mut chronicle = chronicle.announcing();
            let outcome = fanout::run(&mut *performer, plan, &mut chronicle)?;
            print(&outcome, cli.json)?;
            let code = if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(3) };
            Ok((code, outcome.record(shape.name(), title, chronicle.into_sampler())))
        }
        Course::Climb(climb) => {
            let ascent = climb::run(&mut *performer, climb, &mut chronicle, step_line)?;
            print(&ascent, cli.json)?;
            Ok((ExitCode::SUCCESS, ascent.record(shape.name(), title, chronicle.into_sampler())))
        }
    }
}

/// Writes the report of a load that was carried.
fn told(cli: &Cli, (code, record): (ExitCode, Record)) -> Result<ExitCode> {
    write_report(cli, &record)?;
    Ok(code)
}

/// Prints the table and writes the report. A run with something wrong exits 3.
fn finish(cli: &Cli, (outcome, record): &(impl Report, Record)) -> Result<ExitCode> {
    print(outcome, cli.json)?;
    write_report(cli, record)?;
    Ok(if record.verdict == Verdict::Good { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn write_report(cli: &Cli, record: &Record) -> Result<()> {
    if let Some(folder) = &cli.report {
        eprintln!("report: {}", page::write(folder, record)?.display());
    }
    Ok(())
}

fn print(report: &impl Report, json: bool) -> Result<()> {
    print!("{}", render(report, json)?);
    Ok(())
}
