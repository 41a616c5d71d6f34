//! What the binary does with a configuration before it runs a node.

use std::net::TcpListener;

use anyhow::ensure;
use dunlin_tests::{Node, OPEN, run};

#[test]
fn a_bad_configuration_is_refused_with_its_file_its_key_and_what_is_allowed() -> anyhow::Result<()> {
    let endpoint = |line: &str| format!("[[endpoint]]\npath = '/_ws'\n{line}");
    let table = [
        ("drain = '30 potatoes'".to_owned(), "drain", "30s"),
        ("shards = 1025".to_owned(), "shards", "1 to "),
        ("shards = 1000".to_owned(), "shards", "1 to "),
        ("lisen = 'x'".to_owned(), "lisen", "listen"),
        ("[limits]\nmessage = '64KB'".to_owned(), "limits.message", "64KiB"),
        ("[limits]\nmesage = '64KiB'".to_owned(), "limits.mesage", "`message`"),
        ("[log]\nformat = 'xml'".to_owned(), "log.format", "`human` or `json`"),
        ("[[endpoint]]\nself = true".to_owned(), "endpoint[0].path", "path = \"/_ws\""),
        (endpoint("subscribe = ['{path.room}']"), "endpoint[0].subscribe", "path.room"),
        (endpoint("internals = ['$a']"), "endpoint[0].internals", "$"),
        (endpoint("misses = 0"), "endpoint[0].misses", "at least 1"),
        (endpoint("dialect = 'grpc'"), "endpoint[0].dialect", "`topics` or `raw`"),
        ("[tls]\ncertificate = 'gone.pem'\nkey = 'gone.pem'".to_owned(), "tls.certificate", "gone.pem"),
        ("[[topic]]\nmatch = 'a'\nmode = 'heap'".to_owned(), "topic[0].mode", "relay"),
    ];
    for (config, key, allowed) in table {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let exit = run(&["--listen", &free, "--internal", "127.0.0.1:0"], &config)?;
        ensure!(exit.code == 64, "{config}: {exit:?}");
        for part in ["dunlin.toml", key, allowed] {
            ensure!(exit.stderr.contains(part), "{config}: {part} is not in {}", exit.stderr);
        }
        ensure!(!exit.stderr.contains("panicked") && exit.stdout.is_empty(), "{config}: {exit:?}");
    }
    Ok(())
}

#[test]
fn a_bad_configuration_binds_no_port() -> anyhow::Result<()> {
    // Both ports are taken: a node that binds before it reads would say so, and exit 71.
    let taken = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let addresses = [taken[0].local_addr()?.to_string(), taken[1].local_addr()?.to_string()];
    let exit = run(&["--listen", &addresses[0], "--internal", &addresses[1]], "drain = 'soon'")?;
    assert_eq!(exit.code, 64, "{exit:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_start_names_the_address_in_use_and_the_flag() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    let (listen, internal) = (node.listen.to_string(), node.internal.to_string());
    for (arguments, address, flag) in [
        (["--listen", &listen, "--internal", "127.0.0.1:0"], &listen, "--listen"),
        (["--listen", "127.0.0.1:0", "--internal", &internal], &internal, "--internal"),
    ] {
        let exit = run(&arguments, OPEN)?;
        assert_eq!(exit.code, 71, "{exit:?}");
        ensure!(exit.stderr.contains(address.as_str()) && exit.stderr.contains(flag), "{}", exit.stderr);
    }
    Ok(())
}

#[test]
fn an_open_address_without_endpoints_is_refused_without_insecure() -> anyhow::Result<()> {
    let exit = run(&["--listen", "0.0.0.0:0", "--internal", "127.0.0.1:0"], "")?;
    assert_eq!(exit.code, 64, "{exit:?}");
    ensure!(exit.stderr.contains("--insecure"), "{}", exit.stderr);
    Ok(())
}

#[test]
fn help_and_version_are_answered_on_stdout() -> anyhow::Result<()> {
    for (flag, word) in [("--help", "--listen"), ("--version", "dunlin ")] {
        let exit = run(&[flag], "drain = 'not read'")?;
        ensure!(exit.code == 0 && exit.stdout.contains(word) && exit.stderr.is_empty(), "{exit:?}");
    }
    let exit = run(&["--lisen", "127.0.0.1:0"], "")?;
    ensure!(exit.code == 64 && exit.stderr.contains("--listen"), "{exit:?}");
    Ok(())
}

#[test]
fn a_printed_configuration_loads_to_the_same() -> anyhow::Result<()> {
    let endpoints =
        "[[endpoint]]\npath = '/rooms/{room}'\nnamespace = 'room:{path.room}'\nsubscribe = ['a:*']\n";
    for config in ["", OPEN, endpoints] {
        let printed = run(&["config", "print"], config)?;
        assert_eq!(printed.code, 0, "{printed:?}");
        let again = run(&["config", "print"], &printed.stdout)?;
        assert_eq!((again.code, &again.stdout), (0, &printed.stdout), "{config}");
        let checked = run(&["config", "check"], &printed.stdout)?;
        ensure!(checked.code == 0 && checked.stdout.starts_with("ok"), "{checked:?}");
    }
    Ok(())
}
