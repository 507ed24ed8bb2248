//! The real thing: groups over real sockets of loopback, plain and with mutual TLS, and over a simulated network.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod executor;
mod simulated_network;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use executor::{Executor, Job, certificates, reference};
use lockstep_collective::transport::SUBPROTOCOL;
use lockstep_collective::{Action, Certificates, Group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn listeners(n: usize) -> (Vec<TcpListener>, Vec<SocketAddr>) {
    let mut listeners = Vec::new();
    for _ in 0..n {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    (listeners, addresses)
}

async fn train(members: u32, tls: Option<Certificates>) {
    let job = Job { rounds: 12, leaves: 8, len: 300_000, pace: Duration::ZERO };
    let (listeners, addresses) = listeners(members as usize).await;
    let mut running = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let mut executor = Executor::new(index as u32, members, listener, &addresses);
        executor.tls = tls.clone();
        running.push(tokio::spawn(executor.run(job)));
    }
    for executor in running {
        let outcome = timeout(PATIENCE, executor).await.expect("in time").unwrap();
        assert_eq!(outcome.state, reference(job), "{members} members");
        assert_eq!(outcome.views, 1, "a calm job needs one view");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_members_gives_the_bits_of_one_over_plain_sockets() {
    for members in 1..=4 {
        train(members, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_members_gives_the_bits_of_one_over_mutual_tls() {
    let tls = certificates();
    for members in 1..=4 {
        train(members, Some(tls.clone())).await;
    }
}

/// Forwards bytes until it is told to cut what is open.
async fn proxy(to: SocketAddr, cut: Arc<tokio::sync::Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut inner, _) = listener.accept().await.unwrap();
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                let mut outer = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut inner, &mut outer) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    address
}

/// The survivors go on without the lost member, and it comes back with what they did meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_costs_no_bits() {
    let job = Job { rounds: 150, leaves: 6, len: 1000, pace: Duration::from_millis(1) };
    let (listeners, addresses) = listeners(3).await;
    let cut = Arc::new(tokio::sync::Notify::new());
    let mut running = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let mut addresses = addresses.clone();
        if index == 2 {
            for to in &mut addresses[..2] {
                *to = proxy(*to, Arc::clone(&cut)).await;
            }
        }
        running.push(Executor::new(index as u32, 3, listener, &addresses));
    }
    let progress = running[0].progress.clone();
    let running: Vec<_> = running.into_iter().map(|executor| tokio::spawn(executor.run(job))).collect();
    for round in [20, 60, 100] {
        timeout(PATIENCE, async {
            while progress.load(Ordering::Relaxed) < round {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("in time");
        cut.notify_waiters();
    }
    for (index, executor) in running.into_iter().enumerate() {
        let outcome = timeout(PATIENCE, executor).await.expect("in time").unwrap();
        assert_eq!(outcome.state, reference(job), "executor {index}");
        assert!(outcome.views >= 3, "executor {index} saw {} views: nothing was cut", outcome.views);
    }
}

/// A process that dies and starts anew, with nothing, takes the others' state.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_is_replaced_while_the_others_train() {
    let job = Job { rounds: 200, leaves: 6, len: 1000, pace: Duration::from_millis(1) };
    let (mut listeners, addresses) = listeners(3).await;
    let tls = certificates();
    let executor = |index: u32, listener| {
        let mut executor = Executor::new(index, 3, listener, &addresses);
        executor.tls = Some(tls.clone());
        executor
    };
    let others: Vec<_> = [2, 1].map(|index| executor(index, listeners.pop().unwrap())).into();
    let progress = others[0].progress.clone();
    let others: Vec<_> = others.into_iter().map(|executor| tokio::spawn(executor.run(job))).collect();
    let first = tokio::spawn(executor(0, listeners.pop().unwrap()).run(job));
    let reached = async |round| {
        while progress.load(Ordering::Relaxed) < round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, reached(30)).await.expect("in time");
    first.abort();
    drop(first.await);
    timeout(PATIENCE, reached(60)).await.expect("the survivors went on");
    let listener = TcpListener::bind(addresses[0]).await.unwrap();
    let again = timeout(PATIENCE, executor(0, listener).run(job)).await.expect("in time");
    assert_eq!(again.state, reference(job));
    assert_eq!(again.snapshots, 1, "it took a peer's state");
    for executor in others {
        let outcome = timeout(PATIENCE, executor).await.expect("in time").unwrap();
        assert_eq!(outcome.state, reference(job));
    }
}

/// Two executors with different results never mix; the second says why it waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_of_another_kind_waits_and_says_why() {
    let job = Job { rounds: u64::MAX, leaves: 2, len: 10, pace: Duration::from_millis(2) };
    for change in [
        |executor: &mut Executor| executor.result_hash = [9; 32],
        |executor: &mut Executor| executor.fingerprint = [9; 32],
    ] {
        let (mut listeners, addresses) = listeners(2).await;
        let mut other = Executor::new(1, 1, listeners.pop().unwrap(), &addresses);
        change(&mut other);
        let first = Executor::new(0, 1, listeners.pop().unwrap(), &addresses);
        let progress = first.progress.clone();
        let first = tokio::spawn(first.run(job));
        while progress.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It wants one executor only, so nothing but the other's presence can hold it.
        other.executors = 2;
        other.join_grace = Duration::from_secs(1);
        let mut group = other.start_ready().await;
        let waits = async {
            loop {
                match group.actions.recv().await.unwrap() {
                    Action::Waiting { reason } if reason.contains("executor 0") => return,
                    Action::View { .. } => panic!("it trains beside another kind"),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, waits).await.expect("it says why it waits");
        let trains = async { while !matches!(group.actions.recv().await.unwrap(), Action::View { .. }) {} };
        assert!(timeout(Duration::from_secs(2), trains).await.is_err(), "it goes on waiting past joinGrace");
        first.abort();
    }
}

/// Whether a view is proposed to this executor within a time in which friends on one machine meet many times over.
async fn is_asked(group: &mut Group) -> bool {
    let asked = async { while !matches!(group.actions.recv().await.unwrap(), Action::HashState { .. }) {} };
    timeout(Duration::from_millis(700), asked).await.is_ok()
}

/// The control of the tests below: without a difference two executors do meet.
#[tokio::test(flavor = "multi_thread")]
async fn executors_of_one_job_meet() {
    let (mut listeners, addresses) = listeners(2).await;
    let mut other = Executor::new(1, 2, listeners.pop().unwrap(), &addresses).start_ready().await;
    let mut first = Executor::new(0, 2, listeners.pop().unwrap(), &addresses).start_ready().await;
    assert!(is_asked(&mut first).await && is_asked(&mut other).await);
}

/// A stranger with the right port but another job is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn another_job_on_the_same_name_is_turned_away() {
    let (mut listeners, addresses) = listeners(2).await;
    let mut stranger = Executor::new(1, 2, listeners.pop().unwrap(), &addresses);
    stranger.job_uid = "another job".to_owned();
    let first = Executor::new(0, 2, listeners.pop().unwrap(), &addresses);
    let (mut first, mut stranger) = (first.start_ready().await, stranger.start_ready().await);
    assert!(!is_asked(&mut first).await && !is_asked(&mut stranger).await, "they met");
}

/// Whatever arrives on the port, training goes on.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_does_not_hurt() {
    let job = Job { rounds: 150, leaves: 4, len: 1000, pace: Duration::from_millis(1) };
    let (listeners, addresses) = listeners(2).await;
    let running: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(index, listener)| tokio::spawn(Executor::new(index as u32, 2, listener, &addresses).run(job)))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let noise = tokio::spawn({
        let (stop, target) = (Arc::clone(&stop), addresses[0]);
        async move {
            let upgrade = format!(
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
            );
            let no_subprotocol = upgrade.replace(SUBPROTOCOL, "chat");
            // After a proper handshake: an unmasked frame, a frame of 2^62 bytes, a masked binary frame of rubbish, and text.
            let huge = [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
            let frames: [&[u8]; 4] =
                [b"\x82\x05hello", &huge, b"\x82\x85\0\0\0\0\x01\x01\xff\xff\xff", b"\x81\x82\0\0\0\0hi"];
            let mut refused = 0;
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(target).await.unwrap();
                let hello: &[u8] = match round % 6 {
                    0 => b"\x16\x03\x01\x02\x00 not quite TLS",
                    1 => no_subprotocol.as_bytes(),
                    _ => upgrade.as_bytes(),
                };
                stream.write_all(hello).await.unwrap();
                if round % 6 > 1 {
                    stream.write_all(frames[round % 6 - 2]).await.unwrap();
                }
                drop(stream.shutdown().await);
                let mut answer = Vec::new();
                drop(
                    timeout(Duration::from_secs(2), stream.read_to_end(&mut answer))
                        .await
                        .expect("it hangs up"),
                );
                refused += usize::from(answer.starts_with(b"HTTP/1.1 400"));
                round += 1;
            }
            (round, refused)
        }
    });
    for executor in running {
        let outcome = timeout(PATIENCE, executor).await.expect("in time").unwrap();
        assert_eq!(outcome.state, reference(job));
        assert_eq!(outcome.views, 1, "the noise touched the view");
    }
    stop.store(true, Ordering::Relaxed);
    noise.abort();
}

/// Only holders of the job's certificate get in.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_gets_nowhere() {
    let (mut listeners, addresses) = listeners(2).await;
    let mut stranger = Executor::new(1, 2, listeners.pop().unwrap(), &addresses);
    stranger.tls = Some(certificates());
    let mut first = Executor::new(0, 2, listeners.pop().unwrap(), &addresses);
    first.tls = Some(certificates());
    let (mut first, mut stranger) = (first.start_ready().await, stranger.start_ready().await);
    assert!(!is_asked(&mut first).await && !is_asked(&mut stranger).await, "they met");
    let (address, ours) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), certificates());
    let mut broken = Executor::new(0, 1, address, &["unused"]);
    broken.tls = Some(Certificates { key: b"no key".to_vec(), ..ours });
    assert!(broken.try_start().await.is_err());
}
