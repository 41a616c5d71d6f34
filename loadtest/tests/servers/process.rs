//! The bare loop as a process of its own, which can be stopped and killed.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use dunlin_loadtest::{process::Server, target::Target};
use rustix::process::Pid;

pub(crate) struct Process {
    child: Child,
    pub(crate) target: Target,
}

impl Process {
    pub(crate) fn start() -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests.ancestors().nth(2).unwrap().join("examples/bare_loop");
        let mut child = Command::new(&program)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (cargo builds examples for its tests)", program.display())
            });
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.trim().strip_prefix("ready listen=").unwrap();
        Self { target: Target::parse(&format!("ws://{address}/x")).unwrap(), child }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    #[allow(dead_code, reason = "not every test that includes this file reads what the loop costs")]
    pub(crate) fn server(&self) -> Server {
        Server::new(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
