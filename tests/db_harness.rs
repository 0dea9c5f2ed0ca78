//! The PostgreSQL server of the tests goes with the test process, also when that is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::postgres::postgres;

#[test]
fn a_test_that_is_killed_leaves_no_server() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "holds_a_server", "--nocapture"]).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("server on ")).expect("it starts a server");
    let port: u16 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "the server on port {port} lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "run by a_test_that_is_killed_leaves_no_server"]
fn holds_a_server() {
    if std::env::args().any(|argument| argument == "--nocapture") {
        println!("\nserver on {}", postgres().port);
        std::thread::sleep(Duration::from_secs(60));
    }
}
