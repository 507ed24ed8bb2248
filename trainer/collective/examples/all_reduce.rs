//! All-reduce of a vector between processes on this machine, over plain TCP and mutual TLS.
//!
//! `cargo run --release -p lockstep-collective --example all_reduce -- [processes] [bytes] [rounds]` starts the processes
//! itself and prints JSON: the median and the spread (10th and 90th percentile) of an all-reduce's milliseconds, and as their
//! limit the time that the same bytes take over raw TCP on loopback.
//!
//! What is measured is what `bench/peers/gloo_all_reduce.py` measures: every process has filled one vector, all have met at a
//! barrier (here a round of one float), and the clock runs in the first process from there until it has the sum.

#![allow(clippy::unwrap_used, reason = "a measurement: whatever goes wrong should end it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_collective::transport::SERVER_NAME;
use lockstep_collective::tree::{NodeSum, PartFolders, Tree};
use lockstep_collective::{Action, Certificates, Command, Config, Group, GroupOptions, Part, Plan};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};

/// Gradients, statistics and loss of the reference network.
const BYTES: usize = 2_366_632;
const ROUNDS: u64 = 200;
/// All-reduces that warm up: buffers grow, congestion windows open.
const WARM_UP: u64 = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "member") {
        return member(&arguments[1..]);
    }
    let number =
        |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (processes, bytes, rounds) = (number(0, 2), number(1, BYTES), number(2, ROUNDS as usize));
    let floats = bytes / 4;
    let raw = raw_tcp_milliseconds(bytes, processes);
    let report = json!({
        "processes": processes,
        "bytes": 4 * floats,
        "rounds": rounds,
        "plain": measure(processes, floats, rounds, false),
        "tls": measure(processes, floats, rounds, true),
        "rawTcp": { "medianMs": raw, "what": "what a process sends in one round, between two threads on loopback" },
    });
    println!("{report:#}");
}

/// Runs one job; the first process's view of it.
fn measure(processes: usize, floats: usize, rounds: usize, tls: bool) -> Value {
    // Taken and let go again: the processes listen there a moment later.
    let listeners: Vec<TcpListener> =
        (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().port().to_string()).collect();
    drop(listeners);
    let secrets = tls.then(certificates).map_or(Value::Null, |Certificates { ca, certificate, key }| {
        json!([ca, certificate, key].map(|pem| String::from_utf8(pem).unwrap()))
    });
    let mut members: Vec<Child> = (0..processes)
        .map(|index| {
            let mut member = Process::new(std::env::current_exe().unwrap())
                .args([
                    "member",
                    &index.to_string(),
                    &floats.to_string(),
                    &rounds.to_string(),
                    &ports.join(","),
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            writeln!(member.stdin.take().unwrap(), "{secrets}").unwrap();
            member
        })
        .collect();
    let mut line = String::new();
    BufReader::new(members[0].stdout.take().unwrap()).read_line(&mut line).unwrap();
    for mut member in members {
        assert!(member.wait().unwrap().success());
    }
    serde_json::from_str(&line).expect("the first process prints its times")
}

fn certificates() -> Certificates {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &authority).unwrap();
    Certificates {
        ca: authority.pem().into_bytes(),
        certificate: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
    }
}

/// One process: index, floats, rounds, ports; certificates on standard input.
fn member(arguments: &[String]) {
    let [index, floats, rounds, ports] = arguments else { panic!("index, floats, rounds, ports") };
    let index: u32 = index.parse().unwrap();
    let floats: usize = floats.parse().unwrap();
    let rounds: u64 = rounds.parse::<u64>().unwrap() + WARM_UP;
    let addresses: Vec<String> = ports.split(',').map(|port| format!("127.0.0.1:{port}")).collect();
    let mut secrets = String::new();
    std::io::stdin().read_line(&mut secrets).unwrap();
    let secrets: Option<[String; 3]> = serde_json::from_str(&secrets).unwrap();
    let tls = secrets.map(|[ca, certificate, key]| Certificates {
        ca: ca.into_bytes(),
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
    });
    // As an executor has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let times = runtime.block_on(train(index, floats, rounds, addresses, tls));
    if index == 0 {
        println!("{}", summary(times.into_iter().skip(WARM_UP as usize).collect()));
    }
}

/// Milliseconds of each round.
async fn train(
    index: u32,
    floats: usize,
    rounds: u64,
    addresses: Vec<String>,
    tls: Option<Certificates>,
) -> Vec<f64> {
    let listener = tokio::net::TcpListener::bind(&addresses[index as usize]).await.unwrap();
    let leaves = addresses.len() as u32;
    let config = Config {
        index,
        executors: leaves,
        min_executors: leaves,
        join_grace: Duration::from_secs(60),
        heartbeat_timeout: Duration::from_secs(5),
        start_timeout: Duration::from_secs(60),
        adaptive: true,
        job_uid: "all-reduce".to_owned(),
        result_hash: [0; 32],
        fingerprint: [0; 32],
        incarnation: u64::from(index) + 1,
        seed: u64::from(index),
    };
    let peers = Arc::new(move |index: u32| addresses[index as usize].clone());
    let mut group = Group::start(config, GroupOptions { listener, peers, tls }).await.unwrap();
    let tree = Tree::new(leaves);
    // A barrier before every all-reduce.
    let is_barrier = |round| round % 2 == 0;
    let plan = |round| match round < 2 * rounds {
        true => Plan::Reduce { leaves, len: if is_barrier(round) { 1 } else { floats }, cut: 0, counts: 2 },
        false => Plan::Finished,
    };
    let (mut round, mut times, mut began) = (0, Vec::new(), Instant::now());
    let mut folders = PartFolders::new(tree);
    let mut vector = vec![0.5; floats];
    group.commands.send(Command::Ready { round, plan: plan(round) }).await.unwrap();
    while round < 2 * rounds {
        match group.actions.recv().await.expect("the group lives") {
            Action::Compute { nodes, .. } => {
                drop(folders.want(&nodes));
                for leaf in folders.missing() {
                    let values = if is_barrier(round) { vec![0.5] } else { std::mem::take(&mut vector) };
                    let sum = NodeSum { values, counts: vec![1, 1] };
                    for (part, node, sum) in folders.insert(Part::Upper, leaf, sum) {
                        group.commands.send(Command::Sum { round, part, node, sum }).await.unwrap();
                    }
                }
            }
            Action::Reduced { values, spent, .. } => {
                if is_barrier(round) {
                    began = Instant::now();
                } else {
                    times.push(1000.0 * began.elapsed().as_secs_f64());
                    assert!(values.iter().all(|value| *value == 0.5 * leaves as f32));
                    vector = spent.into_iter().next().map(|sum| sum.values).unwrap_or_default();
                    vector.clear();
                    vector.resize(floats, 0.5);
                }
                drop(values);
                round += 1;
                folders = PartFolders::new(tree);
                group.commands.send(Command::Ready { round, plan: plan(round) }).await.unwrap();
            }
            Action::HashState { round } => {
                group.commands.send(Command::StateHash { round, hash: [0; 32] }).await.unwrap();
            }
            _ => {}
        }
    }
    // The others may still need our last pieces.
    tokio::time::sleep(Duration::from_millis(200)).await;
    group.close().await;
    times
}

fn summary(mut milliseconds: Vec<f64>) -> Value {
    milliseconds.sort_by(f64::total_cmp);
    let at = |share: f64| milliseconds[((milliseconds.len() - 1) as f64 * share).round() as usize];
    json!({ "medianMs": at(0.5), "p10Ms": at(0.1), "p90Ms": at(0.9) })
}

/// Median time to exchange, in both directions at once, what a process sends in one all-reduce: `2 (N - 1) / N` of the bytes.
fn raw_tcp_milliseconds(bytes: usize, processes: usize) -> f64 {
    let bytes = 2 * bytes * (processes - 1) / processes;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let dialed = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let out = vec![1; bytes];
    let mut inward = [vec![0; bytes], vec![0; bytes]];
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for (stream, inward) in [&accepted, &dialed].into_iter().zip(&mut inward) {
                    scope.spawn(move || {
                        let mut stream = stream;
                        stream.read_exact(inward).unwrap()
                    });
                    let out = &out;
                    scope.spawn(move || {
                        let mut stream = stream;
                        stream.write_all(out).unwrap()
                    });
                }
            });
            1000.0 * began.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
