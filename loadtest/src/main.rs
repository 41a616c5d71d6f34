//! `dunlin-loadtest`: reads the command line, runs one scenario, prints its report.

mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use dunlin_loadtest::{
    report::{Report, render, step_line},
    scenario::{Moment, connect, fanout, idle, most},
};

use self::cli::{Cli, Command};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
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
    let json = cli.json;
    match &cli.command {
        Command::Fanout { crowd, pace } => {
            let cast = cli.cast(crowd)?;
            eprintln!("connecting {} peers", cast.peers);
            let outcome = fanout::run(cast, pace.plan(), tell)?;
            print(&outcome, json)?;
            return Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(3) });
        }
        Command::Most { crowd, climb } => {
            let cast = cli.cast(crowd)?;
            eprintln!("connecting {} peers", cast.peers);
            print(&most::run(cast, climb.climb(), |step| eprintln!("{}", step_line(step)))?, json)?;
        }
        Command::Idle { peers, topics, hold } => {
            eprintln!("connecting {peers} peers, then holding them");
            print(&idle::run(cli.idle_cast(*peers, *topics)?, *hold, tell)?, json)?;
        }
        Command::Connect { count } => {
            eprintln!("connecting {count} peers twice");
            print(&connect::run(&cli.arrivals(*count)?)?, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Marks the measured time on stderr: a script that reads other processes' counters does so at these lines.
fn tell(moment: Moment) {
    match moment {
        Moment::Measuring => eprintln!("measuring"),
        Moment::Measured => eprintln!("measured"),
    }
}

fn print(report: &impl Report, json: bool) -> Result<()> {
    print!("{}", render(report, json)?);
    Ok(())
}
