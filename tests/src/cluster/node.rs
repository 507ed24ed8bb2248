//! Inside the namespaces: starts the components in the order of their needs, says "ready", and watches them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::wait::eventually;

/// The node's address, which no other machine can reach.
pub const ADDRESS: &str = "10.88.0.1";
/// The node's name.
pub const HOST: &str = "lockstep-node";

const PKI: &str = "/run/lockstep/pki";
const CONF: &str = "/run/conf";
const START_DEADLINE: Duration = Duration::from_secs(120);

/// Runs the components until standard input ends. Everything dies with pid 1, so nothing is stopped one by one.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let mut components = Components(Vec::new());
    let since = |what: &str| eprintln!("cluster: {what} after {:.1} s", start.elapsed().as_secs_f64());

    components.start("etcd", &etcd())?;
    components.start("containerd", &[format!("--config={CONF}/containerd.toml")])?;
    components.start("kube-apiserver", &api_server())?;
    components.await_condition("containerd", || Ok(Path::new("/run/containerd/containerd.sock").exists()))?;
    let mut import = Command::new("ctr")
        .args(["-n", "k8s.io", "images", "import", "/run/programs/pause.tar"])
        .stdout(Stdio::null())
        .spawn()
        .context("failed to run ctr")?;
    components.await_condition("API server", || kubectl(&["get", "--raw", "/readyz"]))?;
    since("API server ready");

    components.start("kube-controller-manager", &controllers())?;
    components.start("kube-scheduler", &scheduler())?;
    components.await_condition("the RBAC rule of CoreDNS", || {
        kubectl(&["apply", "--filename", &format!("{CONF}/base.yaml")])
    })?;
    components.start("coredns", &["-conf".into(), format!("{CONF}/Corefile")])?;
    components.start("kube-proxy", &[format!("--config={CONF}/proxy.yaml"), "--v=1".into()])?;
    ensure!(import.wait()?.success(), "the pause image could not be imported");
    components.start("kubelet", &kubelet())?;

    components.await_condition("node Ready", || {
        kubectl(&["wait", "--for=condition=Ready", &format!("node/{HOST}"), "--timeout=5s"])
    })?;
    components
        .await_condition("the default service account", || kubectl(&["get", "serviceaccount", "default"]))?;
    components.await_condition("CoreDNS", || Ok(answers_ok("127.0.0.1:8181", "/ready")))?;
    components.await_condition("kube-proxy", || Ok(answers_ok("127.0.0.1:10256", "/healthz")))?;
    since("everything ready");

    File::create("/run/lockstep/ready")?;
    println!("ready");
    std::io::stdout().flush()?;
    components.watch_until_input_ends()
}

struct Components(Vec<(&'static str, Child)>);

impl Components {
    fn start(&mut self, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = File::create(log_path(name))?;
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        self.0.push((name, child));
        Ok(())
    }

    fn await_condition(&mut self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        eventually(what, START_DEADLINE, || {
            self.check()?;
            Ok(holds()?.then_some(()))
        })
    }

    /// No component ends while the cluster is wanted.
    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(log_path(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                bail!("{name} ended: {status}\n{tail}");
            }
        }
        Ok(())
    }

    fn watch_until_input_ends(&mut self) -> Result<()> {
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            while std::io::stdin().read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
            end.send(()).ok();
        });
        while ended.recv_timeout(Duration::from_millis(500)) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.check()?;
        }
        Ok(())
    }
}

fn log_path(component: &str) -> String {
    format!("/run/lockstep/logs/{component}.log")
}

/// Whether the command succeeds now; it is asked again where not, so what it says does not matter.
fn kubectl(arguments: &[&str]) -> Result<bool> {
    let output = Command::new("kubectl")
        .arg(format!("--kubeconfig={PKI}/admin.kubeconfig"))
        .args(arguments)
        .output()
        .context("failed to run kubectl")?;
    Ok(output.status.success())
}

/// Whether an HTTP GET is answered with 200.
fn answers_ok(address: &str, path: &str) -> bool {
    let ask = || -> Result<bool> {
        let address: SocketAddr = address.parse()?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_whitespace().nth(1) == Some("200"))
    };
    ask().unwrap_or(false)
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| argument.replace("PKI", PKI)).collect()
}

fn etcd() -> Vec<String> {
    strings(&[
        "--data-dir=/run/etcd", // a tmpfs: the cluster does not outlive a crash of the machine
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--log-level=warn",
    ])
}

fn api_server() -> Vec<String> {
    strings(&[
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        "--advertise-address=10.88.0.1",
        "--client-ca-file=PKI/ca.crt",
        "--tls-cert-file=PKI/apiserver.crt",
        "--tls-private-key-file=PKI/apiserver.key",
        "--kubelet-client-certificate=PKI/apiserver-kubelet.crt",
        "--kubelet-client-key=PKI/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-account-key-file=PKI/service-accounts.pub",
        "--service-account-signing-key-file=PKI/service-accounts.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",
        "--v=1",
    ])
}

fn controllers() -> Vec<String> {
    let mut arguments = strings(&[
        "--service-account-private-key-file=PKI/service-accounts.key",
        "--root-ca-file=PKI/ca.crt",
        "--use-service-account-credentials",
    ]);
    arguments.extend(client("controllers"));
    arguments
}

fn scheduler() -> Vec<String> {
    client("scheduler")
}

/// The default limits of requests a second would make a new namespace's service account take four seconds.
fn client(identity: &str) -> Vec<String> {
    let kubeconfig = format!("{PKI}/{identity}.kubeconfig");
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".into(),
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
        "--bind-address=127.0.0.1".into(),
        "--v=1".into(),
    ]
}

fn kubelet() -> Vec<String> {
    vec![
        format!("--kubeconfig={PKI}/kubelet.kubeconfig"),
        format!("--config={CONF}/kubelet.yaml"),
        format!("--hostname-override={HOST}"),
        format!("--node-ip={ADDRESS}"),
        "--v=2".into(),
    ]
}
